"""`check` says whose code ran, what passes, what does not and why; it returns nothing."""

import time
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from aisys.course import (
    Case,
    CheckFailed,
    CourseError,
    Difference,
    attempt,
    check,
    checking,
    outcomes,
)
from aisys.course.checking import report
from aisys.course.display import show
from aisys.course.errors import Hole
from aisys.course.probes import Outcome, probes_of
from aisys.course.slots import find
from aisys.course.values import brief


def shown(stage: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert check(stage) is None  # type: ignore[func-returns-value]
    return capsys.readouterr().out.splitlines()


def attempt_scale(result: Any) -> None:
    @attempt("99.1")
    def scale(x, factor=2.0):
        return result(x, factor)


def attempt_shift(result: Any) -> None:
    @attempt("99.1")
    def shift(x, *, by=1.0):
        return result(x, by)


def attempt_pipeline() -> None:
    lab = __import__("sample99.exercises").exercises

    @attempt("99.4")
    def pipeline(xs):
        return [lab.scale(lab.shift(x)) for x in xs]


def right(x: Any, factor: Any) -> Any:
    return x * factor


def test_an_exercise_that_was_not_attempted_does_not_pass(checks, capsys) -> None:
    assert shown("99.1", capsys) == [
        "Stage 99.1: 0 of 2 exercises pass their visible cases",
        "  – scale: not attempted in this kernel: run its cell",
        "  – shift: not attempted in this kernel: run its cell",
    ]


def test_passes_are_quiet(checks, capsys) -> None:
    attempt_scale(right)
    attempt_shift(lambda x, by: x + by)
    assert shown("99.1", capsys) == [
        "Stage 99.1: all visible cases pass",
        "  ✓ scale: 2 of 2 cases",
        "  ✓ shift: 1 of 1 cases",
    ]


def test_a_failure_shows_hint_input_got_expected_and_the_first_difference(checks, capsys) -> None:
    attempt_scale(lambda x, factor: x / factor)
    assert shown("99.1", capsys)[1:-1] == [
        "  ✗ scale: 0 of 2 cases",
        "      hint: Multiply, do not divide.",
        "      case: three numbers",
        "      input: size: 3",
        "      got: y: array of shape [3]",
        "        [0.17279 0.41081 0.16522]",
        "      expected: y: array of shape [3]",
        "        [0.69117 1.64324 0.66087]",
        "      difference: 0.172792096032393 at ['y'][0], expected 0.691168384129572; "
        "3 of 3 values differ, the largest by 1.23.",
    ]


def test_only_the_first_failing_case_is_shown(checks, capsys) -> None:
    attempt_scale(lambda x, factor: x * 2.0 if factor == 2.0 else x)
    lines = shown("99.1", capsys)
    assert "  ✗ scale: 1 of 2 cases" in lines
    assert [line for line in lines if "case:" in line] == ["      case: a factor of its own"]
    assert not [line for line in lines if "hint" in line]


def test_a_wrong_shape_is_named_before_any_value(checks, capsys) -> None:
    attempt_scale(lambda x, factor: (x * factor)[:, None])
    assert "      difference: shape [3, 1] at ['y'], expected [3]." in shown("99.1", capsys)


def test_an_error_shows_the_students_lines_and_what_was_expected(checks, capsys) -> None:
    attempt_scale(lambda x, factor: x["nothing"])
    lines = shown("99.1", capsys)
    assert any(line.startswith("      error: IndexError: only integers") for line in lines)
    assert any(line.startswith("      expected: y: array of shape [3]") for line in lines)
    assert lines[-3].startswith("      in your code: test_checking.py, line ")
    assert lines[-2].endswith('in <lambda>: attempt_scale(lambda x, factor: x["nothing"])')
    assert "aisys" not in "\n".join(lines)


def test_a_loop_without_end_is_told_in_a_sentence(checks, capsys) -> None:
    def endless(x: Any, factor: Any) -> Any:
        while True:
            pass

    attempt_scale(endless)
    error = "      error: no result after 0.2 s; look for a loop without end."
    assert error in shown("99.1", capsys)


def test_after_a_loop_without_end_neither_other_cases_nor_what_calls_it_are_run(
    checks, capsys, monkeypatch
) -> None:
    called: list[str] = []

    def endless(x: Any, factor: Any) -> Any:
        called.append("scale")
        while True:
            pass

    def caller(x: Any, by: Any) -> Any:
        called.append("shift")

    real = checking.recorded
    monkeypatch.setattr(
        checking, "recorded", lambda *about: replace(real(*about), calls=("99.1 scale",))
    )
    attempt_scale(endless)
    attempt_shift(caller)
    lines = shown("99.1", capsys)
    assert called == ["scale"]
    assert lines[0] == "Stage 99.1: 0 of 2 exercises pass their visible cases"
    assert "  … shift: blocked by 99.1 scale: mend that first" in lines


def test_a_result_that_is_not_plain_is_told_in_a_sentence(checks, capsys) -> None:
    attempt_shift(lambda x, by: {x, by})
    lines = shown("99.1", capsys)
    assert any("error: PlainDataError: value is a set; expected numbers" in line for line in lines)


def test_an_untouched_skeleton_is_not_written_yet(checks, capsys) -> None:
    def skeleton(x: Any, factor: Any) -> Any:
        raise NotImplementedError("99.1 scale is not written yet")

    attempt_scale(skeleton)
    assert shown("99.1", capsys)[:2] == [
        "Stage 99.1: 0 of 2 exercises pass their visible cases",
        "  – scale: not written yet",
    ]


def test_methods_are_checked_like_functions(checks, capsys) -> None:
    @attempt("99.2")
    class Box:
        def total(self):
            return sum(self.items)

        def __add__(self, other):
            raise NotImplementedError("99.2 Box.__add__ is not written yet")

        @staticmethod
        def unit():
            return Box([2])

    lines = shown("99.2", capsys)
    assert lines[0] == "Stage 99.2: 1 of 4 exercises pass their visible cases"
    assert lines[1] == "  ✓ Box.total: 1 of 1 cases"
    assert lines[2:] == [
        "  – Box.__add__: not written yet",
        "  ✗ Box.unit: 0 of 1 cases",
        *lines[4:-1],
        "  – Box.size: not attempted in this kernel: run its cell",
    ]


def test_an_exercise_is_blocked_by_an_earlier_attempt_that_fails(checks, capsys) -> None:
    attempt_pipeline()
    attempt_shift(lambda x, by: x - by)
    assert shown("99.4", capsys) == [
        "Stage 99.4: 0 of 1 exercises pass their visible cases",
        "  … pipeline: blocked by 99.1 shift: mend that first",
    ]


def test_an_exercise_is_blocked_by_an_earlier_skeleton(checks, capsys) -> None:
    def skeleton(x: Any, by: Any) -> Any:
        raise NotImplementedError("99.1 shift is not written yet")

    attempt_pipeline()
    attempt_shift(skeleton)
    assert "  … pipeline: blocked by 99.1 shift: mend that first" in shown("99.4", capsys)


def test_the_earliest_of_several_at_fault_is_named(checks, capsys) -> None:
    attempt_pipeline()
    attempt_shift(lambda x, by: x - by)
    attempt_scale(lambda x, factor: x / factor)
    assert "  … pipeline: blocked by 99.1 scale: mend that first" in shown("99.4", capsys)


def test_an_earlier_attempt_that_passes_blocks_nothing(checks, capsys) -> None:
    attempt_scale(right)

    @attempt("99.4")
    def pipeline(xs):
        return [checks.exercises.scale(x) for x in xs]

    assert "  ✗ pipeline: 0 of 1 cases" in shown("99.4", capsys)


def test_in_a_clone_the_reference_of_an_earlier_exercise_blocks_nothing(checks, capsys) -> None:
    @attempt("99.4")
    def pipeline(xs):
        return xs

    assert "  ✗ pipeline: 0 of 1 cases" in shown("99.4", capsys)


def test_in_a_kit_a_hole_blocks_and_what_came_open_does_not(checks, capsys, as_kit) -> None:
    @attempt("99.4")
    def pipeline(xs):
        raise Hole("99.1 shift")

    as_kit("99.1 scale")
    assert "  … pipeline: blocked by 99.1 shift: mend that first" in shown("99.4", capsys)
    as_kit("99.1 scale", "99.1 shift")
    lines = shown("99.4", capsys)
    assert "  ✗ pipeline: 0 of 1 cases" in lines
    assert any(line.startswith("      error: 99.1 shift is an exercise and") for line in lines)


def test_a_hole_that_only_the_attempt_calls_blocks_too(checks, capsys, as_kit) -> None:
    def via_total(x: Any, by: Any) -> Any:
        raise Hole("99.1 scale")

    as_kit()
    attempt_shift(via_total)
    assert "  … shift: blocked by 99.1 scale: mend that first" in shown("99.1", capsys)


@pytest.mark.parametrize("key", ["", "nonsense", "99.1 nothing", "99.4 pipeline"])
def test_a_hole_with_a_strange_or_later_key_blocks_nothing(checks, capsys, key: str) -> None:
    def strange(x: Any, by: Any) -> Any:
        raise NotImplementedError(f"{key} is not written yet")

    attempt_shift(strange)
    assert "  ✗ shift: 0 of 1 cases" in shown("99.1", capsys)


def test_a_later_exercise_blocks_nothing(checks, capsys) -> None:
    @attempt("99.4")
    def pipeline(xs):
        return xs

    def later(x: Any, by: Any) -> Any:
        raise NotImplementedError("99.4 pipeline is not written yet")

    attempt_shift(later)
    assert "  ✗ shift: 0 of 1 cases" in shown("99.1", capsys)


def test_a_passing_exercise_is_never_blocked(checks, capsys) -> None:
    attempt_scale(lambda x, factor: 2 * x if isinstance(x, float) else 0)
    attempt_pipeline()
    assert "  ✓ pipeline: 1 of 1 cases" in shown("99.4", capsys)


def test_an_unknown_stage_is_refused(checks) -> None:
    with pytest.raises(CourseError, match="There is no stage 99.9"):
        check("99.9")
    with pytest.raises(CourseError, match='A stage is written like "1.5"; this is 99.1.'):
        check(99.1)  # type: ignore[arg-type]


def test_under_validate_a_failing_stage_raises_after_it_was_shown(
    checks, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    attempt_scale(right)
    with pytest.raises(CheckFailed) as caught:
        check("99.1")
    assert str(caught.value) == "Stage 99.1 does not pass yet: 99.1 shift."
    assert "✓ scale" in capsys.readouterr().out
    attempt_shift(lambda x, by: x + by)
    check("99.1")


def test_under_autograde_without_the_courses_judge_even_a_right_stage_raises(
    checks, monkeypatch
) -> None:
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    attempt_scale(right)
    attempt_shift(lambda x, by: x + by)
    with pytest.raises(CheckFailed) as caught:
        check("99.1")
    assert str(caught.value) == (
        "This course's points come from its own judge: "
        "run nbgrader with the nbgrader_config.py that `autograder init` wrote."
    )


def test_a_record_that_was_never_made_or_is_older_is_told(
    checks: ModuleType, tmp_path, monkeypatch
) -> None:
    attempt_scale(right)
    outcomes.write_outcomes(tmp_path / "outcomes.msgpack", {})
    with pytest.raises(CourseError) as caught:
        check("99.1")
    assert str(caught.value) == (
        "The expected results of 99.1 scale are older than its check: run `make build`."
    )
    monkeypatch.setattr(outcomes, "outcomes_file", lambda lab: tmp_path / "nothing.msgpack")
    with pytest.raises(CourseError, match=r"are missing \(nothing.msgpack\): in a clone run"):
        check("99.1")


def test_a_record_that_another_process_made_anew_is_read_anew(checks, tmp_path, capsys) -> None:
    import os

    path = tmp_path / "outcomes.msgpack"
    attempt_scale(right)
    shown("99.1", capsys)
    packed = path.read_bytes()
    path.write_bytes(packed.replace(b"three numbers", b"THREE numbers"))
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    with pytest.raises(CourseError, match="are older than its check"):
        check("99.1")


def test_the_exercises_are_listed_in_the_notebooks_order(checks, tmp_path, capsys) -> None:
    path = tmp_path / "outcomes.msgpack"
    known = outcomes._read(path, 0).cases
    outcomes.write_outcomes(path, known, ["99.1 shift", "99.4 pipeline", "99.1 scale"])
    assert [line.split()[1] for line in shown("99.1", capsys)[1:]] == ["shift:", "scale:"]
    outcomes.write_outcomes(path, known, ["99.1 shift"])
    assert [line.split()[1] for line in shown("99.1", capsys)[1:]] == ["shift:", "scale:"]
    outcomes.write_outcomes(path, known)
    assert [line.split()[1] for line in shown("99.1", capsys)[1:]] == ["scale:", "shift:"]


def test_what_comes_earlier_in_the_notebook_is_mended_first(checks, tmp_path, capsys) -> None:
    attempt_pipeline()
    attempt_shift(lambda x, by: x - by)
    attempt_scale(lambda x, factor: x / factor)
    path = tmp_path / "outcomes.msgpack"
    known = outcomes._read(path, 0).cases
    outcomes.write_outcomes(path, known, ["99.1 shift", "99.1 scale", "99.4 pipeline"])
    assert "  … pipeline: blocked by 99.1 shift: mend that first" in shown("99.4", capsys)


def test_a_report_is_data(checks) -> None:
    attempt_scale(right)
    scale, shift = report("99.1")
    assert (scale.slot, scale.passed, scale.written) == (find("99.1 scale"), True, True)
    assert (shift.attempted, shift.passed, shift.written) == (False, False, False)
    assert [case.case.name for case in scale.cases] == ["three numbers", "a factor of its own"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.33333333"),
        (3, "3"),
        ("a\nb", "'a\\nb'"),
        (None, "None"),
        (np.array(2.5), "2.5"),
        (np.zeros((0, 3)), "array of shape [0, 3]\n[]"),
        (np.array([1.0, 2.0]), "array of shape [2]\n[1. 2.]"),
        ({"a": 1, "b": [1, 2]}, "a: 1, b: [1, 2]"),
        ({}, ""),
        ([np.array([1.0]), np.array([2.0, 3.0])], "[0] [1.]\n[1] array of shape [2]\n[2. 3.]"),
    ],
)
def test_a_value_is_shown_as_a_student_wants_to_see_it(value: Any, text: str) -> None:
    assert brief(value) == text


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((9, 9, 9, 9)),
        np.zeros(10**6),
        list(range(10**5)),
        "x" * 10**6,
        {"a": "x" * 10**6},
        {str(i): np.zeros(50) for i in range(99)},
        [np.zeros(100)] * 99,
        10**1200,
    ],
    ids=range(8),
)
def test_a_large_value_is_shown_in_short(value: Any) -> None:
    assert len(brief(value)) < 1300


