"""Grading a class: every submission of a folder, side by side, into scores, pages and gradebook."""

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from .bench import Bench, set_up
from .build import write_notebook
from .cache import Cache, digest
from .course import load_course, write_nbgrader_config
from .feedback import write_feedback
from .gradebook import read_entries, save_lab, save_results
from .isolation import method, server_for
from .kernel import Limits
from .lateness import closed
from .policies import Policies
from .report import write_report
from .results import StageResult, SubmissionResult, from_json, to_json
from .scores import write_scores
from .settle import settle
from .submission import SubmissionError, read_submission
from .text import lab_names
from .versions import handed_in

STATE = ".autograder"
"""The folder, in a course or in OUT, of what makes a grading go on where it stopped."""


class GradeError(Exception):
    """There is nothing to grade, or no place to put it; the message is one clear sentence."""


@dataclass(frozen=True)
class Submission:
    """Where one student's notebook of one lab is."""

    student: str
    lab: str
    path: Path
    version: str = ""


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
    how = method(unsafe)
    with ExitStack() as stack:
        kits = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aisys-kits-")))
        benches: dict[str, Bench] = {}
        for name in dict.fromkeys(entry.lab for entry in found):
            bench = set_up(name, secret, kits, limits, kept, policies.of(name).choice)
            server = stack.enter_context(server_for(bench.spec.kit, how))
            benches[name] = bench.started_by(server)
        known = Cache(None) if fresh else kept
        graded = _side_by_side(found, benches, known, kept, jobs, progress)
        graded = [_retried(one, benches, kept) for one in graded]
    graded = _settled(graded, policies, course or out)
    return _write(out, course, graded, benches, policies)


def _settled(graded: list["Graded"], policies: Policies, folder: Path) -> list["Graded"]:
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


@dataclass(frozen=True)
class Graded:
    """One submission's result, and whether it is the one of an earlier run."""

    entry: Submission
    result: SubmissionResult
    name: str
    unchanged: bool = False


def _side_by_side(
    found: list[Submission],
    benches: dict[str, Bench],
    known: Cache,
    kept: Cache,
    jobs: int,
    progress: Callable[[SubmissionResult, int, int], None] | None,
) -> list[Graded]:
    graded: list[Graded] = []
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures = [
            pool.submit(grade_one, entry, benches[entry.lab], known, kept) for entry in found
        ]
        for future in as_completed(futures):
            graded.append(future.result())
            if progress is not None:
                progress(graded[-1].result, len(graded), len(found))
    return graded


def _retried(one: Graded, benches: dict[str, Bench], kept: Cache) -> Graded:
    """A submission with a time-out in it, graded once more, alone; the better run counts."""
    timed_out = any(e.status == "timeout" for s in one.result.stages for e in s.exercises)
    if not timed_out or one.unchanged:
        return one
    again = grade_one(one.entry, benches[one.entry.lab], kept, kept, confirm=True)
    return again if again.result.points >= one.result.points else one


def grade_one(
    entry: Submission,
    bench: Bench,
    known: Cache | None = None,
    kept: Cache | None = None,
    confirm: bool = False,
) -> Graded:
    """Grade one submission; whatever is wrong with it, or with the grader, becomes its result.

    Args:
        entry: Where it is.
        bench: Its lab.
        known: Where results of earlier runs are looked for.
        kept: Where results are kept.
        confirm: Whether a hang or death in this run is final.
    """
    started = time.monotonic()
    known, kept = known or Cache(None), kept or Cache(None)
    # Only among several versions that are graded is each remembered by itself.
    several = entry.version if "-" in entry.version else ""
    place = digest("submission", entry.student, entry.lab, several)

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
            version=entry.version,
            **more,
        )

    try:
        submitted = read_submission(entry.path)
        name = digest(bench.whole, entry.path.read_bytes())
    except SubmissionError as error:
        status = "error" if entry.path.exists() else "missing"
        zero = result("unreadable", str(error), bench.zero(status, str(error)))
        return Graded(entry, zero, digest(bench.whole, status, str(error)))
    earlier = known.get(place) or {}
    if earlier.get("name") == name:
        with contextlib.suppress(TypeError, KeyError):
            result_before = replace(from_json(earlier["result"]), version=entry.version)
            return Graded(entry, result_before, name, unchanged=True)
    try:
        prepared, stages, used = bench.judge(submitted, earlier.get("known"), confirm)
    except Exception as error:
        message = f"The grader failed: {type(error).__name__}: {error}"
        return Graded(entry, result("ungraded", message, bench.zero("ungraded", message)), "")
    notebook = json.loads(nbformat.writes(prepared.notebook))
    done = result("graded", "", stages, flags=tuple(prepared.flags), notebook=notebook)
    timed_out = any(e.status == "timeout" for s in stages for e in s.exercises)
    final = name if confirm or not timed_out else ""
    kept.put(place, {"name": final, "known": used, "result": to_json(done)})
    return Graded(entry, done, name)


def _write(
    out: Path,
    course: Path | None,
    graded: list[Graded],
    benches: dict[str, Bench],
    policies: Policies,
) -> list[SubmissionResult]:
    """Write everything that comes of a class's grading; what other gradings wrote stays.

    What is written already for the same result is not written again.

    Returns:
        The results as they stand in the gradebook, with the points that were given by hand.
    """
    for name, bench in benches.items():
        save_lab(course or out, name, bench.original, policies.of(name).deadline)
    results = save_results(course or out, [one.result for one in graded], policies)
    write_scores(out / "scores.csv", results)
    open_labs = {name: not closed(policies.of(name), datetime.now(UTC)) for name in benches}
    graded = [
        replace(
            one,
            result=result,
            name=one.name and digest(one.name, _content(result), open_labs[result.lab]),
        )
        for one, result in zip(graded, results, strict=True)
    ]
    record = out / STATE / "written.json"
    written = _read_record(record)
    fresh = [one for one in graded if not one.name or written.get(_place(one)) != one.name]
    for one in fresh:
        autograded = (course or out) / "autograded"
        path = autograded / one.entry.student / one.entry.lab / f"{one.entry.lab}.ipynb"
        if one.result.notebook is not None:
            write_notebook(path, nbformat.from_dict(one.result.notebook))
        else:
            path.unlink(missing_ok=True)
        write_feedback(out / "feedback", one.result, not open_labs[one.entry.lab])
        written[_place(one)] = one.name
    if course is None:
        # So that stock nbgrader and formgrader work on the folder as on a course.
        for name, bench in benches.items():
            write_notebook(out / "source" / name / f"{name}.ipynb", bench.source)
            write_notebook(out / "release" / name / f"{name}.ipynb", bench.original)
        write_nbgrader_config(out)
    write_report(out / "report.html", results, "Grading report")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(written), encoding="utf-8")
    return results


def _content(result: SubmissionResult) -> str:
    """What is written of a result, its notebook apart."""
    return json.dumps(to_json(replace(result, notebook=None, seconds=0.0)))


def _place(one: Graded) -> str:
    return f"{one.entry.student}/{one.entry.lab}"


def _read_record(path: Path) -> dict[str, str]:
    """What was written before, by student and lab; an unreadable record is as good as none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
