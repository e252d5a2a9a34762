"""What grading a submission gives: frozen records, from one case up to one notebook."""

from dataclasses import asdict, dataclass
from typing import Any

STATUSES = (
    "passed",
    "partial",
    "failed",
    "error",
    "timeout",
    "missing",
    "manual",
    "ungraded",
)
"""How a stage can end; `ungraded` means that the grader itself failed, never the student."""


@dataclass(frozen=True)
class CaseResult:
    """One hidden case.

    Attributes:
        probe: The probe's name.
        case: The case's name.
        passed: Whether the verdict was for the attempt.
        kind: The kind of difference (`"shape"`, `"value"`, `"error"`, `"timeout"` …), or `""`.
        message: What may be said before the deadline: no hidden values.
        hint: The hint of the recognised mistake, or `""`.
        weight: The case's share of the exercise's points.
        detail: The verdict's full sentence with its values, for after the deadline.
    """

    probe: str
    case: str
    passed: bool
    kind: str = ""
    message: str = ""
    hint: str = ""
    weight: float = 1.0
    detail: str = ""


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of a stage; `mistake` is the title of the recognised mistake, or `""`."""

    key: str
    points: float
    max_points: float
    status: str
    message: str
    cases: tuple[CaseResult, ...] = ()
    mistake: str = ""


@dataclass(frozen=True)
class StageResult:
    """One graded cell: a stage, or a written answer (whose `stage` is the answer's id).

    `by_hand` says that its points are a person's, and that nobody is to look at it again.
    """

    stage: str
    title: str
    points: float
    max_points: float
    status: str
    message: str
    exercises: tuple[ExerciseResult, ...] = ()
    flags: tuple[str, ...] = ()
    by_hand: bool = False

    @property
    def waiting(self) -> bool:
        """Whether it is an answer that a person is still to grade."""
        return self.status == "manual" and not self.by_hand


@dataclass(frozen=True)
class SubmissionResult:
    """One notebook of one student.

    Attributes:
        student: The student's id.
        lab: The lab's name.
        status: `"graded"`, or `"unreadable"` where there was no notebook to run, or `"ungraded"`.
        message: What was wrong with the submission as a whole, or `""`.
        stages: Its graded cells in the notebook's order.
        flags: What was noticed and not charged, such as restored cells.
        seconds: Wall time of the run.
        notebook: The executed notebook with its judged cells, in nbformat's JSON form, or None.
        version: When it was submitted and, among several, which it is: `20261014T215900Z-1a2b3c4d`.
        penalty: The points that its lateness takes off.
    """

    student: str
    lab: str
    status: str
    message: str
    stages: tuple[StageResult, ...]
    flags: tuple[str, ...] = ()
    seconds: float = 0.0
    notebook: dict[str, Any] | None = None
    version: str = ""
    penalty: float = 0.0

    @property
    def points(self) -> float:
        """The points earned so far; written answers count once they are graded by hand."""
        return round(sum(stage.points for stage in self.stages) - self.penalty, 2)

    @property
    def max_points(self) -> float:
        """The points that can be earned."""
        return round(sum(stage.max_points for stage in self.stages), 2)


def to_json(result: SubmissionResult) -> dict[str, Any]:
    """A result as JSON data."""
    return asdict(result)


def from_json(data: dict[str, Any]) -> SubmissionResult:
    """A result from what `to_json` made; raises TypeError or KeyError for anything else."""
    stages = tuple(
        StageResult(
            **{
                **stage,
                "flags": tuple(stage["flags"]),
                "exercises": tuple(
                    ExerciseResult(
                        **{**entry, "cases": tuple(CaseResult(**case) for case in entry["cases"])}
                    )
                    for entry in stage["exercises"]
                ),
            }
        )
        for stage in data["stages"]
    )
    return SubmissionResult(**{**data, "stages": stages, "flags": tuple(data["flags"])})
