"""Two results are compared by form first and by value second, and the difference is located."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from aisys.course import compare
from aisys.course.plain import canonical

from .test_plain import PLAIN

NAN, INF = float("nan"), float("inf")


@given(PLAIN)
@settings(max_examples=60, deadline=None)
def test_anything_equals_itself_whatever_the_tolerance(value: Any) -> None:
    value = canonical(value)
    assert compare(value, canonical(value), 0.0, 0.0) is None
    assert compare(value, canonical(value), 0.1, 0.1) is None


@given(PLAIN, PLAIN)
@settings(max_examples=60, deadline=None)
def test_comparing_any_two_results_gives_an_answer(left: Any, right: Any) -> None:
    difference = compare(canonical(left), canonical(right))
    assert difference is None or difference.message.endswith(".")


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (1.0, 1),
        (1, 1.0),
        (1.0 + 1e-9, 1.0),
        (NAN, NAN),
        (INF, INF),
        (-0.0, 0.0),
        (complex(NAN, 0), complex(0, NAN)),
        (10**400, 10**400),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array([1.0, 2.0], "f4"), np.array([1, 2], "i8")),
        (np.array([NAN, INF, -INF, 1.0]), np.array([NAN, INF, -INF, 1.0 + 1e-9])),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.array(2.5), np.array(2.5)),
        (np.array([complex(1, NAN)]), np.array([complex(NAN, 2)])),
        ({"a": 1, "b": [1.0]}, {"b": [1.0 + 1e-10], "a": 1}),
    ],
)
def test_these_agree(got: Any, expected: Any) -> None:
    assert compare(got, expected) is None


@pytest.mark.parametrize(
    ("got", "expected", "kind", "message"),
    [
        (np.zeros((3, 1)), np.zeros((3, 3)), "shape", "shape [3, 1], expected [3, 3]."),
        (np.zeros(3), np.zeros((1, 3)), "shape", "shape [3], expected [1, 3]."),
        (np.array(1.0), np.ones(3), "shape", "shape [], expected [3]."),
        (np.ones(3), np.ones(3, bool), "dtype", "an array of float64, expected bool."),
        (np.ones(3, bool), np.ones(3, "i8"), "dtype", "an array of bool, expected int64."),
        (np.ones(3, "c16"), np.ones(3), "dtype", "an array of complex128, expected float64."),
        (True, 1, "type", "bool True, expected int 1."),
        (0, False, "type", "int 0, expected bool False."),
        (None, 0.0, "type", "None, expected float 0.0."),
        ("1", 1, "type", "str '1', expected int 1."),
        (b"a", "a", "type", "bytes b'a', expected str 'a'."),
        ([1.0], np.ones(1), "type", "list [1.0], expected an array of shape [1]."),
        (np.ones(1), [1.0], "type", "an array of shape [1], expected list [1.0]."),
        (1.0, np.array(1.0), "type", "float 1.0, expected an array of shape []."),
        ([1], [1, 2], "length", "1 items, expected 2."),
        ({"a": 1}, {"b": 1}, "keys", "keys ['a'], expected ['b']."),
        (1.5, 1.0, "value", "1.5, expected 1.0."),
        (NAN, 1.0, "value", "nan, expected 1.0."),
        (1.0, NAN, "value", "1.0, expected nan."),
        (1.0, INF, "value", "1.0, expected inf."),
        (-INF, INF, "value", "-inf, expected inf."),
        (1e308, 10**400, "value", None),
        (10**400, 1e308, "value", None),
        (10**400, 10**400 + 1, "value", None),
        (100_000_000, 100_000_001, "value", "100000000, expected 100000001."),
        ("a", "b", "value", "'a', expected 'b'."),
        (np.array([2**60]), np.array([2**60 + 1]), "value", None),
        (np.array([1.0]), np.array([INF]), "value", None),
        (np.array([-INF]), np.array([INF]), "value", None),
        (np.array([NAN]), np.array([1.0]), "value", None),
        (np.array([1.0]), np.array([NAN]), "value", None),
        (np.array(1.0), np.array(2.0), "value", "1.0 at the only value, expected 2.0; "
         "1 of 1 values differ, the largest by 1."),
        (np.array([[1.0, 2.5], [3.0, 7.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]), "value",
         "2.5 at [0, 1], expected 2.0; 2 of 4 values differ, the largest by 3."),
        (np.array([True, False]), np.array([True, True]), "value",
         "False at [1], expected True; 1 of 2 values differ, the largest by 1."),
    ],
)  # fmt: skip
def test_these_differ(got: Any, expected: Any, kind: str, message: str | None) -> None:
    difference = compare(got, expected)
    assert difference is not None
    assert difference.kind == kind
    assert message is None or difference.message == message


def test_whole_numbers_are_exact_whatever_the_tolerance() -> None:
    assert compare(100, 101, rtol=0.1) is not None
    assert compare(np.array([100]), np.array([101]), rtol=0.1) is not None
    assert compare(100, 101.0, rtol=0.1) is None
    assert compare(np.array([100.0]), np.array([101]), rtol=0.1) is None


def test_the_tolerance_is_absolute_plus_relative_to_the_expected_value() -> None:
    for wrap in (float, lambda x: np.array([x])):
        assert compare(wrap(100.9), wrap(100.0), rtol=0.01, atol=0.0) is None
        assert compare(wrap(101.1), wrap(100.0), rtol=0.01, atol=0.0) is not None
        assert compare(wrap(0.4), wrap(0.0), rtol=0.0, atol=0.5) is None
        assert compare(wrap(0.6), wrap(0.0), rtol=1.0, atol=0.5) is not None


def test_a_difference_says_where_it_is() -> None:
    got = {"steps": [{"loss": 1.0}, {"loss": np.array([0.0, 2.0])}]}
    expected = {"steps": [{"loss": 1.0}, {"loss": np.array([0.0, 1.0])}]}
    difference = compare(got, expected)
    assert difference is not None
    assert difference.where == "['steps'][1]['loss']"
    assert difference.message == (
        "2.0 at ['steps'][1]['loss'][1], expected 1.0; 1 of 2 values differ, the largest by 1."
    )
    nested = compare([[1], 2], [[1, 1], 2])
    assert nested is not None
    assert (nested.where, nested.message) == ("[0]", "1 items at [0], expected 2.")


def test_a_message_stays_short_whatever_came_back() -> None:
    for got, expected in [("x" * 10**6, "y"), (["z" * 10**6], None), ({"k" * 10**6: 1}, {})]:
        difference = compare(got, expected)
        assert difference is not None
        assert len(difference.message) < 500
