"""Grading a class: every submission of a folder, side by side, into scores, pages and gradebook."""

import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from .bench import Bench, set_up
from .build import write_notebook
from .course import write_nbgrader_config
from .feedback import write_feedback
from .gradebook import save_lab, save_results
from .isolation import method, server_for
from .kernel import Limits
from .report import write_report
from .results import StageResult, SubmissionResult
from .scores import write_scores
from .submission import SubmissionError, read_submission
from .text import lab_names


class GradeError(Exception):
    """There is nothing to grade, or no place to put it; the message is one clear sentence."""


@dataclass(frozen=True)
class Submission:
    """Where one student's notebook of one lab is."""

    student: str
    lab: str
    path: Path


def find_submissions(submitted: Path, labs: Sequence[str] = ()) -> list[Submission]:
    """The submissions of a folder in nbgrader's layout, `STUDENT/LAB/LAB.ipynb`.

    A student who handed in one lab but not another that is graded gets an entry for both.

    Raises:
        GradeError: The folder does not exist or holds no submission of a lab that exists.
    """
    if not submitted.is_dir():
        raise GradeError(f"{submitted} is no folder; expected STUDENT/LAB/LAB.ipynb below it.")
    students = sorted(p.name for p in submitted.iterdir() if p.is_dir() and p.name[0] != ".")
    present = {lab for s in students for lab in lab_names() if (submitted / s / lab).is_dir()}
    wanted = [lab for lab in lab_names() if lab in (labs or present)]
    unknown = sorted(set(labs) - set(lab_names()))
    if unknown:
        raise GradeError(f"There is no lab {unknown[0]!r}; the labs are {', '.join(lab_names())}.")
    if not students or not wanted:
        raise GradeError(
            f"{submitted} holds no submissions; expected STUDENT/LAB/LAB.ipynb below it."
        )
    return [
        Submission(student, lab, submitted / student / lab / f"{lab}.ipynb")
        for lab in wanted
        for student in students
    ]


def grade_class(
    submitted: Path,
    out: Path,
    labs: Sequence[str] = (),
    jobs: int = 2,
    secret: str | None = None,
    course: Path | None = None,
    limits: Limits | None = None,
    unsafe: bool = False,
    progress: Callable[[SubmissionResult, int, int], None] | None = None,
) -> list[SubmissionResult]:
    """Grade every submission of a folder.

    Args:
        submitted: The folder of submissions, in nbgrader's layout.
        out: Receives `scores.csv`, `report.html`, `feedback/`, `autograded/`.
        labs: The labs to grade; by default those that were submitted.
        jobs: How many submissions run side by side.
        secret: The course's secret; by default a throwaway one.
        course: The course's folder, which holds the gradebook; by default `out` does.
        limits: What a submission may use.
        unsafe: Whether submissions run without a sandbox.
        progress: Called after each submission with its result, the number done, and the total.

    Returns:
        One result a submission, sorted by student and lab.
    """
    found = find_submissions(submitted, labs)
    out.mkdir(parents=True, exist_ok=True)
    secret = secret or secrets.token_hex(32)
    how = method(unsafe)
    with ExitStack() as stack:
        kits = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aisys-kits-")))
        benches: dict[str, Bench] = {}
        for name in dict.fromkeys(entry.lab for entry in found):
            bench = set_up(name, secret, kits, limits)
            server = stack.enter_context(server_for(bench.spec.kit, how))
            benches[name] = bench.started_by(server)
        results = _side_by_side(found, benches, jobs, progress)
        results = [_retried(result, found, benches) for result in results]
    results.sort(key=lambda result: (result.student, result.lab))
    _write(out, course, results, benches)
    return results


def _side_by_side(
    found: list[Submission],
    benches: dict[str, Bench],
    jobs: int,
    progress: Callable[[SubmissionResult, int, int], None] | None,
) -> list[SubmissionResult]:
    results: list[SubmissionResult] = []
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures = [pool.submit(grade_one, entry, benches[entry.lab]) for entry in found]
        for future in as_completed(futures):
            results.append(future.result())
            if progress is not None:
                progress(results[-1], len(results), len(found))
    return results


def _retried(
    result: SubmissionResult, found: list[Submission], benches: dict[str, Bench]
) -> SubmissionResult:
    """A result with a time-out in it, graded once more, alone; the better run counts."""
    timed_out = any(e.status == "timeout" for s in result.stages for e in s.exercises)
    if not timed_out:
        return result
    entry = next(e for e in found if (e.student, e.lab) == (result.student, result.lab))
    again = grade_one(entry, benches[entry.lab])
    return again if again.points > result.points else result


def grade_one(entry: Submission, bench: Bench) -> SubmissionResult:
    """Grade one submission; whatever is wrong with it, or with the grader, becomes its result."""
    started = time.monotonic()

    def result(
        status: str, message: str, stages: list[StageResult], **more: Any
    ) -> SubmissionResult:
        seconds = round(time.monotonic() - started, 3)
        return SubmissionResult(
            entry.student,
            entry.lab,
            status,
            message,
            tuple(stages),
            seconds=seconds,
            **more,
        )

    try:
        submitted = read_submission(entry.path)
    except SubmissionError as error:
        status = "error" if entry.path.exists() else "missing"
        return result("unreadable", str(error), bench.zero(status, str(error)))
    try:
        prepared, stages = bench.judge(submitted)
    except Exception as error:
        message = f"The grader failed: {type(error).__name__}: {error}"
        return result("ungraded", message, bench.zero("ungraded", message))
    notebook = dict(prepared.notebook)
    return result("graded", "", stages, flags=tuple(prepared.flags), notebook=notebook)


def _write(
    out: Path, course: Path | None, results: list[SubmissionResult], benches: dict[str, Bench]
) -> None:
    """Write everything that comes of a class's grading; what other gradings wrote stays."""
    write_scores(out / "scores.csv", results)
    gradebook = course or out
    for name, bench in benches.items():
        save_lab(gradebook, name, bench.original)
    save_results(gradebook, results, {name: _graded_ids(bench) for name, bench in benches.items()})
    for result in results:
        path = out / "autograded" / result.student / result.lab / f"{result.lab}.ipynb"
        if result.notebook is not None:
            write_notebook(path, nbformat.from_dict(result.notebook))
        else:
            path.unlink(missing_ok=True)
        write_feedback(out / "feedback", result)
    if course is None:
        # So that stock nbgrader and formgrader work on the folder as on a course.
        for name, bench in benches.items():
            write_notebook(out / "source" / name / f"{name}.ipynb", bench.source)
            write_notebook(out / "release" / name / f"{name}.ipynb", bench.original)
        write_nbgrader_config(out)
    write_report(out / "report.html", results, "Grading report")


def _graded_ids(bench: Bench) -> list[str]:
    return [
        cell.id
        for cell in bench.original.cells
        if cell.metadata["aisys"]["role"] in ("check", "answer")
    ]
