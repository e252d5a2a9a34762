"""Running one submission and judging its stages: probes inside its kernel, verdicts outside."""

import html
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import nbformat
from nbformat import NotebookNode

from aisys.course.errors import CourseError
from aisys.course.outcomes import outcome_from_plain
from aisys.course.probes import Outcome, same
from aisys.course.slots import find, slots

from .answers import AnswerKey, KeyCase
from .catalogue import Mistake
from .kernel import KernelLost, KernelSpec, Session
from .results import CaseResult, ExerciseResult, StageResult
from .submission import Prepared, Step, is_untouched
from .text import LabText

DIED = "KernelDied"
MOST_LOST = 2
"""After so many cases that hang or end the kernel, an exercise's other cases count as lost too."""
LOOP_HINT = "Nothing came back within the time limit: look for a loop that does not end."


@dataclass
class _Run:
    """What has happened so far in one submission."""

    session: Session
    key: AnswerKey
    started: float = field(default_factory=time.monotonic)
    ran: list[NotebookNode] = field(default_factory=list)
    cell_errors: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    @property
    def out_of_time(self) -> bool:
        """Whether the whole notebook's time is used up."""
        return time.monotonic() - self.started > self.session.spec.limits.total_seconds


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
    with open_session(spec) as session:
        run = _Run(session, key)
        for step in prepared.steps:
            if step.action == "run":
                _run_cell(run, step)
            elif step.action == "judge":
                result = _judge_stage(run, lab, step)
                step.cell.outputs = [_score_output(result)]
                results[step.id] = result
            elif step.action == "answer":
                results[step.id] = _answer(lab, step, originals[step.id], prepared)
    prepared.flags.extend(run.flags)
    return [results[step.id] for step in prepared.steps if step.id in results]


def unjudged(original: NotebookNode, lab: LabText, status: str, message: str) -> list[StageResult]:
    """Zero for every graded cell of a lab, with one reason: there was no notebook to run."""
    return [
        _stage_result(lab, cell, 0.0, status, message)
        for cell in original.cells
        if cell.metadata["aisys"]["role"] in ("check", "answer")
    ]


def _run_cell(run: _Run, step: Step) -> None:
    """Run one cell; after a hang or a death a fresh kernel gets the cells so far without it."""
    limits = run.session.spec.limits
    seconds = limits.cell_seconds if step.id else limits.own_cell_seconds
    name = step.id or "added by the student"
    if run.out_of_time:
        run.cell_errors[step.id] = "the notebook's time was used up before this cell"
        return
    try:
        error = run.session.run_cell(step.cell, seconds)
    except KernelLost as lost:
        run.cell_errors[step.id] = str(lost)
        run.flags.append(f"The cell {name} was given up: {lost}.")
        step.cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{lost}\n")]
        _start_again(run)
        return
    run.ran.append(step.cell)
    if error and step.id:
        run.cell_errors[step.id] = f"its cell raised {error}"


def _start_again(run: _Run) -> None:
    """Start a fresh kernel and run the good cells again, leaving out any that is lost this time."""
    waiting = list(run.ran)
    run.session.restart()
    run.ran = []
    while waiting:
        cell = waiting.pop(0)
        copy = nbformat.from_dict({**cell, "outputs": []})
        try:
            run.session.run_cell(copy, run.session.spec.limits.cell_seconds)
            run.ran.append(cell)
        except KernelLost:
            waiting = [*run.ran, *waiting]
            run.session.restart()
            run.ran = []


def _judge_stage(run: _Run, lab: LabText, step: Step) -> StageResult:
    stage = step.stage
    points_of = {slot.key: slot.points for slot in slots(stage)}
    exercises = tuple(_judge_exercise(run, key, points_of[key]) for key in lab.keys(stage))
    run.failed |= {exercise.key for exercise in exercises if exercise.status != "passed"}
    exercises = tuple(_with_blocker(run, exercise) for exercise in exercises)
    points = round(sum(exercise.points for exercise in exercises), 2)
    statuses = [exercise.status for exercise in exercises]
    message = " ".join(e.message for e in exercises if e.status != "passed" and e.message)
    return StageResult(
        stage, _title(lab, stage), points, lab.points(stage), _merge(statuses), message, exercises
    )


