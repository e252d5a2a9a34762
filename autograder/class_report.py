"""`autograder report`: the pages of a class anew, with today's points by hand, and similarity."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .attempt_texts import attempts_in, sources_of
from .course import Course
from .grade import STATE
from .gradebook import gradebook_path, read_entries
from .kept_results import GRADED, kept_results
from .lateness import moment_of
from .policies import Policies
from .report import write_report
from .results import SubmissionResult
from .settle import with_hand_grades, with_lateness
from .similarity import Similarity, find_similar

AUTOGRADED = "autograded"
LAYOUTS = (AUTOGRADED, "submitted")
"""nbgrader's folders that an earlier year's submissions may lie in."""


class ReportError(Exception):
    """There is nothing to report; the message says why and what to do."""


@dataclass(frozen=True)
class Reported:
    """What was written.

    Attributes:
        pages: The pages, the first one first.
        notes: What could not be compared.
    """

    pages: tuple[Path, ...]
    notes: tuple[str, ...]


def write_class_report(
    out: Path, course: Course | None = None, earlier: Path | None = None
) -> Reported:
    """Write the report of everything that was graded into a folder.

    Args:
        out: The folder that `autograder grade` wrote.
        course: The course that it was graded for, or None.
        earlier: The submissions of an earlier year, in nbgrader's layout, or a folder that has
            them in `autograded/` or `submitted/`.

    Raises:
        ReportError: Nothing was graded, or the earlier year's folder has no submission.
    """
    results = _graded(out, course)
    labs = list(dict.fromkeys(result.lab for result in results))
    before = _earlier_years(earlier, labs) if earlier is not None else {}
    notes = [
        f"{earlier} has no submission of {lab}; it was compared with none."
        for lab in labs
        if earlier is not None and not before[lab]
    ]
    similarity = {
        lab: _similarity(lab, results, (course.folder if course else out), before.get(lab, {}))
        for lab in labs
    }
    pages = write_report(out / "report.html", results, "Grading report", similarity)
    return Reported(tuple(pages), tuple(notes))


def _graded(out: Path, course: Course | None) -> list[SubmissionResult]:
    """What was graded into a folder, with the points by hand and the lateness of today."""
    if not out.is_dir():
        raise ReportError(f"{out} is no folder; expected the OUT of `autograder grade`.")
    kept = out / STATE / GRADED
    try:
        results = kept_results(kept)
    except (ValueError, TypeError, KeyError):
        raise ReportError(
            f"{kept} holds results of another version: run `autograder grade` again."
        ) from None
    if not results:
        raise ReportError(
            f"{out} has no results: run `autograder grade SUBMITTED --out {out}` first."
        )
    home = course.folder if course else out
    if not gradebook_path(home).exists():
        where = f"the course {home} has no gradebook" if course else f"{out} has no gradebook"
        raise ReportError(f"{where}: name the course that it was graded for with --course.")
    policies = course.policies if course else Policies()
    known = read_entries(home)
    times: dict[str, dict[str, datetime | None]] = defaultdict(dict)
    for entry in known.values():
        times[entry.student][entry.lab] = entry.submitted
    for result in results:
        times[result.student].setdefault(result.lab, moment_of(result.version))
    by_hand = [with_hand_grades(r, known.get((r.student, r.lab))) for r in results]
    return [with_lateness(policies, result, times[result.student]) for result in by_hand]


def _similarity(
    lab: str, results: list[SubmissionResult], home: Path, before: dict[str, dict[str, str]]
) -> Similarity:
    students = [result.student for result in results if result.lab == lab]
    return find_similar(attempts_in(home / AUTOGRADED, lab, students), sources_of(lab), before)


def _earlier_years(folder: Path, labs: list[str]) -> dict[str, dict[str, dict[str, str]]]:
    """The attempts of an earlier year, by lab, student and exercise."""
    if not folder.is_dir():
        raise ReportError(f"{folder} is no folder; expected STUDENT/LAB/LAB.ipynb below it.")
    home = next((path for n in LAYOUTS if (path := folder / n).is_dir()), folder)
    students = sorted(path.name for path in home.iterdir() if path.is_dir())
    found = {lab: attempts_in(home, lab, students) for lab in labs}
    if not any(found.values()):
        raise ReportError(
            f"{folder} holds no submission of {', '.join(labs)}; "
            "expected STUDENT/LAB/LAB.ipynb below it, or below its autograded/ or submitted/."
        )
    return found
