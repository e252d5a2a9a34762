"""Scores as rows: `scores.csv` for other programs, a table for the terminal."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich import box
from rich.table import Table
from rich.text import Text

from .pages import write_atomically
from .results import StageResult, SubmissionResult
from .wording import (
    SIGNS,
    WORDS,
    counts,
    is_written,
    lab_title,
    number,
    one_line,
    visible,
    went_wrong,
)

COLUMNS = ("student", "lab", "stage", "points", "max_points", "status", "message", "flags")
COLOURS = {
    "passed": "green",
    "partial": "yellow",
    "failed": "red",
    "error": "red",
    "timeout": "magenta",
    "ungraded": "bold red",
}
MOST_WORDS = 3
MOST_MESSAGE = 1000


class ScoresError(Exception):
    """A file is not a `scores.csv` that this version reads."""


@dataclass(frozen=True)
class Score:
    """One row of `scores.csv`: a stage or a written answer of one student.

    Texts are on one line; `flags` are joined with `; `.
    """

    student: str
    lab: str
    stage: str
    points: float
    max_points: float
    status: str
    message: str
    flags: str = ""


def scores_of(results: Iterable[SubmissionResult]) -> list[Score]:
    """The rows of some results, sorted by student and lab, stages in the notebook's order.

    Flags of a whole submission stand in its first row. A submission without any stage gets one row
    with an empty stage, so that nobody is lost.
    """
    rows = []
    for result in sorted(results, key=lambda result: (result.student, result.lab)):
        status = "ungraded" if result.status == "ungraded" else "error"
        stages = result.stages or (StageResult("", "", 0.0, 0.0, status, result.message),)
        for position, stage in enumerate(stages):
            flags = (*(() if position else result.flags), *stage.flags)
            rows.append(
                Score(
                    visible(result.student),
                    visible(result.lab),
                    one_line(stage.stage),
                    round(stage.points, 2),
                    round(stage.max_points, 2),
                    stage.status,
                    one_line(stage.message, MOST_MESSAGE),
                    "; ".join(one_line(flag, MOST_MESSAGE) for flag in flags),
                )
            )
    return rows


def write_scores(path: Path, results: Iterable[SubmissionResult]) -> None:
    """Write `scores.csv`, atomically and the same for the same results.

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in scores_of(results):
        writer.writerow(
            [
                guarded(row.student),
                guarded(row.lab),
                guarded(row.stage),
                number(row.points),
                number(row.max_points),
                row.status,
                guarded(row.message),
                guarded(row.flags),
            ]
        )
    write_atomically(path, text.getvalue())


def read_scores(path: Path) -> list[Score]:
    """Read a `scores.csv`.

    Raises:
        ScoresError: The file has other columns, or points that are no number.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise ScoresError(f"{path.name} does not begin with {','.join(COLUMNS)}.")
    rows = []
    for count, line in enumerate(lines[1:], start=2):
        try:
            student, lab, stage, points, most, status, message, flags = map(unguarded, line)
            row = Score(student, lab, stage, float(points), float(most), status, message, flags)
        except ValueError:
            raise ScoresError(f"{path.name}: row {count} is no row of scores.") from None
        rows.append(row)
    return rows


def table(results: Sequence[SubmissionResult]) -> Table:
    """Students × stages for the terminal; with several labs, a table for each under the other."""
    ordered = sorted(results, key=lambda result: (result.lab, result.student))
    labs = list(dict.fromkeys(result.lab for result in ordered))
    tables = [_lab_table([r for r in ordered if r.lab == lab]) for lab in labs]
    if len(tables) == 1:
        return tables[0]
    grid = Table.grid()
    for entry in tables:
        grid.add_row(entry)
    return grid


def _lab_table(results: list[SubmissionResult]) -> Table:
    """The table of one lab; written answers share a column, for the width's sake."""
    stages = _stages(results)
    written = any(is_written(stage) for result in results for stage in result.stages)
    counted = [result for result in results if counts(result)]
    made = Table(
        title=Text(lab_title(results, results[0].lab), style="bold"),
        caption=_legend(results),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_footer=True,
    )
    made.add_column("student\n", "mean" if counted else "", max_width=16, overflow="fold")
    for name, most in stages.items():
        means = [stage.points for r in counted for stage in r.stages if stage.stage == name]
        footer = number(fmean(means)) if means else ""
        made.add_column(f"{name}\n/ {number(most)}", footer, no_wrap=True)
    if written:
        made.add_column("by\nhand", no_wrap=True)
    total = number(fmean(r.points for r in counted)) if counted else ""
    most_points = max(result.max_points for result in results)
    made.add_column(f"total\n/ {number(most_points)}", total, justify="right", no_wrap=True)
    made.add_column("what went wrong\n", ratio=1, overflow="fold")
    for result in results:
        found = {stage.stage: stage for stage in result.stages}
        cells = [_cell([found[name]] if name in found else []) for name in stages]
        if written:
            cells.append(_cell([stage for stage in result.stages if is_written(stage)]))
        words = went_wrong(result)
        more = [f"{len(words) - MOST_WORDS} more"] if len(words) > MOST_WORDS else []
        wrong = Text("; ".join([*words[:MOST_WORDS], *more]))
        made.add_row(Text(visible(result.student)), *cells, number(result.points), wrong)
    return made


def _stages(results: list[SubmissionResult]) -> dict[str, float]:
    """The stages of a lab in their order, with their points."""
    longest = max(results, key=lambda result: len(result.stages))
    every = [*longest.stages, *(stage for result in results for stage in result.stages)]
    return {stage.stage: stage.max_points for stage in every if not is_written(stage)}


def _cell(stages: list[StageResult]) -> Text:
    """Sign and points of a stage, or of all written answers together."""
    if not stages:
        return Text("")
    statuses = [stage.status for stage in stages]
    status = "manual" if "manual" in statuses else statuses[0]
    points = sum(stage.points for stage in stages)
    text = f"{SIGNS[status]} {number(points)}" if points or status != "missing" else SIGNS[status]
    return Text(text, style=COLOURS.get(status, ""))


def _legend(results: list[SubmissionResult]) -> Text:
    seen = {stage.status for result in results for stage in result.stages}
    return Text("   ".join(f"{SIGNS[s]} {WORDS[s]}" for s in SIGNS if s in seen))


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if re.match(r"'*[=+\-@]", text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if re.match(r"'+[=+\-@]", text) else text
