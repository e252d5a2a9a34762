"""What the commands print: progress while grading, and the table at the end."""

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from .results import SubmissionResult
from .scores import table

FAILED = ("error", "timeout", "ungraded")


def has_failed(result: SubmissionResult) -> bool:
    """Whether something in a submission did not run to its end: no judgement on what did."""
    return result.status != "graded" or any(stage.status in FAILED for stage in result.stages)


class Progress:
    """A live bar in a terminal, a plain line a submission elsewhere, nothing when quiet.

    Both say how many submissions are done, and in how many something failed: it raised an error,
    took too long, could not be read, or could not be graded.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._failed = 0
        self._bar: Bar | None = None
        if not quiet and sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("grading"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[failed]} failed"),
                _Rate(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
            self._task = self._bar.add_task("grading", total=None, failed=0)

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
        failed = has_failed(result)
        self._failed += failed
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, failed=self._failed)
        elif not self._quiet:
            note = f"; {self._failed} failed so far" if failed else ""
            print(
                f"[{done}/{total}] {result.student} {result.lab}: {result.points:g} of "
                f"{result.max_points:g} in {result.seconds:.1f} s{note}",
                flush=True,
            )

    def note(self, sentence: str) -> None:
        """Say something about the run itself, such as a worker that was lost."""
        if self._bar is not None:
            self._bar.console.print(sentence, markup=False, highlight=False)
        elif not self._quiet:
            print(sentence, flush=True)


class _Rate(ProgressColumn):
    """Submissions a minute, since the first of them was begun."""

    def render(self, task: Task) -> Text:
        """The rate; nothing as long as there is none."""
        if not task.completed or not task.elapsed:
            return Text("")
        return Text(f"{60 * task.completed / task.elapsed:.3g}/min")


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
