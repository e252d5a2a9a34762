"""Groups of ranks, and all-reduce in two levels: the same sum everywhere, little between nodes."""

import numpy as np
import pytest

from aisys.allreduce.group import Group
from aisys.allreduce.hierarchy import hierarchical_allreduce, node_groups
from aisys.allreduce.in_process import run
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport, TransportError
from aisys.course.errors import CourseError
from tests.support.rank_programs import sample

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
