"""Running one submission and judging its stages: probes inside its kernel, verdicts outside."""

import html
from collections.abc import Callable
from dataclasses import replace

import nbformat
from nbformat import NotebookNode

from aisys.course.probes import Outcome, same
from aisys.course.slots import slots

from .answers import AnswerKey, KeyCase
from .asking import DIED, ask_cases
from .catalogue import Mistake
from .kernel import KernelSpec, Session
from .lending import blockers, failed_in, lend_references, with_lent
from .results import CaseResult, ExerciseResult, StageResult
from .running import Run, run_cell
from .submission import Prepared, Step, is_untouched
from .text import LabText, exercise_cell_id
from .texts import Texts, texts_of

LOOP_HINT = "Nothing came back within the time limit: look for a loop that does not end."


def judge_notebook(
    prepared: Prepared,
    original: NotebookNode,
    lab: LabText,
    key: AnswerKey,
    spec: KernelSpec,
    open_session: Callable[[KernelSpec], Session] = Session,
) -> list[StageResult]:
    """Run a prepared notebook and judge every graded cell.

    The prepared notebook's cells receive their outputs; a graded cell's only output is its score,
    as nbgrader reads it. `open_session` starts the kernel that everything runs in. What goes wrong
    in the kernel costs the stage concerned, and nothing else.

    Returns:
        One result for every graded cell, in the notebook's order.
    """
    originals = {cell.id: cell for cell in original.cells}
    results: dict[str, StageResult] = {}
    with (
        open_session(spec) as session,
        Texts(texts_of(prepared, original), open_session) as texts,
    ):
        run = Run(session, key, lab.keys())
        for step in prepared.steps:
            if step.action == "run":
                run_cell(run, step)
            elif step.action == "judge":
                results[step.id] = _judge_stage(run, texts, lab, step)
            elif step.action == "answer":
                results[step.id] = _answer(lab, step, originals[step.id], prepared)
    passing = lend_references(list(results.values()), run, texts, spec, open_session)
    failed = failed_in(list(results.values()), lab.keys())
    for name, result in results.items():
        results[name] = _charged_once(result, failed, passing, key)
    for step in prepared.steps:
        if step.action == "judge":
            step.cell.outputs = [score_output(results[step.id])]
    prepared.flags.extend(run.flags)
    return [results[step.id] for step in prepared.steps if step.id in results]


def unjudged(original: NotebookNode, lab: LabText, status: str, message: str) -> list[StageResult]:
    """Zero for every graded cell of a lab, with one reason: there was no notebook to run."""
    return [
        _stage_result(lab, cell, 0.0, status, message)
        for cell in original.cells
        if cell.metadata["aisys"]["role"] in ("check", "answer")
    ]


def _judge_stage(run: Run, texts: Texts, lab: LabText, step: Step) -> StageResult:
    stage = step.stage
    points_of = {slot.key: slot.points for slot in slots(stage)}
    exercises = tuple(_judge_exercise(run, texts, key, points_of[key]) for key in lab.keys(stage))
    return of_exercises(stage, _title(lab, stage), lab.points(stage), exercises)


def _charged_once(
    result: StageResult,
    failed: list[str],
    passing: dict[str, frozenset[int]],
    key: AnswerKey,
) -> StageResult:
    """A stage after lending: cases that pass with earlier references count, others say why."""
    if not result.exercises:
        return result
    exercises = []
    for exercise in result.exercises:
        if exercise.key in failed and exercise.status != "missing":
            earlier = blockers(exercise, key.cases[exercise.key], failed)
            if earlier:
                known = passing.get(exercise.key, frozenset())
                exercise = _after_lending(exercise, earlier, known)
        exercises.append(exercise)
    return of_exercises(result.stage, result.title, result.max_points, tuple(exercises))


def _after_lending(
    exercise: ExerciseResult, earlier: list[str], passing: frozenset[int]
) -> ExerciseResult:
    names = ", ".join(earlier)
    lent = with_lent(exercise, passing, earlier)
    points = points_for(exercise.max_points, lent.cases)
    if points == exercise.max_points:
        note = f"`{exercise.key.partition(' ')[2]}` is right once {names} is: charged there."
        return replace(lent, points=points, status="passed", message=note, mistake="")
    status = "partial" if points else exercise.status
    note = f"{exercise.message} It calls {names}, which does not pass: mend that first."
    return replace(lent, points=points, status=status, message=note)


def of_exercises(
    stage: str, title: str, max_points: float, exercises: tuple[ExerciseResult, ...]
) -> StageResult:
    """The result of a stage from those of its exercises."""
    points = round(sum(exercise.points for exercise in exercises), 2)
    statuses = [exercise.status for exercise in exercises]
    message = " ".join(e.message for e in exercises if e.message)
    return StageResult(stage, title, points, max_points, _merge(statuses), message, exercises)


def _judge_exercise(run: Run, texts: Texts, key: str, points: float) -> ExerciseResult:
    """Run an exercise's probes on its hidden cases and judge what comes back."""
    cases = run.key.cases[key]
    with texts.run_of(run, key) as asked:
        outcomes = ask_cases(asked, cases)
    judged = tuple(
        _case_result(run.key, case, got) for case, got in zip(cases, outcomes, strict=True)
    )
    score = points_for(points, judged)
    mistake = _recognise(cases, outcomes, judged)
    hint = mistake.hint if mistake else ""
    judged = tuple(
        case if case.passed or case.kind == "timeout" else replace(case, hint=hint)
        for case in judged
    )
    error = run.cell_errors.get(exercise_cell_id(key), "")
    status, message = _summary(key, judged, outcomes, error, hint)
    title = mistake.title if mistake else ""
    return ExerciseResult(key, score, points, status, message, judged, title)


