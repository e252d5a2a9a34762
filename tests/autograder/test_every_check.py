"""Every check of every lab is itself tested, by machinery: nobody writes a test for a stage.

For each stage: its reference passes on fresh secrets; deleting, breaking or renaming its attempt
cells gives zero; the holes give zero; every catalogued mistake loses points and gets its hint; each
alternative gets full points.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from nbformat import NotebookNode

from autograder.answers import answer_key, as_attempt, mistake_source, reference_source
from autograder.bench import Bench
from autograder.judge import judge_notebook
from autograder.results import ExerciseResult, StageResult
from autograder.sample import fill
from autograder.submission import prepare
from autograder.text import keys_of, lab_names, read_lab
from tests.support.forked import WarmProcess

STAGES = [(lab, stage.stage) for lab in lab_names() for stage in read_lab(lab).stages]
EXERCISES = [(lab, key) for lab in lab_names() for key in read_lab(lab).keys()]
SECRETS = [*range(3), *(pytest.param(n, marks=pytest.mark.thorough) for n in range(3, 20))]
BenchOf = Callable[[str], Bench]
WarmOf = Callable[[str], WarmProcess]


def judge(
    bench: Bench, warm: WarmProcess, notebook: NotebookNode, stage: str, only: str | None = None
) -> StageResult:
    """Run a notebook's cells in a fork and judge one stage of it, or one exercise of that stage."""
    prepared = prepare(notebook, bench.original)
    steps = list(prepared.steps)
    judged = next(n for n, s in enumerate(steps) if (s.action, s.stage) == ("judge", stage))
    prepared.steps = [s for s in steps[:judged] if s.action == "run"] + [steps[judged]]
    lab = bench.lab
    if only is not None:
        others = [c for c in lab.cells if c.role == "exercise" and only not in keys_of(c)]
        lab = replace(lab, cells=tuple(c for c in lab.cells if c not in others))
    results = judge_notebook(
        prepared, bench.original, lab, bench.key, bench.spec, warm.open_session
    )
    return next(result for result in results if result.stage == stage)


def judge_exercise(
    bench: Bench, warm: WarmProcess, attempts: dict[str, str], key: str
) -> ExerciseResult:
    """Run attempts and judge one exercise of them."""
    notebook = fill(bench.original, bench.lab, attempts)
    result = judge(bench, warm, notebook, key.partition(" ")[0], only=key)
    return next(exercise for exercise in result.exercises if exercise.key == key)


def attempts_of(bench: Bench, **changed: str) -> dict[str, str]:
    """The reference as attempts, with some replaced."""
    return {key: reference_source(key) for key in bench.lab.keys()} | changed


@pytest.mark.slow
@pytest.mark.parametrize("number", SECRETS)
@pytest.mark.parametrize("lab", lab_names())
def test_the_reference_passes_on_fresh_secrets(
    lab: str, number: int, bench_of: BenchOf, warm_of: WarmOf
) -> None:
    bench = bench_of(lab)
    prepared = prepare(fill(bench.original, bench.lab, attempts_of(bench)), bench.original)
    key = answer_key(bench.lab, bench.key.catalogue, f"fresh secret {number}")
    results = judge_notebook(
        prepared, bench.original, bench.lab, key, bench.spec, warm_of(lab).open_session
    )
    stages = {result.stage: result for result in results}
    for stage in bench.lab.stages:
        result = stages[stage.stage]
        assert result.status == "passed", result.message
        assert result.points == result.max_points == bench.lab.points(stage.stage) > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["deleted", "broken", "renamed"])
@pytest.mark.parametrize(("lab", "stage"), STAGES)
def test_a_stage_without_its_attempts_earns_nothing(
    lab: str, stage: str, how: str, bench_of: BenchOf, warm_of: WarmOf
) -> None:
    bench = bench_of(lab)
    notebook = fill(bench.original, bench.lab, attempts_of(bench))
    ids = {cell.id for cell in bench.lab.cells if cell.role == "exercise" and cell.stage == stage}
    if how == "deleted":
        notebook.cells = [cell for cell in notebook.cells if cell.id not in ids]
    for cell in notebook.cells:
        if cell.id in ids and how == "broken":
            cell.source = cell.source.replace("def ", "def (", 1).replace(
                "%%attempt", "%%atempt", 1
            )
        if cell.id in ids and how == "renamed":
            cell.source = _renamed(cell.source)
    result = judge(bench, warm_of(lab), notebook, stage)
    assert result.points == 0
    assert result.status in ("missing", "error")


@pytest.mark.parametrize(("lab", "stage"), STAGES)
def test_holes_earn_nothing(lab: str, stage: str, bench_of: BenchOf, warm_of: WarmOf) -> None:
    bench = bench_of(lab)
    attempts = {key: text for key, text in attempts_of(bench).items() if not _of(key, stage)}
    result = judge(bench, warm_of(lab), fill(bench.original, bench.lab, attempts), stage)
    assert (result.points, result.status) == (0, "missing")


@pytest.mark.slow
@pytest.mark.parametrize(("lab", "key"), EXERCISES)
def test_every_mistake_loses_points_and_gets_its_hint(
    lab: str, key: str, bench_of: BenchOf, warm_of: WarmOf
) -> None:
    bench = bench_of(lab)
    for mistake in bench.key.catalogue.mistakes_of(key):
        attempts = attempts_of(bench, **{key: mistake_source(mistake)})
        exercise = judge_exercise(bench, warm_of(lab), attempts, key)
        assert exercise.points < exercise.max_points, mistake.title
        assert any(case.hint == mistake.hint for case in exercise.cases), mistake.title


@pytest.mark.slow
@pytest.mark.parametrize(("lab", "key"), EXERCISES)
def test_every_alternative_gets_full_points(
    lab: str, key: str, bench_of: BenchOf, warm_of: WarmOf
) -> None:
    bench = bench_of(lab)
    for alternative in bench.key.catalogue.alternatives_of(key):
        attempts = attempts_of(bench, **{key: as_attempt(key, alternative.source)})
        exercise = judge_exercise(bench, warm_of(lab), attempts, key)
        assert exercise.points == exercise.max_points, exercise.message


def _of(key: str, stage: str) -> bool:
    return key.partition(" ")[0] == stage


def _renamed(source: str) -> str:
    """An attempt under another name, as a student may do by accident."""
    if source.startswith("%%attempt"):
        first, _, rest = source.partition("\n")
        return f"{first}_mine\n{rest}"
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("@attempt"):
            word = lines[number + 1].split("(")[0].split(":")[0].split()[1]
            lines[number + 1] = lines[number + 1].replace(word, f"{word}_mine", 1)
    return "\n".join(lines)
