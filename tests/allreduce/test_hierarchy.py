"""Groups of ranks, and all-reduce in two levels: the same sum everywhere, little between nodes."""

import matplotlib
import numpy as np
import pytest

from aisys.allreduce import hierarchy_experiments as experiments
from aisys.allreduce.choice import ALGORITHMS, Cluster, allreduce_seconds, choose
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.group import Group
from aisys.allreduce.hierarchy import hierarchical_allreduce, node_groups
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.links import why_no_namespaces
from aisys.allreduce.rails import rings_allreduce
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport, TransportError
from aisys.course.errors import CourseError
from aisys.course.plotting import figure
from tests.support.rank_programs import sample

matplotlib.use("agg")

FAST, SLOW = CostModel(2e-6, 1e-10), CostModel(2e-5, 1e-9)
SHAPES = [(1, 1), (1, 4), (4, 1), (2, 2), (3, 2), (2, 3), (5, 3)]


def arrays(ranks: int, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Whole numbers small enough that their sum is exact in every dtype."""
    rng = np.random.default_rng(ranks)
    return [rng.integers(0, 10, shape).astype(dtype) for _ in range(ranks)]


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64", "complex64"])
@pytest.mark.parametrize(("nodes", "each"), SHAPES)
def test_every_rank_has_the_sum(nodes: int, each: int, dtype: str, synchronous: bool) -> None:
    for n in (0, 1, each, 2 * nodes * each, 101):
        data = arrays(nodes * each, (n,), dtype)
        done = run(
            nodes * each,
            lambda t, data=data: hierarchical_allreduce(t, data[t.rank], each),
            seed=n,
            synchronous=synchronous,
        )
        assert all(np.array_equal(result, sum(data)) for result in done.results)
        assert {result.dtype for result in done.results} == {np.dtype(dtype)}


@pytest.mark.parametrize("seed", range(5))
def test_rounding_is_the_same_on_every_rank_whoever_comes_first(seed: int) -> None:
    data = [sample(rank, (50,), np.dtype("float32")) for rank in range(6)]
    done = run(6, lambda t: hierarchical_allreduce(t, data[t.rank], 3), seed=seed)
    first = run(6, lambda t: hierarchical_allreduce(t, data[t.rank], 3)).results[0]
    assert {result.tobytes() for result in done.results} == {first.tobytes()}
    exact = np.sum([each.astype(float) for each in data], axis=0)
    assert np.abs(first - exact).max() <= 6 * np.finfo("float32").eps * np.abs(data).sum(0).max()


def test_the_input_may_have_any_layout_and_stays_as_it_is() -> None:
    data = [np.arange(24).reshape(4, 6).T[::-1, ::2] + rank for rank in range(4)]
    before = [each.copy() for each in data]
    done = run(4, lambda t: hierarchical_allreduce(t, data[t.rank], 2))
    for rank, result in enumerate(done.results):
        assert np.array_equal(result, sum(before)) and np.array_equal(data[rank], before[rank])
        assert result.flags.c_contiguous and not np.shares_memory(result, data[rank])


def test_a_rank_sends_its_chunk_between_nodes_and_the_rest_inside() -> None:
    nodes, each, n = 3, 4, 1200
    done = run(nodes * each, lambda t: hierarchical_allreduce(t, np.ones(n), each))
    sent = {True: [0] * nodes * each, False: [0] * nodes * each}
    for message in done.trace.messages:
        inside = message.source // each == message.to // each
        sent[inside][message.source] += message.nbytes
    assert sent[True] == [8 * 2 * (each - 1) * n // each] * nodes * each
    assert sent[False] == [8 * 2 * (nodes - 1) * n // (each * nodes)] * nodes * each
    assert done.trace.steps == 2 * (each - 1) + 2 * (nodes - 1)


def test_groups_are_the_node_and_the_place() -> None:
    assert node_groups(7, 12, 4) == ([4, 5, 6, 7], [3, 7, 11])
    assert node_groups(2, 3, 3) == ([0, 1, 2], [2])
    assert node_groups(2, 3, 1) == ([2], [0, 1, 2])


@pytest.mark.parametrize("each", [0, 3, 5])
def test_ranks_that_do_not_fill_the_nodes_are_refused(each: int) -> None:
    with pytest.raises(CourseError, match=f"4 ranks do not fill nodes of {each}"):
        node_groups(0, 4, each)
    with pytest.raises(CourseError, match="multiple"):
        run(4, lambda t: hierarchical_allreduce(t, np.ones(3), each))


def test_an_algorithm_runs_in_a_group_in_the_order_of_its_ranks() -> None:
    def program(transport: Transport) -> tuple[int, int, list[float]]:
        ranks = [4, 0, 2] if transport.rank % 2 == 0 else [1, 3]
        group = Group(transport, ranks)
        group.barrier()
        total = ring_allreduce(group, np.full(2, float(transport.rank)))
        with group:
            pass
        transport.barrier()
        return group.rank, group.world_size, total.tolist()

    assert run(5, program).results == [
        (1, 3, [6, 6]),
        (0, 2, [4, 4]),
        (2, 3, [6, 6]),
        (1, 2, [4, 4]),
        (0, 3, [6, 6]),
    ]


@pytest.mark.parametrize(
    ("ranks", "words"),
    [([0, 0], "different ranks"), ([0, 4], "from 0 to 3"), ([1, 2], "Rank 0 is not in")],
)
def test_a_group_that_cannot_be_is_refused(ranks: list[int], words: str) -> None:
    with pytest.raises(TransportError, match=words):
        run(4, lambda t: Group(t, ranks) if t.rank == 0 else None)


def test_a_fault_in_a_group_names_the_rank_by_its_number_among_all() -> None:
    def program(transport: Transport) -> None:
        if transport.rank == 3:
            return
        if transport.rank == 2:
            Group(transport, [2, 3]).recv(np.empty(1), 1)

    with pytest.raises(TransportError, match="Rank 3 has left") as caught:
        run(4, program)
    assert caught.value.rank == 3


@pytest.mark.parametrize("transport", ["tcp", "shared"])
def test_the_hierarchy_runs_between_processes(transport: str) -> None:
    results = launch(4, between_processes, 10_001, transport=transport)
    assert all(np.array_equal(result, sum(arrays(4, (10_001,), "int64"))) for result in results)


def between_processes(transport: Transport, n: int) -> np.ndarray:
    return hierarchical_allreduce(transport, arrays(4, (n,), "int64")[transport.rank], 2)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("nodes", "each"), [(1, 4), (4, 1), (2, 2), (2, 8), (8, 2), (4, 4)])
def test_the_model_says_what_the_simulated_clock_shows(
    algorithm: str, nodes: int, each: int
) -> None:
    cluster = Cluster(nodes, each, FAST, SLOW, links=each)
    for nbytes in (nodes * each * each, 3 << 16, 1 << 24):
        seen = experiments.simulated_seconds(algorithm, cluster, nbytes)
        assert seen == pytest.approx(allreduce_seconds(algorithm, cluster, nbytes), rel=1e-9)


def test_ranks_that_share_a_link_wait_for_its_bytes_but_not_for_its_alpha() -> None:
    cluster = Cluster(2, 4, FAST, SLOW, links=2)
    assert cluster.step_seconds(1e6, 4) == SLOW.seconds(1, 2e6)
    assert cluster.step_seconds(1e6, 1) == SLOW.seconds(1, 1e6)
    assert cluster.step_seconds(1e6, 0) == FAST.seconds(1, 1e6)
    with pytest.raises(CourseError, match="no link is shared"):
        experiments.simulated_seconds("ring", cluster, 1 << 20)


def test_another_algorithm_is_chosen_as_arrays_grow() -> None:
    own, shared = (Cluster(64, 8, FAST, SLOW, links) for links in (8, 1))
    sizes = (100, 100_000, 100_000_000, 1_000_000_000)
    assert [choose(own, size) for size in sizes[:3]] == [
        "recursive doubling",
        "halving-doubling",
        "hierarchy",
    ]
    assert [choose(shared, size) for size in sizes[1:]] == ["tree", "hierarchy", "ring"]


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(CourseError, match="'star' is none of tree"):
        allreduce_seconds("star", Cluster(2, 2, FAST, SLOW), 1)


@pytest.mark.parametrize("rings", [1, 2, 3])
def test_several_rings_have_the_sum_and_a_way_out_of_each_node_of_their_own(rings: int) -> None:
    data = arrays(6, (7, 5), "int64")
    done = run(6, lambda t: rings_allreduce(t, data[t.rank], 3, rings))
    assert all(np.array_equal(result, sum(data)) for result in done.results)
    for message in done.trace.messages:
        if message.source // 3 != message.to // 3:
            assert message.to % 3 == message.tag and message.source % 3 == (message.tag - 1) % 3


def test_a_ring_for_each_link_moves_large_arrays_so_many_times_as_fast() -> None:
    cluster = Cluster(4, 4, CostModel(1e-6, 1e-12), CostModel(1e-6, 1e-9), links=4)
    seconds = experiments.rails_seconds(cluster, 1 << 30)
    assert list(seconds) == ["one ring", "4 rings", "hierarchy"]
    assert 3.9 < seconds["one ring"] / seconds["4 rings"] < 4
    assert seconds["hierarchy"] < seconds["4 rings"]


def test_without_throttled_links_the_simulated_clock_takes_their_place(monkeypatch) -> None:
    monkeypatch.setattr(experiments, "why_no_namespaces", lambda: "It needs root.")
    seen = experiments.on_slow_links([1 << 10, 1 << 16])
    assert seen.where == "the simulated clock. It needs root."
    for name in ALGORITHMS:
        predicted = [allreduce_seconds(name, seen.cluster, size) for size in seen.sizes]
        assert seen.seconds[name] == pytest.approx(predicted)


@pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())
def test_every_algorithm_is_timed_on_throttled_links_that_were_fitted() -> None:
    seen = experiments.on_slow_links([1 << 10, 1 << 12], megabits=1000, rounds=1)
    assert seen.where == "real links: 2 nodes of 2 ranks, one link of 1000 Mbit/s each"
    assert set(seen.seconds) == set(ALGORITHMS)
    assert all(len(times) == 2 and min(times) > 0 for times in seen.seconds.values())
    assert {len(times) for times in seen.fits.values()} == {len(experiments.FIT_SIZES)}
    # Nothing passes the token bucket faster than its rate for long: 4 MiB at 125 MB/s.
    assert seen.fits["between"][-1] > 0.03
    axes = figure()
    experiments.draw_prediction(seen, axes, ["ring", "hierarchy"], "a title")
    assert len(axes.lines) == 4


def test_the_map_shows_what_is_chosen() -> None:
    clusters = [Cluster(2**k, 8, FAST, SLOW, links=8) for k in range(8)]
    sizes = np.geomspace(10, 1e9, 20)
    axes = figure()
    counts = experiments.draw_choice(clusters, sizes, axes, "a title")
    assert sum(counts.values()) == 8 * 20 and counts["tree"] == counts["ring"] == 0
    assert {text.get_text().strip() for text in axes.texts} == {
        "recursive\ndoubling",
        "halving-doubling",
        "hierarchy",
    }
