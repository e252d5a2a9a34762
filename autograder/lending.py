"""A mistake is charged once: cases that fail only because of an earlier exercise pass after all.

After the plain run, a failed exercise whose cases call earlier failed ones is run again in a fresh
kernel in which the references of only those earlier ones are lent. Nothing comes back from that run
but which cases pass, and the lent code ends with that kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import nbformat

from aisys.course.errors import CourseError

from .answers import KeyCase, import_cell, reference_source
from .asking import ask_case
from .kernel import KernelLost, KernelSpec, Session
from .results import CaseResult, ExerciseResult, StageResult
from .running import Run, put_texts
from .texts import Texts, is_text

NEVER_LENT_FOR = ("missing", "timeout")


def lend_references(
    results: list[StageResult],
    run: Run,
    texts: Texts,
    spec: KernelSpec,
    open_session: Callable[[KernelSpec], Session],
) -> dict[str, frozenset[int]]:
    """Find the failed cases that pass when earlier exercises are lent.

    Args:
        results: What the plain run gave.
        run: The plain run, with the cells that can be run again.
        texts: The submission's texts; text exercises are run with them instead of cells.
        spec: How kernels are started.
        open_session: Starts the kernel.

    Returns:
        For each exercise concerned, the indices of the cases that now pass.
    """
    exercises = [exercise for stage in results for exercise in stage.exercises]
    failed = failed_in(results, run.keys)
    groups: dict[tuple[tuple[str, ...], str], list[ExerciseResult]] = {}
    for exercise in exercises:
        needed = _needed(exercise, run.key.cases.get(exercise.key, ()), failed)
        if needed:
            own = exercise.key if is_text(exercise.key) else ""
            groups.setdefault((needed, own), []).append(exercise)
    passing: dict[str, frozenset[int]] = {}
    for (needed, own), concerned in groups.items():
        with open_session(spec) as session:
            again = Run(session, run.key, run.keys, started=run.started)
            if own:
                again.texts = texts.for_exercise(run.key, own)
            else:
                again.ran = run.ran
            passing |= _run_again(needed, concerned, again)
    return passing


def failed_in(results: list[StageResult], keys: Sequence[str]) -> list[str]:
    """The exercises that do not have all their points, in the order of `keys`, the notebook's."""
    failed = {e.key for stage in results for e in stage.exercises if e.points < e.max_points}
    return [key for key in keys if key in failed]


def blockers(exercise: ExerciseResult, cases: tuple[KeyCase, ...], failed: list[str]) -> list[str]:
    """The failed exercises before this one that its failing cases call, in the order of `failed`.

    Args:
        exercise: One of `failed`.
        cases: Its hidden cases.
        failed: As `failed_in` gives them.
    """
    called = {
        key
        for case, judged in zip(cases, exercise.cases, strict=True)
        if not judged.passed
        for key in case.calls
    }
    return [key for key in failed[: failed.index(exercise.key)] if key in called]


def _needed(
    exercise: ExerciseResult, cases: tuple[KeyCase, ...], failed: list[str]
) -> tuple[str, ...]:
    if exercise.key not in failed or exercise.status in NEVER_LENT_FOR:
        return ()
    return tuple(blockers(exercise, cases, failed))


def _run_again(
    needed: tuple[str, ...], concerned: list[ExerciseResult], again: Run
) -> dict[str, frozenset[int]]:
    """Run the submission's cells in a fresh kernel, lend, and ask the failing cases again."""
    session = again.session
    passing: dict[str, frozenset[int]] = {}
    sources = {key: reference_source(key) for key in needed}
    request = {"do": "lend", "imports": import_cell(tuple(again.keys)), "sources": sources}
    seconds = session.spec.limits.cell_seconds
    try:
        put_texts(again)
        for cell in again.ran:
            if again.out_of_time:
                return passing
            session.run_cell(nbformat.from_dict({**cell, "outputs": []}), seconds)
        session.ask(request, seconds)
        for exercise in concerned:
            passing[exercise.key] = _passing(again, exercise)
    except (KernelLost, CourseError):
        # The fork is gone, and with it the lent code; what was found so far holds.
        return passing
    return passing


def _passing(again: Run, exercise: ExerciseResult) -> frozenset[int]:
    """The indices of the failing cases that pass now; a lost kernel ends the search."""
    found: set[int] = set()
    cases = again.key.cases[exercise.key]
    for number, (case, judged) in enumerate(zip(cases, exercise.cases, strict=True)):
        if not judged.passed and again.key.verdict(case, ask_case(again, case, once=True)) is None:
            found.add(number)
    return frozenset(found)


def with_lent(exercise: ExerciseResult, passing: frozenset[int], lent: list[str]) -> ExerciseResult:
    """An exercise whose cases in `passing` pass after all, with a word about why."""
    names = ", ".join(lent)
    note = f"passes with {names} lent from the reference"
    cases: tuple[CaseResult, ...] = tuple(
        replace(case, passed=True, kind="", message=note, hint="", detail="")
        if number in passing
        else case
        for number, case in enumerate(exercise.cases)
    )
    return replace(exercise, cases=cases)
