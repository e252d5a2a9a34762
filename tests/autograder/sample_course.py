"""A course for tests: its folder, judged results made without running anything, its gradebook."""

import functools
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from aisys.course.slots import find
from autograder.build import build_lab, write_notebook
from autograder.choice import ALL, Choice, chosen
from autograder.course import Course, load_course
from autograder.gradebook import gradebook_path, opened, read_entries, save_lab, save_results
from autograder.lateness import stamp
from autograder.results import CaseResult, ExerciseResult, StageResult, SubmissionResult
from autograder.settle import settle
from autograder.text import read_lab

LAB = "lab1_autodiff"
DEADLINE = datetime(2026, 10, 14, 22, 0, tzinfo=UTC)
SECRET = "x" * 32


def make_course(folder: Path, policies: str = "", before: str = "") -> Course:
    """A course with one lab and these policies for it; `before` stands at the top."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f'name = "Systems"\nsecret = "{SECRET}"\n{before}\n[labs.{LAB}]\n{policies}\n'
    (folder / "course.toml").write_text(text, encoding="utf-8")
    if not gradebook_path(folder).exists():
        gradebook_path(folder).write_bytes(empty_gradebook())
    return load_course(folder)


@functools.cache
def empty_gradebook() -> bytes:
    """A gradebook with nothing in it; nbgrader takes seconds to make one."""
    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder)):
            pass
        return gradebook_path(Path(folder)).read_bytes()


def submitted_at(hours: float = 0.0) -> str:
    """The version of a submission so many hours after the deadline."""
    return stamp(DEADLINE + timedelta(hours=hours))


def case(name: str, passed: bool) -> CaseResult:
    """One hidden case of `"1.3 im2col"` and the like."""
    return CaseResult("probe", name, passed, "" if passed else "value", "the value differs")


def result(
    student: str,
    share: float = 1.0,
    version: str = "",
    course: Course | None = None,
    answered: str | None = "Because.",
) -> SubmissionResult:
    """A judged submission: `share` of the four cases of every exercise pass.

    Args:
        student: The student's id.
        share: The share of cases that pass.
        version: When it was submitted.
        course: The course whose stages it has.
        answered: The text of every written answer; None: not answered.
    """
    choice = course.policies.of(LAB).choice if course else ALL
    lab = chosen(read_lab(LAB), choice)
    stages: list[StageResult] = []
    for cell in lab.cells:
        if cell.role == "answer":
            status = "manual" if answered is not None else "missing"
            stages.append(StageResult(cell.name, "Answer", 0.0, cell.points, status, ""))
        if cell.role == "check":
            exercises = tuple(exercise(key, share) for key in lab.keys(cell.stage))
            points = sum(e.points for e in exercises)
            status = "passed" if share == 1 else "partial" if share else "failed"
            most = lab.points(cell.stage)
            stages.append(StageResult(cell.stage, "Title", points, most, status, "", exercises))
    notebook = answered_notebook(choice, answered)
    return SubmissionResult(
        student, LAB, "graded", "", tuple(stages), notebook=notebook, version=version
    )


def exercise(key: str, share: float) -> ExerciseResult:
    """An exercise of a point, with four cases."""
    cases = tuple(case(name, place < share * 4) for place, name in enumerate("abcd"))
    most = find(key).points
    status = "passed" if share == 1 else "partial" if share else "failed"
    return ExerciseResult(key, round(most * share, 2), most, status, "", cases)


def released(choice: Choice = ALL) -> NotebookNode:
    """The notebook that students receive; not to be changed."""
    return _released(choice.stages, tuple(choice.weights.items()))


@functools.cache
def _released(stages: tuple[str, ...], weights: tuple[tuple[str, float], ...]) -> NotebookNode:
    return build_lab(LAB, Choice(stages, dict(weights)))[1]


def answered_notebook(choice: Choice, answered: str | None) -> dict[str, Any]:
    """The student's notebook, in JSON's form, with a text in every written answer."""
    notebook: dict[str, Any] = json.loads(_text(choice.stages, tuple(choice.weights.items())))
    for cell in notebook["cells"]:
        if answered is not None and cell["metadata"]["aisys"]["role"] == "answer":
            cell["source"] = answered
    return notebook


@functools.cache
def _text(stages: tuple[str, ...], weights: tuple[tuple[str, float], ...]) -> str:
    return str(nbformat.writes(_released(stages, weights)))


def enter(course: Course, results: list[SubmissionResult]) -> list[SubmissionResult]:
    """Settle results and enter them, with the autograded notebooks, as grading does."""
    policy = course.policies.of(LAB)
    save_lab(course.folder, LAB, released(policy.choice), policy.deadline)
    settled = settle(course.policies, results, read_entries(course.folder))
    final = save_results(course.folder, settled, course.policies)
    for entry in final:
        path = course.folder / "autograded" / entry.student / LAB / f"{LAB}.ipynb"
        assert entry.notebook is not None
        write_notebook(path, nbformat.from_dict(entry.notebook))
    return final