def _judge_exercise(run: _Run, key: str, points: float) -> ExerciseResult:
    """Run an exercise's probes on its hidden cases and judge what comes back."""
    cases = run.key.cases[key]
    outcomes: list[Outcome] = []
    for case in cases:
        lost = [o for o in outcomes if o.status == "timeout" or o.error == DIED]
        if len(lost) >= MOST_LOST:
            outcomes.append(lost[-1])
        elif run.out_of_time:
            outcomes.append(Outcome("timeout", message="the notebook's time was used up"))
        else:
            outcomes.append(_ask(run, case))
    judged = tuple(
        _case_result(run.key, case, got) for case, got in zip(cases, outcomes, strict=True)
    )
    all_weight = sum(case.weight for case in judged)
    passed = sum(case.weight for case in judged if case.passed)
    score = round(points * passed / all_weight, 2)
    mistake = _recognise(cases, outcomes, judged)
    hint = mistake.hint if mistake else ""
    judged = tuple(
        case if case.passed or case.kind == "timeout" else replace(case, hint=hint)
        for case in judged
    )
    error = run.cell_errors.get(_cell_id(key), "")
    status, message = _summary(key, judged, outcomes, error, hint)
    title = mistake.title if mistake else ""
    return ExerciseResult(key, score, points, status, message, judged, title)


def _with_blocker(run: _Run, exercise: ExerciseResult) -> ExerciseResult:
    """A failed exercise, with a word about the first failed one that its cases call."""
    if exercise.status in ("passed", "missing"):
        return exercise
    called = {key for case in run.key.cases[exercise.key] for key in case.calls}
    here = find(exercise.key).order
    earlier = [key for key in called & run.failed if find(key).order < here]
    if not earlier:
        return exercise
    first = min(earlier, key=lambda key: find(key).order)
    note = f"It calls {first}, which does not pass: mend that first."
    return replace(exercise, message=f"{exercise.message} {note}")


def _ask(run: _Run, case: KeyCase) -> Outcome:
    request = {
        "do": "run",
        "module": case.probe.function.__module__,
        "probe": case.probe.name,
        "case": case.case.name,
        "inputs": case.case.inputs,
        "seed": case.case.seed,
    }
    try:
        return outcome_from_plain(run.session.ask(request, 2 * case.probe.seconds + 5))
    except KernelLost as lost:
        _start_again(run)
        status = "timeout" if lost.reason == "timeout" else "raised"
        return Outcome(status, error=DIED, message=str(lost))
    except CourseError as error:
        return Outcome("raised", error="NoAnswer", message=str(error))


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
        return "error", f"`{name}`: {error}."
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


def _score_output(result: StageResult) -> NotebookNode:
    """The output that nbgrader reads as the score, with a table for people beside it."""
    rows = "".join(
        f"<tr><td><code>{html.escape(e.key)}</code></td><td>{e.points:g} / {e.max_points:g}</td>"
        f"<td>{html.escape(e.message or 'all cases pass')}</td></tr>"
        for e in result.exercises
    )
    data = {"text/plain": repr(float(result.points)), "text/html": f"<table>{rows}</table>"}
    return nbformat.v4.new_output("execute_result", data=data, execution_count=1)


def _merge(statuses: list[str]) -> str:
    if len(set(statuses)) == 1:
        return statuses[0]
    if {"passed", "partial"} & set(statuses):
        return "partial"
    return next(s for s in ("timeout", "error", "failed", "missing") if s in statuses)


def _cell_id(key: str) -> str:
    """The id of the cell that an exercise is attempted in."""
    stage, _, name = key.partition(" ")
    return f"{stage.replace('.', '_')}-{name.partition('.')[0]}"
