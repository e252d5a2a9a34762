"""What the commands print: progress while grading, and the table at the end."""

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from .results import SubmissionResult
from .scores import table


class Progress:
    """A live bar in a terminal, a plain line a submission elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None
        if not quiet and sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            )
            self._task = self._bar.add_task("grading", total=None)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, result: SubmissionResult, done: int, total: int) -> None:
        """Show that one more submission is graded."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif not self._quiet:
            print(
                f"[{done}/{total}] {result.student} {result.lab}: {result.points:g} of "
                f"{result.max_points:g} in {result.seconds:.1f} s",
                flush=True,
            )


def print_table(results: Sequence[SubmissionResult], quiet: bool = False) -> None:
    """Print a class's table: students by stages."""
    if not quiet:
        _console().print(table(results))


def print_stages(result: SubmissionResult) -> None:
    """Print one notebook's stages."""
    console = _console()
    if result.message:
        console.print(result.message, markup=False)
    shown = Table(title=f"{result.lab}: {result.points:g} of {result.max_points:g} points")
    for column in ("stage", "title", "points", "status", "what to look at"):
        shown.add_column(column, overflow="fold")
    for stage in result.stages:
        points = f"{stage.points:g} / {stage.max_points:g}"
        shown.add_row(stage.stage, Text(stage.title), points, stage.status, Text(stage.message))
    console.print(shown)
    for flag in result.flags:
        console.print(flag, markup=False)


def _console() -> Console:
    """A console that folds at 100 columns where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 110)
