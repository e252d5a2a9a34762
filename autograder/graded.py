"""Grading one submission: what is known of it already, what running it gives, what is kept."""

import contextlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .bench import Bench
from .cache import Cache, digest
from .results import StageResult, SubmissionResult, from_json, to_json
from .submission import SubmissionError, read_bytes, submission_of

LEFT = "Its worker was lost each time that it was graded; it was left."
"""The flag of a submission that is not run again, because it may be what ends its workers."""


@dataclass(frozen=True)
class Submission:
    """Where one student's notebook of one lab is."""

    student: str
    lab: str
    path: Path
    version: str = ""


@dataclass(frozen=True)
class Graded:
    """One submission's result.

    Attributes:
        entry: Where it is.
        result: The result.
        name: A hash of everything that it depends on, or `""`.
        unchanged: Whether it is the one of an earlier run.
        on_disk: Whether its executed notebook is kept on disk only, see `executed_notebook`.
    """

    entry: Submission
    result: SubmissionResult
    name: str
    unchanged: bool = False
    on_disk: bool = False

    @property
    def is_doubtful(self) -> bool:
        """Whether another run, alone, is to show a time-out, or the grader's failure, again."""
        if self.unchanged or LEFT in self.result.flags:
            return False
        return self.result.status == "ungraded" or has_timeout(self.result)


@dataclass(frozen=True)
class Task:
    """A submission that has to be run.

    Attributes:
        entry: Where it is.
        content: The bytes of its notebook.
        name: A hash of everything that its result depends on.
        known: What earlier runs of it found out, see `Memory`.
    """

    entry: Submission
    content: bytes
    name: str
    known: dict[str, Any] | None


def look_up(entry: Submission, bench: Bench, known: Cache) -> Task | Graded:
    """A submission's earlier result where it still holds, or that of one that cannot be read."""
    try:
        content = read_bytes(entry.path)
    except SubmissionError as error:
        result = _unreadable(entry, bench, error, entry.path.exists())
        return Graded(entry, result, digest(bench.whole, result.message))
    name = digest(bench.whole, content)
    earlier = known.get(_place(entry)) or {}
    if earlier.get("name") == name and earlier.get("size") == known.size(_run_place(entry)):
        with contextlib.suppress(TypeError, KeyError):
            before = replace(from_json(earlier["result"]), version=entry.version)
            return Graded(entry, before, name, unchanged=True, on_disk=True)
    return Task(entry, content, name, (known.get(_run_place(entry)) or {}).get("known"))


def run(
    task: Task, bench: Bench, confirm: bool = False
) -> tuple[SubmissionResult, dict[str, Any] | None]:
    """Run one submission; whatever is wrong with it, or with the grader, becomes its result.

    Args:
        task: The submission.
        bench: Its lab.
        confirm: Whether a hang or death in this run is final.

    Returns:
        Its result and what is known of it now; None where nothing is to be kept.
    """
    started, entry = time.monotonic(), task.entry
    try:
        submitted = submission_of(task.content)
    except SubmissionError as error:
        return _unreadable(entry, bench, error, True), None
    try:
        prepared, stages, used = bench.judge(submitted, task.known, confirm)
    except Exception as error:
        return ungraded(entry, bench, f"The grader failed: {type(error).__name__}: {error}"), None
    result = SubmissionResult(
        entry.student,
        entry.lab,
        "graded",
        "",
        tuple(stages),
        flags=tuple(prepared.flags),
        seconds=round(time.monotonic() - started, 3),
        notebook=json.loads(json.dumps(prepared.notebook)),
        version=entry.version,
    )
    return result, used


def finish(
    task: Task,
    result: SubmissionResult,
    used: dict[str, Any] | None,
    kept: Cache,
    confirm: bool = False,
) -> Graded:
    """Keep what running a submission gave, so that it is not run again.

    The executed notebook is kept apart from the result, and stays out of memory from here on.
    """
    if result.status == "ungraded":
        return Graded(task.entry, result, "")
    if used is not None:
        final = task.name if confirm or not has_timeout(result) else ""
        size = kept.put(_run_place(task.entry), {"known": used, "notebook": result.notebook})
        light = replace(result, notebook=_answers_only(result.notebook))
        entry = {"name": final, "size": size, "result": to_json(light)}
        if size and kept.put(_place(task.entry), entry):
            return Graded(task.entry, light, task.name, on_disk=True)
    return Graded(task.entry, result, task.name)


def executed_notebook(one: Graded, kept: Cache) -> dict[str, Any] | None:
    """The executed notebook of a submission, or None where there is none."""
    if not one.on_disk:
        return one.result.notebook
    notebook = (kept.get(_run_place(one.entry)) or {}).get("notebook")
    if isinstance(notebook, dict):
        return notebook
    kept.put(_place(one.entry), {})  # it is damaged: the next grading runs the submission again
    return None


def _answers_only(notebook: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a notebook stays in its result: what it is, and the written answers."""
    if notebook is None:
        return None
    cells = [c for c in notebook["cells"] if c["metadata"].get("aisys", {}).get("role") == "answer"]
    return {**notebook, "cells": cells}


def grade_one(
    entry: Submission,
    bench: Bench,
    known: Cache | None = None,
    kept: Cache | None = None,
    confirm: bool = False,
) -> Graded:
    """Grade one submission in this process.

    Args:
        entry: Where it is.
        bench: Its lab.
        known: Where results of earlier runs are looked for.
        kept: Where results are kept.
        confirm: Whether a hang or death in this run is final.
    """
    found = look_up(entry, bench, known or Cache(None))
    if isinstance(found, Graded):
        return found
    return finish(found, *run(found, bench, confirm), kept or Cache(None), confirm)


def has_timeout(result: SubmissionResult) -> bool:
    """Whether an exercise ran out of time."""
    return any(e.status == "timeout" for stage in result.stages for e in stage.exercises)


def better(first: Graded, again: Graded) -> Graded:
    """Of two runs of a doubtful submission the one that counts."""
    if "ungraded" in (first.result.status, again.result.status):
        return first if again.result.status == "ungraded" else again
    return again if again.result.points >= first.result.points else first


def ungraded(
    entry: Submission, bench: Bench, message: str, flags: tuple[str, ...] = ()
) -> SubmissionResult:
    """The result of a submission that the grader failed to grade."""
    stages = bench.zero("ungraded", message)
    return _without_run(entry, "ungraded", message, stages, flags)


def _unreadable(
    entry: Submission, bench: Bench, error: SubmissionError, exists: bool
) -> SubmissionResult:
    stages = bench.zero("error" if exists else "missing", str(error))
    return _without_run(entry, "unreadable", str(error), stages)


def _without_run(
    entry: Submission,
    status: str,
    message: str,
    stages: list[StageResult],
    flags: tuple[str, ...] = (),
) -> SubmissionResult:
    return SubmissionResult(
        entry.student, entry.lab, status, message, tuple(stages), flags, version=entry.version
    )


def _place(entry: Submission) -> str:
    """The name under which a submission's last result is kept."""
    # Only among several versions that are graded is each remembered by itself.
    several = entry.version if "-" in entry.version else ""
    return digest("submission", entry.student, entry.lab, several)


def _run_place(entry: Submission) -> str:
    """The name under which a submission's executed notebook, and what is known of it, is kept."""
    return digest("run", _place(entry))
