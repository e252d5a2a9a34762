"""One submission's way through its kernel: its cells, and a fresh kernel after a loss."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import nbformat
from nbformat import NotebookNode

from .answers import AnswerKey
from .kernel import KernelLost, Session
from .submission import Step


@dataclass
class Run:
    """What has happened so far in one submission.

    Attributes:
        session: Its kernel.
        key: The hidden cases.
        keys: The keys of the lab's exercises.
        started: When the run began, on the monotonic clock.
        ran: The cells that ran and can be run again.
        cell_errors: What went wrong in a cell, by the cell's id.
        flags: What was noticed.
        texts: The texts by key that a kernel holds in place of cells; see `texts`.
    """

    session: Session
    key: AnswerKey
    keys: Sequence[str]
    started: float = field(default_factory=time.monotonic)
    ran: list[NotebookNode] = field(default_factory=list)
    cell_errors: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def out_of_time(self) -> bool:
        """Whether the whole notebook's time is used up."""
        return time.monotonic() - self.started > self.session.spec.limits.total_seconds

    def note(self, flag: str) -> None:
        """Note something, once."""
        if flag not in self.flags:
            self.flags.append(flag)


def run_cell(run: Run, step: Step) -> None:
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
        run.note(f"The cell {name} was given up: {lost}.")
        step.cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{lost}\n")]
        start_again(run)
        return
    run.ran.append(step.cell)
    if error and step.id:
        run.cell_errors[step.id] = f"its cell raised {error}"


def start_again(run: Run) -> None:
    """Start a fresh kernel and run the good cells again, leaving out any that is lost this time."""
    waiting = list(run.ran)
    run.session.restart()
    put_texts(run)
    run.ran = []
    while waiting and not run.out_of_time:
        cell = waiting.pop(0)
        copy = nbformat.from_dict({**cell, "outputs": []})
        try:
            run.session.run_cell(copy, run.session.spec.limits.cell_seconds)
            run.ran.append(cell)
        except KernelLost:
            waiting = [*run.ran, *waiting]
            run.session.restart()
            run.ran = []


def put_texts(run: Run) -> None:
    """Put a run's texts into a kernel in which nothing has run."""
    if run.texts:
        request = {"do": "texts", "texts": run.texts}
        run.session.ask(request, run.session.spec.limits.cell_seconds)
