"""From what was judged to what counts: waivers, weights, the submission that counts, lateness.

All functions are pure: results in, results out. Nothing is run again, so a changed policy takes
effect at the next `autograder grade`, which finds every judged result kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from .grades import Entries, Entry, cell_of
from .judge import of_exercises, points_for, score_output
from .lateness import Lateness, days_late, lateness, moment_of, penalty, words
from .policies import LabPolicy, Policies, PolicyError, Waiver
from .results import CaseResult, ExerciseResult, StageResult, SubmissionResult


def settle(
    policies: Policies, results: Iterable[SubmissionResult], known: Entries
) -> list[SubmissionResult]:
    """Apply a course's policies to judged results.

    Args:
        policies: The course's.
        results: What was judged; several of one student and lab are versions.
        known: What the gradebook has; labs that are not among the results spend late days too.

    Returns:
        One result for each student and lab, points by hand and lateness not counted yet.

    Raises:
        PolicyError: A waiver names something that no result has.
    """
    results = list(results)
    for policy in policies.labs.values():
        _refuse_unknown(policy, [result for result in results if result.lab == policy.lab])
    versions: dict[str, dict[str, list[SubmissionResult]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        adjusted = adjust(policies.of(result.lab), result)
        versions[result.student][result.lab].append(adjusted)
    submitted: dict[str, dict[str, datetime | None]] = defaultdict(dict)
    for entry in known.values():
        submitted[entry.student][entry.lab] = entry.submitted
    counting = []
    for student, labs in versions.items():
        times = submitted[student]
        ordered = lateness(policies, student, {**times, **dict.fromkeys(labs)})
        for lab in [lab for lab in ordered if lab in labs]:
            counts = _counting(policies, labs[lab], times)
            times[lab] = moment_of(counts.version)
            counting.append(counts)
    return counting


def adjust(policy: LabPolicy, result: SubmissionResult) -> SubmissionResult:
    """One result with a lab's waivers and weights applied, its notebook's scores too."""
    stages = []
    for stage in result.stages:
        for waiver in policy.waivers:
            if waiver.holds_for(result.student) and result.status == "graded":
                stage = _waived(stage, waiver)
        stages.append(_weighed(stage, policy.choice.weight(stage.stage)))
    return replace(result, stages=tuple(stages), notebook=rescored(result.notebook, stages))


def with_hand_grades(result: SubmissionResult, entry: Entry | None) -> SubmissionResult:
    """A result with the points that a person gave in the gradebook."""
    if entry is None:
        return result
    stages = tuple(_by_hand(stage, entry) for stage in result.stages)
    return replace(result, stages=stages)


def with_lateness(
    policies: Policies, result: SubmissionResult, times: Mapping[str, datetime | None]
) -> SubmissionResult:
    """A result with what its lateness costs.

    Args:
        policies: The course's.
        result: The result, points by hand included.
        times: When each lab of the student was submitted.
    """
    late = policies.of(result.lab).late
    how = lateness(policies, result.student, times)[result.lab]
    taken = penalty(late, result.points, result.max_points, how)
    said = words(late, how, taken)
    flags = (*result.flags, said) if said else result.flags
    return replace(result, penalty=taken, flags=flags)


def penalty_of(policies: Policies, entry: Entry, known: Entries) -> float:
    """What lateness takes off a submission in the gradebook."""
    how = lateness_of(policies, entry, known)
    return penalty(policies.of(entry.lab).late, entry.points, entry.max_points, how)


def lateness_of(policies: Policies, entry: Entry, known: Entries) -> Lateness:
    """How late a submission in the gradebook is."""
    times = {lab: e.submitted for (student, lab), e in known.items() if student == entry.student}
    return lateness(policies, entry.student, times)[entry.lab]


def _counting(
    policies: Policies, versions: list[SubmissionResult], times: Mapping[str, datetime | None]
) -> SubmissionResult:
    """The version that counts; of equally good ones the least late, and of those the last."""
    policy = policies.of(versions[0].lab)
    versions = sorted(versions, key=lambda version: version.version)
    if policy.submissions == "latest" or len(versions) == 1:
        return versions[-1]

    def merit(version: SubmissionResult) -> tuple[float, int, str]:
        submitted = moment_of(version.version)
        timed = with_lateness(policies, version, {**times, version.lab: submitted})
        return timed.points, -days_late(policy, version.student, submitted), version.version

    best = max(versions, key=merit)
    said = f"The best of {len(versions)} submissions counts, number {versions.index(best) + 1}."
    return replace(best, flags=(*best.flags, said))


def _waived(stage: StageResult, waiver: Waiver) -> StageResult:
    """A stage after one waiver; nobody loses by it."""
    keys = [exercise.key for exercise in stage.exercises]
    if stage.stage != waiver.stage and waiver.exercise not in keys:
        return stage
    said = f"{waiver.stage or waiver.exercise} is waived"
    if waiver.case:
        said = f"The case “{waiver.case}” of {waiver.exercise} is waived"
    said = f"{said}: {waiver.reason}" if waiver.reason else f"{said}."
    flags = (*stage.flags, said)
    if not stage.exercises:
        return replace(stage, points=stage.max_points, status="passed", message=said, flags=flags)
    exercises = tuple(
        _exercise_waived(exercise, waiver.case)
        if waiver.stage or exercise.key == waiver.exercise
        else exercise
        for exercise in stage.exercises
    )
    made = of_exercises(stage.stage, stage.title, stage.max_points, exercises)
    return replace(made, flags=flags)


def _exercise_waived(exercise: ExerciseResult, case: str) -> ExerciseResult:
    """An exercise without one case, or with all its points."""
    left = tuple(entry for entry in exercise.cases if case and entry.case != case)
    if len(left) == len(exercise.cases) and left:
        return exercise
    points = exercise.max_points
    if left:
        points = max(exercise.points, points_for(exercise.max_points, left))
    if points >= exercise.max_points:
        return replace(exercise, points=points, status="passed", message="", cases=left, mistake="")
    if exercise.status in ("missing", "timeout") and not points:
        return replace(exercise, cases=left)
    status = "partial" if points else exercise.status
    message = _message(exercise, left)
    return replace(exercise, points=points, status=status, message=message, cases=left)


def _message(exercise: ExerciseResult, cases: tuple[CaseResult, ...]) -> str:
    """What is wrong in the cases that still count."""
    failing = [case for case in cases if not case.passed]
    if not failing:
        return ""
    passed = len(cases) - len(failing)
    count = f"{passed} of {len(cases)} cases; " if passed else ""
    first = failing[0]
    hint = f" {first.hint}" if first.hint else ""
    name = exercise.key.partition(" ")[2]
    return f"`{name}`: {count}“{first.case}” {first.message}.{hint}"


def _weighed(stage: StageResult, weight: float) -> StageResult:
    if weight == 1:
        return stage
    exercises = tuple(
        replace(e, points=round(e.points * weight, 2), max_points=round(e.max_points * weight, 2))
        for e in stage.exercises
    )
    points, most = round(stage.points * weight, 2), round(stage.max_points * weight, 2)
    return replace(stage, points=points, max_points=most, exercises=exercises)


def rescored(
    notebook: dict[str, Any] | None, stages: Iterable[StageResult]
) -> dict[str, Any] | None:
    """The executed notebook with the points that count in its graded cells."""
    if notebook is None:
        return None
    by_cell = {cell_of(stage.stage): stage for stage in stages}
    cells = []
    for cell in notebook["cells"]:
        stage = by_cell.get(cell.get("id", ""))
        if stage is not None:
            nbgrader = {**cell["metadata"].get("nbgrader", {}), "points": stage.max_points}
            cell = {**cell, "metadata": {**cell["metadata"], "nbgrader": nbgrader}}
            if cell["cell_type"] == "code":
                cell["outputs"] = [dict(score_output(stage))]
        cells.append(cell)
    return {**notebook, "cells": cells}


def _by_hand(stage: StageResult, entry: Entry) -> StageResult:
    """A stage with a person's points and comment."""
    grade = entry.cells.get(cell_of(stage.stage))
    if grade is None or (grade.manual is None and not grade.extra):
        return stage
    points = grade.points if grade.manual is not None else stage.points + grade.extra
    comment = f": {grade.comment}" if grade.comment else "."
    if not stage.exercises:
        return replace(
            stage,
            points=round(points, 2),
            status="manual",
            message=f"Graded by hand{comment}",
            by_hand=grade.manual is not None and not grade.waiting,
        )
    status = "passed" if points >= stage.max_points else "partial" if points > 0 else "failed"
    said = f"{points:g} points were given by hand{comment}"
    return replace(stage, points=round(points, 2), status=status, flags=(*stage.flags, said))


def _refuse_unknown(policy: LabPolicy, results: list[SubmissionResult]) -> None:
    """Refuse a waiver of something that does not exist."""
    graded = [result for result in results if result.status == "graded"]
    stages = [stage for result in graded for stage in result.stages]
    exercises = [exercise for stage in stages for exercise in stage.exercises]
    for waiver in policy.waivers if graded else ():
        what, named = "a stage", waiver.stage
        known = [stage.stage for stage in stages]
        if waiver.exercise:
            what, named = "an exercise", waiver.exercise
            known = [exercise.key for exercise in exercises]
        if waiver.case and waiver.exercise in known:
            what, named = f"a case of {waiver.exercise}", waiver.case
            cases = [c for e in exercises if e.key == waiver.exercise for c in e.cases]
            known = [case.case for case in cases]
        if named not in known:
            listed = ", ".join(dict.fromkeys(known)) or "none"
            raise PolicyError(
                f"course.toml waives {named!r} in {policy.lab}, which is not {what}: {listed}."
            )
