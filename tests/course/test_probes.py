"""One run of a probe: whatever the attempt does, an outcome comes of it and nothing else."""

import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aisys.course import (
    Case,
    CourseError,
    Difference,
    Hole,
    PlainDataError,
    Probe,
    TimeLimit,
    probe,
)
from aisys.course.limits import time_limit
from aisys.course.outcomes import hint_for, outcome_from_plain, outcome_to_plain
from aisys.course.plain import canonical
from aisys.course.probes import (
    Outcome,
    find_probe,
    judge,
    probes_of,
    run_case,
    same,
    students_frames,
)

CASE = Case("a case", {"x": 1}, seed=3)


def probing(function: Callable[..., Any], **options: Any) -> Probe:
    return probe("99.1 scale", cases=[CASE], **options)(function)


def outcome(function: Callable[[], Any], **options: Any) -> Outcome:
    return run_case(probing(lambda case, rng: function(), **options), CASE)


def raising(error: BaseException) -> Callable[[], None]:
    def attempt() -> None:
        raise error

    return attempt


def test_what_a_probe_returns_is_the_outcome_as_plain_data() -> None:
    got = outcome(lambda: {"a": (1, np.float32(0.5))})
    assert got == Outcome("returned", {"a": [1, 0.5]})


def test_every_run_has_the_same_inputs_and_the_same_random_numbers() -> None:
    def values(case: dict[str, Any], rng: np.random.Generator) -> Any:
        case["x"] += 1
        return [case["x"], rng.standard_normal(2)]

    runs = [run_case(probing(values), CASE) for _ in range(2)]
    assert CASE.inputs == {"x": 1}
    assert runs[0].value[0] == runs[1].value[0] == 2
    expected = np.random.default_rng(3).standard_normal(2)
    assert all(np.array_equal(run.value[1], expected) for run in runs)


def test_an_exception_becomes_its_name_and_text() -> None:
    got = outcome(raising(ValueError("two\n  lines")))
    assert (got.status, got.error, got.message) == ("raised", "ValueError", "two lines")
    assert len(outcome(raising(ValueError("x" * 10_000))).message) == 500


def test_leaving_the_process_is_an_exception_like_any_other() -> None:
    assert outcome(sys.exit).error == "SystemExit"
    assert outcome(raising(GeneratorExit())).error == "GeneratorExit"


def test_the_person_at_the_keyboard_can_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        outcome(raising(KeyboardInterrupt()))


def test_recursion_without_end_is_an_exception() -> None:
    def again() -> Any:
        return again()

    got = outcome(again)
    assert got.error == "RecursionError"
    assert len(got.frames) == 6


def test_an_exception_that_cannot_be_printed_is_an_exception() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    got = outcome(raising(Rude()))
    assert (got.status, got.error, got.message) == ("raised", "Rude", "")


def test_a_result_that_is_not_plain_is_an_exception_with_its_place() -> None:
    got = outcome(lambda: {"a": {1, 2}})
    assert (got.status, got.error) == ("raised", "PlainDataError")
    assert got.message.startswith("value['a'] is a set; expected numbers")


def test_an_exercise_without_code_is_a_hole_and_not_an_error() -> None:
    hole = outcome(raising(Hole("99.1 scale")))
    assert (hole.status, hole.error) == ("hole", "99.1 scale")
    skeleton = outcome(raising(NotImplementedError("99.2 Box.total is not written yet")))
    assert (skeleton.status, skeleton.error) == ("hole", "99.2 Box.total")
    other = outcome(raising(NotImplementedError("no such mode")))
    assert (other.status, other.error) == ("raised", "NotImplementedError")
    assert outcome(raising(Hole(""))).status == "hole"


def endless() -> None:
    while True:
        pass


def endless_that_catches_exceptions() -> None:
    while True:
        try:
            endless()
        except Exception:
            pass


def endless_that_catches_everything_once() -> None:
    with contextlib.suppress(BaseException):
        endless()
    endless()


def endless_in_a_finalizer() -> None:
    class Endless:
        def __del__(self) -> None:
            endless()

    Endless()
    endless()


