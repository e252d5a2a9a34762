"""Of long values what differs is shown: where, what came, and what was expected."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from aisys.course import compare
from aisys.course.plain import canonical
from aisys.course.values import (
    LONG_LINES,
    LONG_TEXT,
    WIDTH,
    Entry,
    beginning,
    differing,
    is_long,
)

from .test_plain import PLAIN

NOTHING = "no such entry"


def ranks(count: int, **of_the_last: Any) -> dict[str, Any]:
    """What a case of ranks returns: the same of each but the last."""
    each = {"dtype": "float64", "new": True, "total": np.arange(3.0)}
    return {"returned": [each] * (count - 1) + [{**each, **of_the_last}], "counted": {"sent": 3}}


def test_only_the_entries_that_differ_are_shown_with_their_places() -> None:
    got = ranks(8, new=False, total=np.array([0.0, 1.0, 7.0]))
    assert differing(got, ranks(8)) == (
        [
            Entry("['returned'][7]['new']", "False", "True"),
            Entry("['returned'][7]['total']", "[0. 1. 7.]", "[0. 1. 2.]"),
        ],
        0,
    )


def test_of_many_entries_a_few_are_shown_and_the_others_counted() -> None:
    got = {"each": [{"value": i} for i in range(40)]}
    expected = {"each": [{"value": i + 1} for i in range(40)]}
    entries, more = differing(got, expected, most=3)
    assert [entry.where for entry in entries] == [f"['each'][{i}]['value']" for i in range(3)]
    assert more == 37


def test_the_place_that_the_verdict_named_comes_first() -> None:
    got, expected = {"part": [{"a": 1}, {"a": 2}]}, {"part": [{"a": 0}, {"a": 0}]}
    entries, _ = differing(got, expected, first="[1]['a']")
    assert [entry.where for entry in entries] == ["['part'][1]['a']", "['part'][0]['a']"]


@pytest.mark.parametrize(
    ("got", "expected", "entry"),
    [
        (1, 2, Entry("", "1", "2")),
        ({"a": 1}, {}, Entry("['a']", "1", NOTHING)),
        ({}, {"a": [1]}, Entry("['a']", NOTHING, "[1]")),
        ([1, 2, 3], [1, 9, 3], Entry("", "[1, 2, 3]", "[1, 9, 3]")),
        ((1, [2]), (1, [3]), Entry("[1]", "[2]", "[3]")),
        ([1], [1, 2], Entry("", "1 item: [1]", "2 items: [1, 2]")),
        ([], [{"a": 1}], Entry("", "0 items", "1 item: [0] a: 1")),
        ([0] * 99, [0] * 50 + [1] * 49, Entry("[50]", "0", "1", "and 48 more of its 99 items")),
        ([0] * 99, [0] * 98 + [1], Entry("[98]", "0", "1")),
        (True, 1, Entry("", "True", "1")),
        (None, "x", Entry("", "None", "'x'")),
        ({"a": 1}, [1], Entry("", "a: 1", "[1]")),
        (np.zeros(2), np.zeros((2, 1)),
         Entry("", "array of shape [2]: [0. 0.]", "array of shape [2, 1]: [[0.] [0.]]")),
        (np.zeros(2), np.zeros(2, bool), Entry("", "float64 [0. 0.]", "bool [False False]")),
        (np.zeros((20, 20)), np.eye(20),
         Entry("[0, 0]", "0", "1", "and 19 more of its 400 values")),
        (np.array(1.0), np.array(2.0), Entry("", "1.", "2.")),
        (1.0, 1.00001, Entry("", "1", "1.00001")),
        (1.0, 1.000000001, Entry("", "1.0", "1.000000001")),
        (np.array([1.0, 2.0]), np.array([1.0, 2.000001]), Entry("", "[1. 2.]", "[1. 2.000001]")),
        ("x" * 90 + "a", "x" * 90 + "b", Entry("", f"… '{'x' * 16}a'", f"… '{'x' * 16}b'")),
        ("a" + "x" * 90, "b" + "x" * 90, Entry("", f"'a{'x' * 63}' …", f"'b{'x' * 63}' …")),
    ],
)  # fmt: skip
def test_each_kind_of_difference_has_a_line(got: Any, expected: Any, entry: Entry) -> None:
    assert differing(got, expected) == ([entry], 0)


@given(PLAIN, PLAIN)
@settings(max_examples=100, deadline=None)
def test_there_are_entries_exactly_where_two_values_differ(left: Any, right: Any) -> None:
    left, right = canonical(left), canonical(right)
    entries, more = differing(left, right)
    assert bool(entries) == (compare(left, right, 0.0, 0.0) is not None)
    for entry in entries:
        assert max(len(entry.got), len(entry.expected)) <= WIDTH + 30
        assert "\n" not in entry.got + entry.expected
    assert not more or len(entries) == 5


def test_a_value_differs_from_itself_nowhere() -> None:
    assert differing(ranks(4), ranks(4)) == ([], 0)


def test_a_long_text_is_cut_and_a_short_one_is_not() -> None:
    assert not is_long("x" * LONG_TEXT) and not is_long("\n".join("x" * LONG_LINES))
    assert beginning("short\ntext") == "short\ntext"
    for text in ("y" * (LONG_TEXT + 1), "\n".join("y" * (LONG_LINES + 1))):
        assert is_long(text)
        assert beginning(text).endswith(" …") and len(beginning(text)) <= LONG_TEXT + 2
        assert len(beginning(text).splitlines()) < LONG_LINES
