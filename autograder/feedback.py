"""The page that a student gets back: points, what went wrong and why, and the executed notebook."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .pages import feedback_path, render, write_atomically
from .rendering import RenderedCell, render_notebook
from .results import CaseResult, ExerciseResult, StageResult, SubmissionResult
from .wording import is_written, lab_title, stage_words


@dataclass(frozen=True)
class _Exercise:
    """An exercise as the page shows it."""

    result: ExerciseResult
    message: str
    hints: tuple[str, ...]
    cases: tuple[CaseResult, ...]
    not_run: tuple[str, ...]


@dataclass(frozen=True)
class _Stage:
    """A stage as the page shows it; `cell` is the number of its graded cell, or 0."""

    result: StageResult
    words: tuple[str, ...]
    exercises: tuple[_Exercise, ...]
    cell: int


def write_feedback(folder: Path, result: SubmissionResult, after_deadline: bool = False) -> Path:
    """Write a student's page, `FOLDER/STUDENT/LAB.html`; names never lead out of the folder.

    Args:
        folder: The folder of all feedback.
        result: What grading gave.
        after_deadline: Whether the values of hidden cases may be shown.
    """
    path = folder / feedback_path(result.student, result.lab)
    write_atomically(path, feedback_page(result, after_deadline))
    return path


def feedback_page(result: SubmissionResult, after_deadline: bool = False) -> str:
    """A student's page as HTML."""
    cells = render_notebook(result.notebook)
    waiting = sum(s.max_points for s in result.stages if s.waiting)
    return render(
        "feedback.html",
        title=lab_title([result], result.lab),
        result=result,
        stages=[_stage(stage, cells) for stage in result.stages],
        waiting=waiting,
        flags=list(
            dict.fromkeys([*result.flags, *(f for stage in result.stages for f in stage.flags)])
        ),
        cells=cells,
        after_deadline=after_deadline,
    )


def _stage(stage: StageResult, cells: list[RenderedCell]) -> _Stage:
    wanted = _plain(stage.stage if is_written(stage) else f"{stage.stage}-check")
    place = next((i for i, cell in enumerate(cells, start=1) if _plain(cell.id) == wanted), 0)
    exercises = tuple(_exercise(exercise) for exercise in stage.exercises)
    words = (stage.message,) if stage.by_hand else stage_words(stage, titles=False)
    return _Stage(stage, tuple(words), exercises, place)


def _rest(message: str, failing: list[CaseResult]) -> str:
    """What an exercise's message says beyond the messages and hints of its failing cases."""
    said = [text for case in failing for text in (case.message, case.hint) if text]
    end = max((message.rfind(text) + len(text) for text in said if text in message), default=0)
    return message[end:].lstrip(". ")


def _plain(identity: str) -> str:
    """A cell's id or a stage's number without the characters that the builder replaces."""
    return re.sub(r"[^A-Za-z0-9]", "-", identity)


def _exercise(exercise: ExerciseResult) -> _Exercise:
    """The exercise with every hint said once, and without a message that its cases repeat."""
    failing = [case for case in exercise.cases if not case.passed]
    hints = tuple(dict.fromkeys(case.hint for case in failing if case.hint))
    message = _rest(exercise.message, failing)
    reasons = Counter((case.kind, case.message) for case in exercise.cases)
    if len(reasons) == 1 and failing and failing[0].kind == "hole" and message:
        return _Exercise(exercise, message, hints, (), tuple(case.case for case in failing))
    return _Exercise(exercise, message, hints, exercise.cases, ())