@pytest.mark.parametrize(
    "attempt",
    [
        endless,
        endless_that_catches_exceptions,
        endless_that_catches_everything_once,
    ],
)
def test_a_loop_without_end_is_a_timeout(attempt: Callable[[], Any]) -> None:
    assert outcome(attempt, seconds=0.05) == Outcome(
        "timeout", message="no result after 0.05 s; look for a loop without end."
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_limit_that_is_lost_in_a_finalizer_comes_again() -> None:
    assert outcome(endless_in_a_finalizer, seconds=0.05).status == "timeout"


def test_after_a_timeout_no_alarm_is_left() -> None:
    before = signal.getsignal(signal.SIGALRM)
    outcome(endless, seconds=0.05)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_time_limit_inside_another_leaves_the_outer_one_running() -> None:
    with pytest.raises(TimeLimit), time_limit(0.2):
        assert outcome(endless, seconds=0.05).status == "timeout"
        endless()


def test_off_the_main_thread_a_probe_runs_without_a_limit() -> None:
    results: list[Outcome] = []
    thread = threading.Thread(target=lambda: results.append(outcome(lambda: 1)))
    thread.start()
    thread.join()
    assert results == [Outcome("returned", 1)]


def test_a_run_leaves_no_prints_and_no_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    def noisy() -> Any:
        print("noise")
        print("noise", file=sys.stderr)
        sys.stdout.write("noise")
        logging.getLogger("noise").warning("noise")
        warnings.warn("noise", stacklevel=1)
        return np.log(np.array([0.0, -1.0])) / np.array([0.0, 1.0])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert outcome(noisy).status == "returned"
        warnings.warn("heard", stacklevel=1)
    assert [str(entry.message) for entry in caught] == ["heard"]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_run_that_times_out_gives_the_output_back(capsys: pytest.CaptureFixture[str]) -> None:
    def endless_print() -> None:
        while True:
            print("noise")

    assert outcome(endless_print, seconds=0.05).status == "timeout"
    print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_only_the_students_own_frames_are_shown() -> None:
    def attempt() -> Any:
        return np.linalg.inv(np.zeros((2, 2)))

    got = outcome(attempt)
    assert got.error == "LinAlgError"
    assert all("test_probes.py, line " in frame for frame in got.frames)
    assert got.frames[-1].endswith("in attempt: return np.linalg.inv(np.zeros((2, 2)))")


def test_generated_code_and_ours_are_not_the_students_frames() -> None:
    def frames_of(code: str, file: str) -> tuple[str, ...]:
        try:
            exec(compile(code, file, "exec"), {"pack": canonical})
        except Exception as error:
            return students_frames(error)[1:]
        raise AssertionError

    assert frames_of("1 / 0", "<string>") == ()
    assert frames_of("1 / 0", "<eval_with_key>.0") == ()
    assert frames_of("pack({1})", "<frozen importlib>") == ()
    assert frames_of("1 / 0", "/x/site-packages/torch/a.py") == ()
    assert frames_of("1 / 0", "<ipython-input-1-abc>") == (
        "<ipython-input-1-abc>, line 1, in <module>: ",
    )
    assert frames_of("1 / 0", "/home/me/my.py") == ("my.py, line 1, in <module>: ",)


def test_judging_compares_within_the_probes_tolerance() -> None:
    loose = probing(lambda case, rng: 1, rtol=0.1)
    one, near, far = (Outcome("returned", value) for value in (1.0, 1.05, 1.2))
    assert judge(loose, near, one) is None
    assert judge(loose, far, one) is not None
    assert judge(probing(lambda case, rng: 1), near, one) is not None


def test_a_probes_own_verdict_goes_before_the_tolerance() -> None:
    def is_sorted(got: Any, expected: Any) -> Difference | None:
        return None if got == sorted(got) else Difference("order", "not sorted.")

    own = probing(lambda case, rng: 1, verdict=is_sorted)
    expected = Outcome("returned", [1, 2])
    assert judge(own, Outcome("returned", [5, 6, 7]), expected) is None
    assert judge(own, Outcome("returned", [2, 1]), expected) == Difference("order", "not sorted.")


def test_a_verdict_that_stumbles_over_a_strange_result_is_a_difference() -> None:
    own = probing(lambda case, rng: 1, verdict=lambda got, expected: got["loss"] > 1 and None)
    good = Outcome("returned", {"loss": 2})
    for strange, reason in [
        ({}, "KeyError: 'loss'"),
        (None, "TypeError: 'NoneType' object is not subscriptable"),
    ]:
        difference = judge(own, Outcome("returned", strange), good)
        assert difference is not None
        assert difference.kind == "type"
        assert difference.message == f"the result has another form than expected ({reason})."


def test_a_verdict_that_fails_on_the_reference_is_the_courses_error() -> None:
    own = probing(lambda case, rng: 1, verdict=lambda got, expected: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge(own, Outcome("returned", 1), Outcome("returned", 1))


def test_whatever_did_not_return_is_a_difference_even_where_the_reference_did_not() -> None:
    plain = probing(lambda case, rng: 1)
    error = Outcome("raised", error="ValueError", message="no")
    assert judge(plain, error, error) == Difference("error", "ValueError: no")
    assert judge(plain, Outcome("returned", 1), error) == Difference(
        "error", "a result came back where ValueError was expected."
    )
    late = Outcome("timeout", message="no result after 1 s.")
    assert judge(plain, late, Outcome("returned", 1)) == Difference(
        "timeout", "no result after 1 s."
    )


def test_a_mistake_is_known_by_its_result_or_by_its_very_exception() -> None:
    plain = probing(lambda case, rng: 1)
    wrong, error = Outcome("returned", [1.0]), Outcome("raised", error="E", message="m")
    mistakes = (("by value", wrong), ("by error", error))
    assert hint_for(plain, Outcome("returned", [1.0 + 1e-9]), mistakes) == "by value"
    assert hint_for(plain, Outcome("returned", [1.1]), mistakes) == ""
    assert hint_for(plain, Outcome("raised", error="E", message="m", frames=("x",)), mistakes) == (
        "by error"
    )
    assert hint_for(plain, Outcome("raised", error="E", message="n"), mistakes) == ""
    late = Outcome("timeout", message="m")
    assert hint_for(plain, late, (("late", late),)) == ""
    assert not same(plain, late, late)


def test_an_outcome_from_elsewhere_is_checked_and_cut_short() -> None:
    good = Outcome("raised", None, "E", "m", ("a", "b"))
    assert outcome_from_plain(canonical(outcome_to_plain(good))) == good
    long = outcome_to_plain(Outcome("raised", None, "E" * 999, "m" * 999, ("f" * 999,) * 9))
    cut = outcome_from_plain(long)
    assert (len(cut.error), len(cut.message)) == (100, 500)
    assert [len(frame) for frame in cut.frames] == [300] * 6
    plain = outcome_to_plain(good)
    for wrong in (
        None,
        [],
        {},
        {**plain, "status": "passed"},
        {**plain, "status": []},
        {**plain, "error": 3},
        {**plain, "message": None},
        {**plain, "frames": "abc"},
        {**plain, "frames": [1]},
    ):
        with pytest.raises(CourseError, match=r"^The answer is no outcome of a probe\.$"):
            outcome_from_plain(wrong)


def test_a_probe_is_found_by_its_name_and_by_its_exercise(checks) -> None:
    assert [found.name for found in probes_of("99.1 scale")] == ["scale_values"]
    assert find_probe("scale_values").key == "99.1 scale"
    with pytest.raises(CourseError, match="There is no probe 'nothing' in this process"):
        find_probe("nothing")


def test_probes_need_names_and_cases_of_their_own(checks) -> None:
    def scale_values(case: Any, rng: Any) -> Any:
        return 1

    with pytest.raises(CourseError, match="The probe scale_values is defined twice"):
        probe("99.1 scale", cases=[])(scale_values)
    with pytest.raises(CourseError, match="Two cases of the probe own have the same name and seed"):
        probe("99.1 scale", cases=[Case("a"), Case("a")])(
            type(scale_values)(scale_values.__code__, {}, "own")
        )


def test_the_inputs_of_a_case_are_plain_data() -> None:
    with pytest.raises(PlainDataError):
        run_case(probing(lambda case, rng: 1), Case("strange", {"x": {1}}))