def of_ranks(new: bool) -> dict[str, Any]:
    """A result that is too long to be shown whole."""
    return {"returned": [{"new": new, "total": np.arange(3.0), "dtype": "float64"}] * 7}


def shown_case(
    got: Any, expected: Any, capsys: pytest.CaptureFixture[str], difference: Difference | None
) -> list[str]:
    """What is printed of an exercise with one case."""
    slot = find("99.1 scale")
    (probe,) = probes_of(slot.key)
    case = checking.CaseReport(probe, Case("seven ranks"), got, expected, difference, "")
    show("99.1", [checking.ExerciseReport(slot, True, (case,))])
    return capsys.readouterr().out.splitlines()


def test_of_long_results_only_what_differs_is_printed(checks, capsys) -> None:
    got, expected = (Outcome("returned", of_ranks(new)) for new in (False, True))
    difference = Difference("value", "False at [6]['new'], expected True.", "[6]['new']")
    assert shown_case(got, expected, capsys, difference)[2:] == [
        "      case: seven ranks",
        "      what differs:",
        *(f"        ['returned'][{i}]['new']: got False, expected True" for i in (6, 0, 1, 2, 3)),
        "        2 more differ",
        "      difference: False at [6]['new'], expected True.",
    ]


def test_a_long_expected_value_beside_an_error_is_cut(checks, capsys) -> None:
    expected = Outcome("returned", of_ranks(True))
    got = Outcome("raised", error="ValueError", message="no")
    lines = shown_case(got, expected, capsys, Difference("error", "ValueError: no"))
    assert lines[3].startswith("      expected: returned: [0] new: True")
    assert lines[-2].endswith(" …") and len(lines) < 14
    assert lines[-1] == "      error: ValueError: no"
