"""`check`: run a stage's visible cases on the attempts in this kernel and show what came of it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .apart import Pair, run_apart
from .compare import Difference
from .compiling import find_compiler
from .display import show
from .errors import CheckFailed
from .failed_cells import error_of_latest_cell
from .kitinfo import is_open, kit
from .outcomes import hint_for, place_in_notebook, recorded
from .probes import Case, Outcome, Probe, judge, probes_of, run_case
from .slots import Slot, of_stage, slots


@dataclass(frozen=True)
class CaseReport:
    """One visible case: what was tried, what came back, what was expected.

    Attributes:
        probe: The probe that ran.
        case: The case.
        got: What came back.
        expected: What the reference returns.
        difference: The first difference, or None where the case passes.
        hint: The hint of the catalogued mistake that returns the same, or `""`.
    """

    probe: Probe
    case: Case
    got: Outcome
    expected: Outcome
    difference: Difference | None
    hint: str


@dataclass(frozen=True)
class ExerciseReport:
    """One exercise of the stage.

    Attributes:
        slot: The exercise.
        attempted: Whether the student's code is in place.
        cases: The cases that were run.
        blocked_by: The key of the earlier exercise at fault, or `""`.
        failed_cell: Why its latest cell did not run, so that an older version was tested, or `""`.
    """

    slot: Slot
    attempted: bool
    cases: tuple[CaseReport, ...] = ()
    blocked_by: str = ""
    failed_cell: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was attempted and every case passes."""
        in_order = all(case.difference is None for case in self.cases)
        return self.attempted and in_order and not self.blocked_by

    @property
    def is_endless(self) -> bool:
        """Whether it ran out of time by its own fault."""
        return any(case.got.status == "timeout" for case in self.cases) and not self.blocked_by

    @property
    def written(self) -> bool:
        """Whether there is more than the untouched skeleton."""
        own = (case.got.status == "hole" and case.got.error == self.slot.key for case in self.cases)
        return self.attempted and not any(own)


@dataclass
class _Memory:
    """The reports of one call of `check`, so that no exercise is run twice, and no loop either.

    Attributes:
        starting: Told of what is about to run.
        reports: By the exercise's key.
    """

    starting: Callable[[str], None]
    reports: dict[str, ExerciseReport] = field(default_factory=dict)

    def endless(self) -> set[str]:
        """The exercises in which a loop without end was met."""
        return {key for key, report in self.reports.items() if report.is_endless}


def check(stage: str) -> None:
    """Run the visible cases of a stage on your code and show what passes, what does not, and why.

    It shows a table and returns nothing. Visible cases earn no points: those come from hidden
    cases, where the notebook is graded.

    Args:
        stage: The stage, such as `"1.5"`.

    Raises:
        CheckFailed: Under `nbgrader validate`, where a case fails; under an `nbgrader autograde`
            that lacks the course's judge, always.
    """
    reports = report(stage)
    show(stage, reports)
    execution = os.environ.get("NBGRADER_EXECUTION", "")
    if execution == "autograde":
        raise CheckFailed(
            "This course's points come from its own judge: "
            "run nbgrader with the nbgrader_config.py that `autograder init` wrote."
        )
    failing = [entry.slot.key for entry in reports if not entry.passed]
    if execution == "validate" and failing:
        raise CheckFailed(f"Stage {stage} does not pass yet: {', '.join(failing)}.")


def report(stage: str, starting: Callable[[str], None] = lambda what: None) -> list[ExerciseReport]:
    """What `check` shows, as data.

    Args:
        stage: The stage, such as `"1.5"`.
        starting: Called with what is about to run, in words, before each case.
    """
    memory = _Memory(starting)
    return [_of_exercise(slot, memory) for slot in sorted(of_stage(stage), key=place_in_notebook)]


def _of_exercise(slot: Slot, memory: _Memory) -> ExerciseReport:
    if slot.key in memory.reports:
        return memory.reports[slot.key]
    error = error_of_latest_cell(slot)
    if slot.attempt is None:
        missing = ExerciseReport(slot, attempted=False, failed_cell=error)
        return memory.reports.setdefault(slot.key, missing)
    if getattr(slot, "language", "") == "cpp":
        find_compiler()  # says how to get one where there is none
    # A placeholder, so that exercises that call each other end.
    memory.reports[slot.key] = ExerciseReport(slot, attempted=True)
    lab = int(slot.stage.partition(".")[0])
    cases: list[CaseReport] = []
    calls: set[str] = set()
    pairs = [(probe, case) for probe in probes_of(slot.key) for case in probe.cases]
    outcomes = _outcomes(slot, pairs, memory)
    endless, blocker = memory.endless(), ""
    for probe, case in pairs:
        known = recorded(lab, probe, case)
        blocker = next((key for key in known.calls if key in endless), "")
        if blocker:
            break
        got = next(outcomes)
        difference = judge(probe, got, known.expected)
        hint = hint_for(probe, got, known.mistakes) if difference else ""
        cases.append(CaseReport(probe, case, got, known.expected, difference, hint))
        if difference is not None:
            calls.update(known.calls)
            calls.add(got.error if got.status == "hole" else slot.key)
        if got.status == "timeout":
            break  # the other cases would take as long, and say the same
    blocker = blocker or _blocker(slot, calls, memory)
    done = ExerciseReport(slot, True, tuple(cases), blocker, error)
    memory.reports[slot.key] = done
    return done


def _outcomes(slot: Slot, pairs: list[Pair], memory: _Memory) -> Iterator[Outcome]:
    """The outcome of each case; of an exercise in Python it is made when it is asked for."""
    if slot.kind == "text":
        memory.starting(f"the cases of {slot.key}")
        return iter(run_apart(pairs))

    def run(probe: Probe, case: Case) -> Outcome:
        memory.starting(f"the case “{case.name}” of {slot.key}")
        return run_case(probe, case)

    return (run(*pair) for pair in pairs)


def _blocker(slot: Slot, calls: set[str], memory: _Memory) -> str:
    """The first of the earlier exercises that the failing cases call and that does not pass."""
    here = place_in_notebook(slot)
    places = {place_in_notebook(other): other for other in slots() if other.key in calls}
    for other in (places[place] for place in sorted(places) if place < here):
        if _may_be_at_fault(other) and not _of_exercise(other, memory).passed:
            return other.key
    return ""


def _may_be_at_fault(slot: Slot) -> bool:
    """Whether there is a student's code or a hole here; a reference is in order."""
    return slot.attempt is not None or (bool(kit()) and not is_open(slot.key))
