"""Which exercises a failed one may be lent: those before it in the notebook that it calls."""

from types import SimpleNamespace
from typing import Any

import pytest

from autograder.lending import blockers, failed_in
from tests.autograder.sample_results import case, exercise, stage

# The two are defined in the other order in `aisys`.
KEYS = ["1.1 slow_step", "1.1 operator_table"]


def calls(*keys: str) -> Any:
    """A hidden case that calls these exercises."""
    return SimpleNamespace(calls=keys)


@pytest.mark.parametrize(
    ("key", "called", "lent"), [(KEYS[1], KEYS[0], [KEYS[0]]), (KEYS[0], KEYS[1], [])]
)
def test_only_what_stands_earlier_in_the_notebook_is_lent(
    key: str, called: str, lent: list[str]
) -> None:
    wrong = [exercise(k, 0.0, 1.0, "failed", "", case("one", "value")) for k in reversed(KEYS)]
    failed = failed_in([stage("1.1", "Watch", "failed", *wrong)], KEYS)
    assert failed == KEYS
    mine = next(one for one in wrong if one.key == key)
    assert blockers(mine, (calls(called),), failed) == lent


def test_what_only_passing_cases_call_is_not_lent() -> None:
    first = exercise(KEYS[0], 0.0, 1.0, "failed", "", case("one", "value"))
    second = exercise(KEYS[1], 0.5, 1.0, "partial", "", case("one"), case("two", "value"))
    failed = failed_in([stage("1.1", "Watch", "partial", first, second)], KEYS)
    assert blockers(second, (calls(KEYS[0]), calls()), failed) == []
