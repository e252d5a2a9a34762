"""Cases and verdicts of ranks with an array each: layouts, wrong sums, results of another form."""

from typing import Any

import numpy as np
import pytest

from aisys.allreduce.checks.costs import exactly, models_alike, seconds_alike
from aisys.allreduce.checks.doubling import windows_alike
from aisys.allreduce.checks.ring import exactly_counted
from aisys.allreduce.checks.sums import (
    array_case,
    plainly,
    rank_arrays,
    reduced_by,
    right_sums,
    tried_and_counted,
    within_rounding,
)
from aisys.allreduce.in_process import run
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport, TransportError
from aisys.course.plain import canonical


def drawn(*shape: int, **inputs: object) -> list[np.ndarray]:
    case = array_case("a case", 1, 3, *shape, **inputs)
    return rank_arrays(case.inputs, np.random.default_rng(case.seed))


@pytest.mark.parametrize("layout", ["contiguous", "every second", "transposed"])
@pytest.mark.parametrize("shape", [(4, 6), (0, 3), (2, 3, 4)])
def test_arrays_have_the_shape_and_the_layout_of_their_case(layout: str, shape: tuple) -> None:
    for array in drawn(*shape, layout=layout):
        assert array.shape == shape
        assert bool(array.flags.c_contiguous) == (layout == "contiguous" or array.size == 0)


def test_small_whole_numbers_wrap_and_large_ones_have_more_digits_than_a_float() -> None:
    small, large = drawn(50, dtype="int8"), drawn(50, dtype="int64")
    assert sum(small[1:], small[0]).dtype == np.int8
    assert (sum(small[1:], small[0]) != sum(each.astype(int) for each in small)).any()
    assert (large[0].astype(float).astype(np.int64) != large[0]).any()
    assert drawn()[0].shape == ()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        ((1, np.int64(2), None), [1, 2, None]),
        (np.float32(0.5), 0.5),
        (slice(1, 2), "a slice"),
        ({1, 2}, "a set"),
        (np.array([None]), "an array of object"),
    ],
)
def test_whatever_comes_back_can_be_passed_on(value: Any, plain: Any) -> None:
    assert plainly(value) == plain
    assert canonical(plainly(value)) == plain


def said_of(allreduce: Any) -> str:
    """The sentence on an all-reduce of three ranks, beside the ring's."""
    data = [np.arange(6.0).reshape(2, 3) * (rank + 1) for rank in range(3)]

    def returned(way: Any) -> Any:
        copies = [each.copy() for each in data]
        return canonical(run(3, lambda t: reduced_by(way)(t, copies[t.rank])).results)

    found = right_sums(returned(allreduce), returned(ring_allreduce))
    return "" if found is None else found.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda total: total, ""),
        (lambda total: None, "on rank 1: None, expected an array of shape [2, 3]."),
        (lambda total: 7, "on rank 1: int 7, expected an array of shape [2, 3]."),
        (lambda total: total.reshape(-1), "on rank 1: shape [6], expected [2, 3]."),
        (lambda total: total.astype(np.float32), "rank 1 returns an array of float32, expected"),
        (lambda total: total.copy("F"), "rank 1 returns an array that is not C-contiguous."),
        (lambda total: total + 1, "on rank 1: 1.0 at [0, 0], expected 0.0"),
    ],
)
def test_the_rank_and_what_is_wrong_with_its_sum_are_named(change: Any, words: str) -> None:
    def changed(transport: Transport, data: np.ndarray) -> Any:
        total = ring_allreduce(transport, data)
        return change(total) if transport.rank == 1 else total

    assert said_of(changed).startswith(words)
    assert bool(said_of(changed)) == bool(words)


def test_the_ring_is_judged_by_its_bytes_too() -> None:
    counts = {"steps": 4, "messages": [4] * 3, "bytes": [64] * 3, "unreceived": 0}
    right = {"returned": [np.ones(3)] * 3, "witnessed": [counts]}
    dearer = {"returned": [np.ones(3)] * 3, "witnessed": [{**counts, "bytes": [64, 65, 64]}]}
    assert exactly_counted(right, right) is None
    found = exactly_counted(dearer, right)
    assert found is not None and found.kind == "too many bytes"


def test_sums_in_another_order_are_right_and_whole_numbers_are_exact() -> None:
    assert within_rounding([np.array([1 + 1e-15])], [np.array([1.0])]) is None
    assert within_rounding([np.array([2**60 + 1])], [np.array([2**60])]) is not None


def test_what_goes_wrong_is_said_in_the_same_words_before_anything_is_counted() -> None:
    def wrong(transport: Transport, data: np.ndarray) -> None:
        out = np.empty(2 * len(data))
        transport.sendrecv(data, 1 - transport.rank, out, 1 - transport.rank)

    case = {"ranks": 2, "witness": "nowhere"}
    said = []
    for _ in range(5):
        with pytest.raises(TransportError) as caught:
            tried_and_counted(case, wrong, [np.ones(3), np.ones(3)])
        said.append(str(caught.value))
    assert len(set(said)) == 1


def test_a_rank_that_returns_no_list_of_seconds_is_told_what_was_expected() -> None:
    expected = {"seconds": [[1.0, 2.0], []]}
    assert seconds_alike(expected, expected) is None
    assert seconds_alike({"seconds": [[1.0, 2.1], []]}, expected) is not None
    found = seconds_alike({"seconds": [[1.0, 2.0], {"no list": None}]}, expected)
    assert found is not None and "rank 1 returns None; expected a list of seconds" in found.message
    found = exactly({"returned": [{"no list": 0.5}, 0], "witnessed": []}, {"returned": [2, 0]})
    assert found is not None and found.message == "rank 0 returns 0.5; expected a list of seconds."


def test_two_numbers_are_no_model_and_a_pair_is_no_slice() -> None:
    model = {"alpha": 1.0, "beta": 2.0}
    assert models_alike(model, model) is None
    assert models_alike({"alpha": 2.0, "beta": 1.0}, model) is not None
    found = models_alike({"no model": [1.0, 2.0]}, model)
    assert found is not None and "expected a model, `CostModel(alpha, beta)`" in found.message
    assert windows_alike([[[0, 4]]], [[[0, 4]]]) is None
    assert windows_alike([[[0, 3]]], [[[0, 4]]]) is not None
    found = windows_alike([[{"no slice": [0, 4]}]], [[[0, 4]]])
    assert found is not None and "expected a slice, slice(0, 4)." in found.message
