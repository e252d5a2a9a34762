"""Halving and doubling: what each part leaves behind, what it costs, the same bits everywhere."""

import numpy as np
import pytest

from aisys.allreduce import in_process
from aisys.allreduce.doubling import (
    doubling_all_gather,
    fold,
    halving_doubling_allreduce,
    halving_reduce_scatter,
    halving_window,
    recursive_doubling_allreduce,
    unfold,
)
from aisys.allreduce.doubling_experiments import (
    ALGORITHMS,
    different_results,
    dissemination_allreduce,
    halving_doubling_cost,
    recursive_doubling_cost,
    seconds_between_processes,
)
from aisys.allreduce.ports import Link
from aisys.allreduce.transport import Transport
from aisys.allreduce.tree_experiments import least_seconds, traced
from aisys.course.errors import CourseError
from tests.support.rank_runners import RUNNERS
from tests.support.sums import KINDS, LAYOUTS, AllReduce, assert_exact, assert_sums, summed, term

SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 17]
POWERS = [1, 2, 4, 8, 16]
OVER = ["broker", "tcp", "shared memory"]

both = pytest.mark.parametrize(
    "allreduce",
    [recursive_doubling_allreduce, halving_doubling_allreduce],
    ids=["recursive doubling", "halving and doubling"],
)


@pytest.mark.parametrize("n", SIZES)
def test_folding_leaves_a_power_of_two_with_the_sum_of_all(n):
    def program(transport: Transport) -> list:
        mine = term(transport.rank, 6, "int64")
        return [fold(transport, mine), mine]

    done = in_process.run(n, program)
    members = done.results[0][0]
    assert [result[0] for result in done.results] == [members] * n
    assert len(members) == max(p for p in POWERS if p <= n)
    pairs = n - len(members)
    assert members == [rank for rank in range(n) if rank >= 2 * pairs or rank % 2 == 1]
    total = sum(done.results[rank][1] for rank in members)
    assert_exact(total, [term(rank, 6, "int64") for rank in range(n)])
    assert done.trace.steps == (1 if pairs else 0)
    assert len(done.trace.messages) == pairs


@pytest.mark.parametrize("n", SIZES)
def test_unfolding_gives_the_result_to_those_that_were_left_out_and_to_nobody_else(n):
    def program(transport: Transport) -> np.ndarray:
        mine = term(transport.rank, 6)
        unfold(transport, mine)
        return mine

    done = in_process.run(n, program)
    pairs = n - max(p for p in POWERS if p <= n)
    for rank, result in enumerate(done.results):
        source = rank + 1 if rank < 2 * pairs and rank % 2 == 0 else rank
        assert (result == term(source, 6)).all()
    assert len(done.trace.messages) == pairs


