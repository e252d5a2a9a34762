"""Trees: any root and world size, the closed form, and the same bits over every transport."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from aisys.allreduce import in_process
from aisys.allreduce.checks.sums import reduced_by, right_sums, sums_and_counts
from aisys.allreduce.ports import Link
from aisys.allreduce.transport import Transport
from aisys.allreduce.tree_experiments import (
    draw_messages,
    least_seconds,
    seconds_by_size,
    senders_by_step,
    star_allreduce,
    traced,
)
from aisys.allreduce.trees import broadcast, reduce, tree_allreduce, tree_cost, tree_neighbours
from aisys.course.plotting import figure
from tests.support.rank_runners import RUNNERS
from tests.support.sums import KINDS, LAYOUTS, assert_exact, assert_sums, summed, term

SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 17]
OVER = ["broker", "tcp", "shared memory"]
LINK = Link(20e-6, 1e-9)


def rounds(n: int) -> int:
    """How many doublings lead from one rank to n of them."""
    return next(k for k in range(64) if 2**k >= n)


@pytest.mark.parametrize("n", SIZES)
def test_parents_and_children_are_one_tree_below_any_root(n):
    for root in range(n):
        found = [tree_neighbours(rank, n, root) for rank in range(n)]
        for rank, (parent, children) in enumerate(found):
            assert (parent is None) == (rank == root)
            assert all(found[child][0] == rank for child in children)
            distances = [(child - rank) % n for child in children]
            assert distances == [2**k for k in range(len(children))]
        assert sorted(child for _, children in found for child in children) == [
            rank for rank in range(n) if rank != root
        ]


@pytest.mark.parametrize("n", SIZES)
def test_every_rank_gets_the_roots_bits_whoever_is_the_root(n):
    def program(transport: Transport, root: int) -> np.ndarray:
        return broadcast(transport, term(transport.rank, 7), root)

    for root in range(n):
        done = in_process.run(n, program, root, synchronous=root % 2 == 1)
        assert {result.tobytes() for result in done.results} == {term(root, 7).tobytes()}
        assert (done.trace.steps, len(done.trace.messages)) == (rounds(n), n - 1)


@pytest.mark.parametrize("n", SIZES)
def test_the_root_alone_gets_the_sum_whoever_is_the_root(n):
    def program(transport: Transport, root: int) -> np.ndarray | None:
        return reduce(transport, term(transport.rank, 7), root)

    for root in range(n):
        done = in_process.run(n, program, root, synchronous=root % 2 == 1)
        assert_exact(done.results[root], [term(rank, 7) for rank in range(n)])
        assert [rank for rank, result in enumerate(done.results) if result is not None] == [root]
        assert (done.trace.steps, len(done.trace.messages)) == (rounds(n), n - 1)


@pytest.mark.parametrize("n", range(1, 34))
def test_a_run_costs_what_the_closed_form_says(n):
    trace = traced(tree_allreduce, n, nbytes=24)
    steps, on_the_path, everything = tree_cost(n, 24)
    assert steps == trace.steps == 2 * rounds(n)
    assert on_the_path == 24 * steps
    assert everything == sum(trace.bytes_sent) == 2 * (n - 1) * 24
    timed = traced(tree_allreduce, n, 24, LINK).seconds
    assert timed == pytest.approx(steps * LINK.alpha + on_the_path * LINK.beta)


def test_the_closed_form_of_a_power_of_two_is_exact_for_large_worlds():
    assert tree_cost(2**40, 3) == (80, 240, 6 * (2**40 - 1))
    assert tree_cost(2**40 + 1, 1)[0] == 82


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", KINDS)
def test_arrays_of_every_kind_are_added_up(dtype, layout):
    for n in (0, 10):
        done = in_process.run(5, summed, tree_allreduce, n, dtype, layout)
        assert_sums(done.results, n, dtype, layout)


@pytest.mark.parametrize("ranks", SIZES)
def test_neither_the_order_of_turns_nor_waiting_receivers_change_a_bit(ranks):
    calm = in_process.run(ranks, summed, tree_allreduce, 12)
    assert_sums(calm.results, 12)
    for ways in ({"seed": 1}, {"seed": 2}, {"synchronous": True}, {"synchronous": True, "seed": 3}):
        again = in_process.run(ranks, summed, tree_allreduce, 12, **ways)
        assert again.results[0][0].tobytes() == calm.results[0][0].tobytes()
        assert_sums(again.results, 12)
        assert again.trace.steps == calm.trace.steps


def test_ranks_that_come_late_delay_the_sum_and_do_not_change_it():
    def program(transport: in_process.InProcessTransport) -> list:
        transport.work(float(transport.rank % 3))
        return summed(transport, tree_allreduce, 12)

    done = in_process.run(6, program, seed=1)
    assert_sums(done.results, 12)
    calm = in_process.run(6, summed, tree_allreduce, 12)
    assert done.results[0][0].tobytes() == calm.results[0][0].tobytes()
    assert done.trace.seconds > calm.trace.seconds


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
def test_it_runs_over_real_transports(over, ranks, n, dtype, layout, delays):
    outcomes = RUNNERS[over](ranks, summed, tree_allreduce, n, dtype, layout, delays)
    results = [outcome["value"] for outcome in outcomes]
    calm = in_process.run(ranks, summed, tree_allreduce, n, dtype, layout)
    assert {r[0].tobytes() for r in results} == {r[0].tobytes() for r in calm.results}
    if n < 10_000:
        assert_sums(results, n, dtype, layout)


def test_rank_0_alone_gives_the_same_sum_in_more_steps():
    done = in_process.run(7, summed, star_allreduce, 9)
    assert_sums(done.results, 9)
    assert done.trace.steps == 2 * 6


def test_senders_are_counted_in_each_step():
    assert senders_by_step(traced(tree_allreduce, 16)) == [8, 4, 2, 1, 1, 2, 4, 8]


def test_no_run_is_faster_than_the_least_time():
    sizes = [1, 1000, 100_000]
    for n in (2, 5, 8):
        for nbytes, took in zip(
            sizes, seconds_by_size(tree_allreduce, n, sizes, LINK), strict=True
        ):
            assert took >= least_seconds(n, nbytes, LINK)


def judged(call: object, ranks: int = 3) -> str:
    """What the verdict says of a program against `tree_allreduce`; messages are not counted."""

    def returned(function: object) -> dict:
        def program(transport: Transport) -> dict:
            return reduced_by(function)(transport, np.arange(3.0) + transport.rank)

        counts = {
            "steps": 4,
            "messages": [2] * ranks,
            "bytes": [48] * ranks,
            "unreceived": 0,
        }
        return {"returned": in_process.run(ranks, program).results, "witnessed": [counts]}

    found = sums_and_counts()(returned(call), returned(tree_allreduce))
    return "" if found is None else found.kind


def test_the_verdict_sees_a_changed_input_and_a_result_that_is_the_input():
    def changing(transport: Transport, data: np.ndarray) -> np.ndarray:
        total = tree_allreduce(transport, data)
        data[0] = 7
        return total

    def sharing(transport: Transport, data: np.ndarray) -> np.ndarray:
        data[...] = tree_allreduce(transport, data)
        return data

    assert judged(lambda transport, data: tree_allreduce(transport, data)) == ""
    assert judged(changing) == "input"
    assert judged(sharing) == "memory"


def test_the_verdict_asks_for_dtype_shape_and_the_same_bits():
    def as_float32(transport: Transport, data: np.ndarray) -> np.ndarray:
        return tree_allreduce(transport, data).astype(np.float32)

    def flat(transport: Transport, data: np.ndarray) -> np.ndarray:
        return tree_allreduce(transport, data)[None]

    def columns(transport: Transport, data: np.ndarray) -> np.ndarray:
        return np.repeat(tree_allreduce(transport, data), 2)[::2]

    def different(transport: Transport, data: np.ndarray) -> np.ndarray:
        total = tree_allreduce(transport, data)
        return np.nextafter(total, np.inf) if transport.rank == 1 else total

    assert judged(as_float32) == "dtype"
    assert judged(flat) == "shape"
    assert judged(columns) == "layout"
    assert judged(different) == "not the same"
    assert judged(lambda transport, data: None) == "type"
    assert right_sums([], [1]) is not None


def test_the_picture_has_an_arrow_for_each_message():
    axes = figure()
    draw_messages(traced(tree_allreduce, 6), axes, "six ranks")
    assert len(axes.texts) == 2 * 5
    assert {text.arrow_patch.get_linestyle() for text in axes.texts} == {"-", "--"}
    assert axes.get_title("left") == "six ranks"
    plt.close(axes.figure)