def points_for(points: float, cases: tuple[CaseResult, ...]) -> float:
    """An exercise's points: its worth times the weight of the cases that pass."""
    passed = sum(case.weight for case in cases if case.passed)
    return round(points * passed / sum(case.weight for case in cases), 2)


def _case_result(key: AnswerKey, case: KeyCase, got: Outcome) -> CaseResult:
    difference = key.verdict(case, got)
    base = {"probe": case.probe.name, "case": case.case.name, "weight": case.case.weight}
    if difference is None:
        return CaseResult(passed=True, **base)  # type: ignore[arg-type]
    message = _without_values(difference.kind, difference.where, got)
    return CaseResult(
        passed=False,
        kind=difference.kind,
        message=message,
        hint=LOOP_HINT if difference.kind == "timeout" else "",
        detail=difference.message,
        **base,  # type: ignore[arg-type]
    )


def _without_values(kind: str, where: str, got: Outcome) -> str:
    """What may be said of a difference while the hidden values are still hidden."""
    if got.error == DIED:
        return "ended the kernel"
    if got.status == "raised":
        frames = f" ({got.frames[-1]})" if got.frames else ""
        return f"raised {got.error}{frames}"
    if got.status == "hole":
        return f"{got.error} is not written"
    if kind == "timeout":
        return "took too long"
    place = f" at {where}" if where else ""
    return f"the {kind} differs{place}"


def _recognise(
    cases: tuple[KeyCase, ...], outcomes: list[Outcome], judged: tuple[CaseResult, ...]
) -> Mistake | None:
    """The catalogued mistake that explains every failing case, or None."""
    failing = [i for i, case in enumerate(judged) if not case.passed and case.kind != "timeout"]
    if not failing:
        return None
    for number, known in enumerate(cases[0].mistakes):
        if all(
            same(cases[i].probe, outcomes[i], cases[i].mistakes[number].outcome) for i in failing
        ):
            return known.mistake
    return None


def _summary(
    key: str, judged: tuple[CaseResult, ...], outcomes: list[Outcome], error: str, hint: str
) -> tuple[str, str]:
    """Status and one sentence for an exercise."""
    name = key.partition(" ")[2]
    passed = sum(case.passed for case in judged)
    if passed == len(judged):
        return "passed", ""
    first = next(case for case in judged if not case.passed)
    own_hole = any(o.status == "hole" and o.error in (key, key.rsplit(".", 1)[0]) for o in outcomes)
    if own_hole and error:
        return "error", f"`{name}`: {error.rstrip('.')}."
    if own_hole and passed == 0:
        return "missing", f"`{name}` is not written."
    kinds = {case.kind for case in judged if not case.passed}
    status = "partial" if passed else "failed"
    if not passed and kinds <= {"timeout"}:
        status = "timeout"
    elif not passed and kinds <= {"error", "timeout"}:
        status = "error"
    count = f"{passed} of {len(judged)} cases; " if passed else ""
    advice = f" {hint}" if hint else ""
    return status, f"`{name}`: {count}“{first.case}” {first.message}.{advice}"


def _answer(lab: LabText, step: Step, original: NotebookNode, prepared: Prepared) -> StageResult:
    missing = f"The cell {step.id} was missing; it was put back." in prepared.flags
    if missing or is_untouched(step.cell, original):
        return _stage_result(lab, original, 0.0, "missing", "No answer was written.")
    return _stage_result(lab, original, 0.0, "manual", "Graded by hand.")


def _stage_result(
    lab: LabText, cell: NotebookNode, points: float, status: str, message: str
) -> StageResult:
    stage = cell.id.split("-")[0].replace("_", ".")
    of_text = next(entry for entry in lab.cells if entry.id == cell.id)
    if of_text.role == "answer":
        title = f"Written answer {of_text.name}"
        return StageResult(of_text.name, title, points, of_text.points, status, message)
    return StageResult(stage, _title(lab, stage), points, lab.points(stage), status, message)


def _title(lab: LabText, stage: str) -> str:
    return next((entry.title for entry in lab.stages if entry.stage == stage), stage)


def score_output(result: StageResult) -> NotebookNode:
    """The output that nbgrader reads as the score, with a table for people beside it."""
    rows = "".join(
        f"<tr><td><code>{html.escape(e.key)}</code></td><td>{e.points:g} / {e.max_points:g}</td>"
        f"<td>{html.escape(e.message or 'all cases pass')}</td></tr>"
        for e in result.exercises
    )
    # Formulas are set in HTML too, and a message may quote a student's line.
    table = f"<table>{rows}</table>".replace("\\", "\\\u2060")
    data = {"text/plain": repr(float(result.points)), "text/html": table}
    return nbformat.v4.new_output("execute_result", data=data, execution_count=1)


def _merge(statuses: list[str]) -> str:
    if len(set(statuses)) == 1:
        return statuses[0]
    if {"passed", "partial"} & set(statuses):
        return "partial"
    return next(s for s in ("timeout", "error", "failed", "missing") if s in statuses)
