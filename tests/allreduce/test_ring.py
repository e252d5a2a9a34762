"""The ring: the same sum on every rank, and no byte more than is necessary."""

from typing import Any

import matplotlib
import numpy as np
import pytest

from aisys.allreduce import ring_experiments as experiments
from aisys.allreduce.checks.careful import CarefulTransport
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ring import all_gather, chunk_bounds, reduce_scatter, ring_allreduce
from aisys.allreduce.transport import Transport, TransportError
from aisys.course.errors import CourseError
from aisys.course.plotting import figures
from tests.support.rank_programs import sample

DTYPES = ["float16", "float32", "float64", "uint8", "int64", "complex64"]
matplotlib.use("agg")


def arrays(ranks: int, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Whole numbers small enough that their sum is exact in every dtype."""
    rng = np.random.default_rng(ranks)
    return [rng.integers(0, 10, shape).astype(dtype) for _ in range(ranks)]


def ring_of(data: list[np.ndarray], **options: Any) -> Any:
    return run(len(data), lambda t: ring_allreduce(t, data[t.rank]), **options)


@pytest.mark.parametrize("ranks", range(1, 10))
def test_chunks_cover_the_array_and_differ_by_one_at_most_the_larger_first(ranks: int) -> None:
    for n in range(40):
        sizes = np.diff(chunk_bounds(n, ranks)).tolist()
        assert sizes == [len(part) for part in np.array_split(np.empty(n), ranks)]
        assert sum(sizes) == n and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7, 8])
def test_every_rank_has_the_sum(ranks: int, dtype: str, synchronous: bool) -> None:
    for n in (0, 1, ranks - 1, ranks, 3 * ranks, 101):
        data = arrays(ranks, (n,), dtype)
        done = ring_of(data, seed=n, synchronous=synchronous)
        assert all(np.array_equal(result, sum(data)) for result in done.results)
        assert {result.dtype for result in done.results} == {np.dtype(dtype)}


@pytest.mark.parametrize("seed", range(5))
def test_rounding_is_the_same_on_every_rank_whoever_comes_first(seed: int) -> None:
    data = [sample(rank, (50,), np.dtype("float32")) for rank in range(5)]
    results = ring_of(data, seed=seed, synchronous=seed % 2 == 0).results
    assert {result.tobytes() for result in results} == {ring_of(data).results[0].tobytes()}
    exact = np.sum([each.astype(float) for each in data], axis=0)
    bound = 5 * np.finfo("float32").eps * np.abs(data).sum(axis=0)
    assert (np.abs(results[0] - exact) <= bound).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (4, 5)])
def test_the_input_may_have_any_shape_and_layout_and_stays_as_it_is(shape: tuple) -> None:
    views = [np.arange(24).reshape(4, 6).T[::-1, ::2], np.ones((5, 4)).T, np.ones(shape)]
    for view in views:
        data = [view + rank for rank in range(3)]
        data = [np.asfortranarray(each) for each in data]
        before = [each.copy() for each in data]
        for rank, result in enumerate(ring_of(data).results):
            assert np.array_equal(result, sum(before)) and np.array_equal(data[rank], before[rank])
            assert result.flags.c_contiguous and not np.shares_memory(result, data[rank])


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_each_rank_sends_exactly_2_n_minus_1_nths_of_its_array(ranks: int) -> None:
    trace = ring_of([np.ones(ranks * 12)] * ranks).trace
    assert trace.bytes_sent == (8 * 12 * 2 * (ranks - 1),) * ranks
    assert trace.steps == 2 * (ranks - 1)


def test_a_rank_that_comes_late_delays_the_ring_and_changes_nothing() -> None:
    def program(transport: Any) -> np.ndarray:
        transport.work(100.0 * transport.rank)
        return ring_allreduce(transport, data[transport.rank])

    data = arrays(4, (10,), "float64")
    done = run(4, program)
    assert all(np.array_equal(result, sum(data)) for result in done.results)
    assert done.trace.steps == 6 and done.trace.seconds > 300


def test_all_gather_starts_from_any_chunk() -> None:
    for first in range(5):

        def program(transport: Transport, first: int = first) -> list[int]:
            complete = (transport.rank + first) % 5
            data = np.where(np.arange(5) == complete, np.arange(5), -1)
            all_gather(transport, data, complete)
            return data.tolist()

        assert run(5, program).results == [[0, 1, 2, 3, 4]] * 5


def test_reduce_scatter_says_which_chunk_is_complete() -> None:
    def program(transport: Transport) -> tuple[int, float]:
        data = np.arange(4) + 10 * transport.rank
        complete = reduce_scatter(transport, data)
        return complete, data[complete]

    assert run(4, program).results == [(1, 64), (2, 68), (3, 72), (0, 60)]


def test_arrays_of_unequal_sizes_are_an_error_that_names_a_rank_that_differs() -> None:
    def program(transport: Transport) -> np.ndarray:
        return ring_allreduce(transport, np.ones(12 if transport.rank != 2 else 16))

    with pytest.raises(TransportError, match="expected 4 x float64|expected 3 x float64") as caught:
        run(4, program)
    assert caught.value.rank in (1, 2)


def careful(program: Any, **options: Any) -> Any:
    def outer(transport: Transport) -> Any:
        with CarefulTransport(transport) as seen:
            return program(seen)

    return run(3, outer, synchronous=True, **options).results


def test_a_careful_transport_lets_the_ring_pass() -> None:
    assert careful(lambda t: ring_allreduce(t, np.ones(4)).tolist()) == [[3.0] * 4] * 3


@pytest.mark.parametrize(
    ("when", "words"),
    [("received", "still sending"), ("changed", "changed an array"), ("left", "changed an array")],
)
def test_a_careful_transport_refuses_to_touch_what_is_being_sent(when: str, words: str) -> None:
    def program(transport: Transport) -> None:
        after, before, data = (transport.rank + 1) % 3, (transport.rank - 1) % 3, np.ones(4)
        arriving = transport.irecv(np.empty(4), before)
        leaving = transport.isend(data, after)
        if when == "received":
            transport.irecv(data[2:], before)
        data += 1
        if when != "left":
            leaving.wait()
        arriving.wait()

    with pytest.raises(TransportError, match=words):
        careful(program)


def test_sending_and_then_receiving_is_a_deadlock_where_a_send_waits() -> None:
    def program(transport: Transport) -> None:
        transport.send(np.ones(1), (transport.rank + 1) % 3)
        transport.recv(np.ones(1), (transport.rank - 1) % 3)

    with pytest.raises(TransportError, match="Deadlock"):
        careful(program)
    run(3, program)


def test_the_picture_is_that_of_the_messages() -> None:
    seen = experiments.journey(4)
    ring = seen.contributions
    assert ring.shape == (7, 4, 4) and (ring[0] == 1).all() and (ring[-1] == 4).all()
    assert [int((step == 4).sum()) for step in ring] == [0, 0, 0, 4, 8, 12, 16]
    assert (seen.sent.sum(axis=2) == 1).all()
    assert seen.sent[0].argmax(axis=1).tolist() == [0, 1, 2, 3]
    axes = figures(7, 10, 2)
    experiments.draw_journey(seen, axes)
    assert [len(ax.patches) for ax in axes] == [4] * 6 + [0]


def test_the_picture_of_a_wrong_sum_is_refused() -> None:
    with pytest.raises(CourseError, match="another sum"):
        experiments.journey(3, lambda t, data: data)
    with pytest.raises(CourseError, match="not of 21"):
        experiments.journey(21)


def test_what_the_busiest_rank_sends_is_counted_in_arrays() -> None:
    assert experiments.arrays_sent(ring_allreduce, 4, 8) == (1.5, 6)


def test_processes_are_timed_beside_gloo() -> None:
    seconds = experiments.seconds_between_processes(2, [4096, 8192], rounds=1)
    assert list(seconds) == ["ring over TCP", "Gloo", "ring over shared memory"]
    assert all(len(each) == 2 and min(each) > 0 for each in seconds.values())


@pytest.mark.parametrize("transport", ["tcp", "shared"])
def test_the_ring_runs_between_processes(transport: str) -> None:
    results = launch(3, between_processes, 10_001, transport=transport)
    assert all(np.array_equal(result, results[0]) for result in results)
    assert np.array_equal(results[0], sum(arrays(3, (10_001,), "int64")))


def between_processes(transport: Transport, n: int) -> np.ndarray:
    return ring_allreduce(transport, arrays(3, (n,), "int64")[transport.rank])