@pytest.mark.parametrize("n", [0, 1, 3, 16, 21, 1000])
@pytest.mark.parametrize("members", POWERS)
def test_windows_halve_and_what_partners_keep_is_what_they_had(members, n):
    steps = members.bit_length()
    for number in range(members):
        assert halving_window(number, members, n, 0) == slice(0, n)
        for step in range(1, steps):
            before = halving_window(number, members, n, step - 1)
            mine = halving_window(number, members, n, step)
            theirs = halving_window(number ^ (members >> step), members, n, step)
            kept = [*range(n)[mine], *range(n)[theirs]]
            assert sorted(kept) == [*range(n)[before]]
    lengths = [len(range(n)[halving_window(i, members, n, steps - 1)]) for i in range(members)]
    assert sum(lengths) == n
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n", [0, 1, 5, 64, 101])
@pytest.mark.parametrize("p", POWERS)
def test_a_reduce_scatter_leaves_each_member_with_its_chunk_and_a_gather_with_all(p, n):
    members = [2 * number + 1 for number in range(p)]

    def program(transport: Transport) -> list:
        mine = term(transport.rank, n)
        if transport.rank not in members:
            return [mine, mine]
        halving_reduce_scatter(transport, mine, members)
        number = members.index(transport.rank)
        chunk = mine[halving_window(number, p, n, p.bit_length() - 1)].copy()
        mine[: number * n // p] = np.nan
        mine[(number + 1) * n // p :] = np.nan
        doubling_all_gather(transport, mine, members)
        return [chunk, mine]

    done = in_process.run(2 * p, program, synchronous=True)
    chunks = np.concatenate([done.results[rank][0] for rank in members])
    assert_exact(chunks, [term(rank, n) for rank in members])
    for rank in members:
        assert done.results[rank][1].tobytes() == chunks.tobytes()
    assert done.trace.steps == 2 * (p.bit_length() - 1)


@pytest.mark.parametrize("n", range(1, 34))
@pytest.mark.parametrize(
    ("allreduce", "cost"),
    [
        (recursive_doubling_allreduce, recursive_doubling_cost),
        (halving_doubling_allreduce, halving_doubling_cost),
    ],
    ids=["recursive doubling", "halving and doubling"],
)
def test_a_run_costs_what_the_closed_form_says(allreduce, cost, n):
    nbytes = 64 * 32
    steps, path = cost(n, nbytes)
    assert traced(allreduce, n, nbytes).steps == steps
    assert traced(allreduce, n, nbytes, Link(0, 1)).seconds == pytest.approx(path)
    both_ways = traced(allreduce, n, nbytes, Link(3.0, 0.5)).seconds
    assert both_ways == pytest.approx(3.0 * steps + 0.5 * path)
    assert both_ways >= least_seconds(n, nbytes, Link(3.0, 0.5))


@pytest.mark.parametrize("n", POWERS)
def test_a_power_of_two_of_ranks_send_no_byte_too_many(n):
    trace = traced(halving_doubling_allreduce, n, 160)
    assert trace.bytes_sent == (2 * (n - 1) * 160 // n,) * n
    assert len(trace.messages) == 2 * n * (n.bit_length() - 1)


@both
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", KINDS)
def test_arrays_of_every_kind_are_added_up(allreduce, dtype, layout):
    for ranks, n in ((5, 0), (5, 10), (4, 10)):
        done = in_process.run(ranks, summed, allreduce, n, dtype, layout)
        assert_sums(done.results, n, dtype, layout)


@both
@pytest.mark.parametrize("ranks", SIZES)
def test_neither_the_order_of_turns_nor_waiting_receivers_change_a_bit(allreduce, ranks):
    for n in (1, 53):
        calm = in_process.run(ranks, summed, allreduce, n)
        assert_sums(calm.results, n)
        for ways in ({"seed": 1}, {"synchronous": True}, {"synchronous": True, "seed": 2}):
            again = in_process.run(ranks, summed, allreduce, n, **ways)
            assert again.results[0][0].tobytes() == calm.results[0][0].tobytes()
            assert_sums(again.results, n)


@both
def test_ranks_that_come_late_delay_the_sum_and_do_not_change_it(allreduce):
    def program(transport: in_process.InProcessTransport) -> list:
        transport.work(float(transport.rank % 3))
        return summed(transport, allreduce, 12)

    done = in_process.run(6, program, seed=1)
    calm = in_process.run(6, summed, allreduce, 12)
    assert_sums(done.results, 12)
    assert done.results[0][0].tobytes() == calm.results[0][0].tobytes()
    assert done.trace.seconds > calm.trace.seconds


@both
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize(
    ("ranks", "n", "dtype", "layout", "delays"),
    [
        (3, 1001, "float64", "plain", None),
        (4, 6, "int8", "transposed", 1),
        (5, 0, "float32", "plain", 2),
        (2, 300_000, "float32", "every second element", None),
    ],
)
def test_it_runs_over_real_transports(allreduce, over, ranks, n, dtype, layout, delays):
    outcomes = RUNNERS[over](ranks, summed, allreduce, n, dtype, layout, delays)
    results = [outcome["value"] for outcome in outcomes]
    calm = in_process.run(ranks, summed, allreduce, n, dtype, layout)
    assert {r[0].tobytes() for r in results} == {r[0].tobytes() for r in calm.results}
    if n < 10_000:
        assert_sums(results, n, dtype, layout)


@pytest.mark.slow
@both
def test_large_arrays_do_not_wait_for_each_other(allreduce):
    for over in ("tcp", "shared memory"):
        outcomes = RUNNERS[over](3, summed, allreduce, 1_000_000, "float32")
        assert len({outcome["value"][0].tobytes() for outcome in outcomes}) == 1


def test_one_array_without_axes_is_added_up():
    for allreduce in (recursive_doubling_allreduce, halving_doubling_allreduce):
        done = in_process.run(6, lambda t, way=allreduce: way(t, np.array(t.rank)))
        assert [result.shape for result in done.results] == [()] * 6
        assert [int(result) for result in done.results] == [15] * 6


def test_partners_that_exchange_get_the_same_bits_and_others_do_not():
    assert different_results(recursive_doubling_allreduce, 8) == (1, 0.0)
    assert different_results(halving_doubling_allreduce, 8) == (1, 0.0)
    number, spread = different_results(dissemination_allreduce, 8)
    assert number == 4
    assert 0 < spread < 1e-6
    with pytest.raises(CourseError, match="power of two, which 6 is not"):
        in_process.run(6, lambda t: dissemination_allreduce(t, np.ones(1)))


def test_all_algorithms_of_the_experiment_are_timed_between_processes():
    seconds = seconds_between_processes(3, [64, 4096], "tcp", rounds=2)
    assert list(seconds) == list(ALGORITHMS)
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_deadlocks_of_ranks_that_both_send_first_are_found():
    def send_first(transport: Transport, data: np.ndarray) -> np.ndarray:
        out, partner = np.empty_like(data), 1 - transport.rank
        transport.send(data, partner)
        transport.recv(out, partner)
        return data + out

    way: AllReduce = send_first
    assert_sums(in_process.run(2, summed, way, 5).results, 5)
    with pytest.raises(CourseError, match="Deadlock"):
        in_process.run(2, summed, way, 5, synchronous=True)
