"""Grading a class: every submission of a folder, side by side, into scores, pages and gradebook."""

import secrets
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from .bench import set_up
from .cache import Cache
from .course import load_course
from .engines import Engine, LocalEngine
from .gradebook import read_entries
from .graded import Graded, Submission
from .kernel import Limits
from .policies import Policies
from .results import SubmissionResult
from .settle import settle
from .text import lab_names
from .versions import handed_in
from .writing import Places, prepare, write_all

STATE = ".autograder"
"""The folder, in a course or in OUT, of what makes a grading go on where it stopped."""


class GradeError(Exception):
    """There is nothing to grade, or no place to put it; the message is one clear sentence."""


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
    fresh: bool = False,
    progress: Callable[[SubmissionResult, int, int], None] | None = None,
    engine: Engine | None = None,
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
        fresh: Whether results of earlier runs are ignored.
        progress: Called after each submission with its result, the number done, and the total.
        engine: What runs the submissions; by default this machine, with `jobs` and `unsafe`.

    Returns:
        One result a submission, sorted by student and lab.
    """
    found = find_submissions(submitted, labs)
    policies = Policies()
    if course is not None:
        about = load_course(course)
        policies, found = about.policies, handed_in(about, submitted, found)
    out.mkdir(parents=True, exist_ok=True)
    kept = Cache((course or out) / STATE / "results")
    secret = secret or throwaway_secret(out)
    engine = engine or LocalEngine(jobs, unsafe, {submitted, out, course or out})
    places = Places(out, course or out, out / STATE, course is not None)
    with tempfile.TemporaryDirectory(prefix="aisys-kits-") as kits:
        benches = {
            name: set_up(name, secret, Path(kits), limits, kept, policies.of(name).choice)
            for name in dict.fromkeys(entry.lab for entry in found)
        }
        graded: list[Graded] = []
        with (
            ThreadPoolExecutor(max_workers=1) as beside,
            closing(engine.grade(found, benches, Cache(None) if fresh else kept, kept)) as results,
        ):
            prepared = beside.submit(prepare, places, benches, policies)
            for one in results:
                graded.append(one)
                if progress is not None:
                    progress(one.result, len(graded), len(found))
            prepared.result()
    graded = _settled(graded, policies, course or out)
    return write_all(places, graded, benches, policies, kept)


def _settled(graded: list[Graded], policies: Policies, folder: Path) -> list[Graded]:
    """What counts after the course's policies: one submission for each student and lab."""
    of = {(one.entry.student, one.entry.lab, one.entry.version): one for one in graded}
    counting = settle(policies, [one.result for one in graded], read_entries(folder))
    counting.sort(key=lambda result: (result.student, result.lab))
    return [replace(of[r.student, r.lab, r.version], result=r) for r in counting]


def throwaway_secret(out: Path) -> str:
    """The secret of a grading without a course, kept beside its results so that it can go on."""
    path = out / STATE / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
