"""Cases that run in a child process: what ends the child ends nothing else."""

import ctypes
import os
import sys

import pytest

from aisys.course import Case
from aisys.course.apart import run_apart
from aisys.course.probes import Probe

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


def probe_of(function, seconds: float = 5.0) -> Probe:  # noqa: ANN001
    return Probe("99.5 kernel", function.__name__, function, (), lambda a, b: None, seconds)


def answers(case, rng):  # noqa: ANN001, ANN201
    return case["x"] + 1


def crashes(case, rng):  # noqa: ANN001, ANN201
    if case["x"] == 1:
        ctypes.string_at(8)
    return case["x"]


def leaves(case, rng):  # noqa: ANN001, ANN201
    os._exit(3)


def cases(count: int) -> list[Case]:
    return [Case(f"case {x}", {"x": x}) for x in range(count)]


def test_outcomes_come_back_in_order() -> None:
    outcomes = run_apart([(probe_of(answers), case) for case in cases(3)])
    assert [(outcome.status, outcome.value) for outcome in outcomes] == [
        ("returned", 1),
        ("returned", 2),
        ("returned", 3),
    ]


def test_a_crash_costs_its_own_case_only() -> None:
    outcomes = run_apart([(probe_of(crashes), case) for case in cases(3)])
    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    assert outcomes[1].error == "Crashed"
    assert "SIGSEGV" in outcomes[1].message


def test_a_loop_that_no_signal_of_python_reaches_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisys.course.apart.GRACE", 0.1)
    libc = ctypes.CDLL(None)

    def waits(case, rng):  # noqa: ANN001, ANN202
        while case["x"] == 0:
            libc.pause()

    limited = probe_of(waits, seconds=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aisys.course.probes.time_limit", _no_limit)
        outcomes = run_apart([(limited, case) for case in cases(2)])
    assert [outcome.status for outcome in outcomes] == ["timeout", "returned"]


def test_an_exit_is_told_with_its_status() -> None:
    (outcome,) = run_apart([(probe_of(leaves), Case("only"))])
    assert (outcome.error, "status 3" in outcome.message) == ("Crashed", True)


def test_what_a_case_changes_stays_in_the_child() -> None:
    seen: list[int] = []

    def changes(case, rng):  # noqa: ANN001, ANN202
        seen.append(1)
        return len(seen)

    assert run_apart([(probe_of(changes), Case("only"))])[0].value == 1
    assert seen == []


class _no_limit:  # noqa: N801
    def __init__(self, seconds: float) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass
