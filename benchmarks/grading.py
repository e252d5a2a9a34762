"""Notebooks graded a minute: stock nbgrader, otter-grader, and this harness, on the same classes.

All execute the same cells, in the same order, and run the same hidden cases; in stock nbgrader and
otter-grader these are asserts in the notebook. Every fourth submission has a mistake in it.

- A small notebook is Lab 1 of a course that chose its stage 1.3 only, without experiments; it needs
  NumPy and no PyTorch. Stock nbgrader starts an ordinary kernel for each, as `nbgrader autograde`
  does; `otter run` takes one notebook at a time, so that it grades only a few.
- Lab 1 whole: stock nbgrader runs every cell of the student's notebook, or those that this harness
  runs too, which is all but the experiments.
- A thousand small notebooks: from the start of the command to the scores in the gradebook and in
  `scores.csv`; feedback and autograded notebooks come after, and are timed apart.

Every time includes the start of the command. A rate of this harness is given twice: of the whole
command, which ends with the feedback, the executed notebooks and the report; and up to the scores
in the gradebook, which is where `nbgrader autograde` and `otter run` end, as they write no
feedback. The lab is released before: the gradebook is there, and so are the hidden cases. Each run
of this harness finds nothing that an earlier one has left; stock nbgrader is told to grade
everything again (`--force`).
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from common import Ratio, Row, cores, options, report
from graders import programs
from graders.classes import Class, make_class, touch
from graders.overhead import median_overhead
from graders.programs import Cost, forget, grade

SMALL_STAGES = ("1.3",)
STOCK, OTTER = "stock nbgrader", "otter-grader"
OURS = "this harness"
SCORED = ", up to the scores"


def main() -> None:
    """Measure, print, keep."""
    chosen = options(__doc__ or "")
    quick = chosen.quick
    rows: list[Row] = []
    ratios: dict[str, Ratio] = {}
    with TemporaryDirectory(prefix="grading-") as folder:
        for part in (small_class, lab_class, large_class):
            part(Path(folder) / part.__name__, quick, rows, ratios)
    report("grading", rows, ratios, quick)


def small_class(folder: Path, quick: bool, rows: list[Row], ratios: dict[str, Ratio]) -> None:
    """40 small notebooks by every grader, in turn."""
    size, turns = (6, 1) if quick else (40, 5)
    made = make_class(folder, size, SMALL_STAGES)
    most = min(size, 2 if quick else 5)
    systems: dict[str, tuple[int, Callable[[], Cost]]] = {
        STOCK: (size, lambda: programs.grade_stock(made)),
        f"{OURS}, one worker": (size, lambda: fresh(made, 1)),
        f"{OURS}, {cores()} workers": (size, lambda: fresh(made, cores())),
    }
    programs.release(made)
    programs.release_stock(made)
    otter = programs.otter_programs()
    if otter is None:
        print("otter-grader: skipped, its environment (build/otter) cannot be made here.")
    else:
        programs.prepare_otter(made)
        systems[OTTER] = (most, lambda: programs.grade_otter(made, otter, most))
    costs: dict[str, list[float]] = {}
    after: list[float] = []
    for turn in range(turns):
        for name, (count, call) in systems.items():
            _note(costs, name, count, call())
        touch(made.course / "submitted", made.students[0], f"turn {turn}")
        after.append(grade(made.course, cores()).seconds)
    case = f"{size} small notebooks"
    rows += [_rate(case, name, values) for name, values in costs.items()]
    best = f"{OURS}, {cores()} workers"
    rows.append(Row(f"{case}, one changed", best, "median", statistics.median(after), "s"))
    overhead = median_overhead(made, min(size, 20))
    rows.append(Row("beyond its own cells", OURS, "median a notebook", 1000 * overhead, "ms"))
    stock = statistics.median(costs[STOCK])
    for name in (best + SCORED, best):
        title = f"small notebooks a minute, {name} / {STOCK}"
        ratios[title] = Ratio(statistics.median(costs[name]) / stock, 15, "higher")
    ratios["overhead a notebook, s"] = Ratio(overhead, 0.15, "lower")


def lab_class(folder: Path, quick: bool, rows: list[Row], ratios: dict[str, Ratio]) -> None:
    """Lab 1: stock nbgrader with the experiments and without, and this harness."""
    size, turns = (2, 1) if quick else (12, 5)
    same = make_class(folder / "same", size)
    programs.release(same)
    programs.release_stock(same)
    systems: dict[str, tuple[int, Callable[[], Cost]]] = {
        f"{STOCK}, same cells": (size, lambda: programs.grade_stock(same)),
        f"{OURS}, {cores()} workers": (size, lambda: fresh(same, cores())),
    }
    if not quick:
        whole = make_class(folder / "whole", 1, experiments=True)
        programs.release_stock(whole)
        systems[f"{STOCK}, every cell"] = (1, lambda: programs.grade_stock(whole))
    costs: dict[str, list[float]] = {}
    used: list[float] = []
    for _ in range(turns):
        for name, (count, call) in systems.items():
            cost = call()
            _note(costs, name, count, cost)
            if name.startswith(OURS):
                nothing_new = grade(same.course, cores())
                used.append((cost.cpu - nothing_new.cpu) / size)
    case = "Lab 1"
    rows += [_rate(case, name, values) for name, values in costs.items()]
    cpu = statistics.median(used)
    rows.append(Row(case, OURS, "CPU time a notebook", cpu, "s"))
    medians = {name: statistics.median(values) for name, values in costs.items()}
    best = f"{OURS}, {cores()} workers"
    for name, aim in ((f"{STOCK}, same cells", 1.8), (f"{STOCK}, every cell", 8.0)):
        for ours in (best + SCORED, best):
            if name in medians:
                title = f"Lab 1 notebooks a minute, {ours} / {name}"
                ratios[title] = Ratio(medians[ours] / medians[name], aim, "higher")
    ratios["CPU time of a Lab 1 notebook, s"] = Ratio(cpu, 10, "lower")


def large_class(folder: Path, quick: bool, rows: list[Row], ratios: dict[str, Ratio]) -> None:
    """A thousand small notebooks: scored, regraded unchanged, regraded after one change."""
    size, turns = (30, 2) if quick else (1000, 5)
    made = make_class(folder, size, SMALL_STAGES)
    programs.release(made)
    first = grade(made.course, cores(), quiet=False)
    regrades = [grade(made.course, cores()).seconds for _ in range(turns)]
    changed = []
    for turn in range(turns):
        touch(made.course / "submitted", made.students[turn], "changed")
        changed.append(grade(made.course, cores()).seconds)
    case, system = f"{size} small notebooks", f"{OURS}, {cores()} workers"
    unchanged = statistics.median(regrades)
    memory = [value / 2**20 for value in first.memory]
    growth = max(memory[size // 5 :]) - max(memory[: size // 5])
    rows += [
        Row(case, system, "scores in the gradebook", first.scored, "s"),
        Row(case, system, "feedback and autograded after", first.seconds - first.scored, "s"),
        Row(case, system, "most memory", max(memory), "MB"),
        Row(case, system, "memory that the last four fifths add", growth, "MB"),
        Row(f"{case}, unchanged", system, "median", unchanged, "s"),
        Row(f"{case}, one changed", system, "median", statistics.median(changed), "s"),
    ]
    if not quick:  # a few say nothing about a thousand
        ratios["1,000 submissions scored, s"] = Ratio(first.scored, 180, "lower")
        ratios["unchanged regrade of 1,000, s"] = Ratio(unchanged, 5, "lower")


def fresh(made: Class, jobs: int) -> Cost:
    """Grade a class of which nothing is known yet."""
    forget(made)
    return grade(made.course, jobs)


def _note(costs: dict[str, list[float]], name: str, count: int, cost: Cost) -> None:
    """Keep a command's rate, and the rate up to the scores where they came before its end."""
    costs.setdefault(name, []).append(count / cost.seconds * 60)
    if cost.scored:
        costs.setdefault(name + SCORED, []).append(count / cost.scored * 60)


def _rate(case: str, system: str, values: list[float]) -> Row:
    return Row(case, system, "median", statistics.median(values), "notebooks/min")


if __name__ == "__main__":
    main()
