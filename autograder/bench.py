"""What grading one lab needs, made once: notebooks, answer key, and the kit's `aisys`."""

from dataclasses import dataclass, replace
from pathlib import Path

from nbformat import NotebookNode

from .answers import AnswerKey, answer_key, record_visible
from .build import build_lab
from .catalogue import load_catalogue
from .holes import write_tree
from .isolation import Server
from .judge import judge_notebook, unjudged
from .kernel import KernelSpec, Limits
from .results import StageResult
from .submission import Prepared, prepare
from .text import LabText, read_lab


@dataclass(frozen=True)
class Bench:
    """One lab, ready to grade submissions of it.

    Attributes:
        lab: The lab's text.
        source: The nbgrader source notebook.
        original: The student's notebook as it is released.
        key: The hidden cases with their answers.
        spec: How kernels are started.
    """

    lab: LabText
    source: NotebookNode
    original: NotebookNode
    key: AnswerKey
    spec: KernelSpec

    def judge(self, submitted: NotebookNode) -> tuple[Prepared, list[StageResult]]:
        """Run one submission and judge it."""
        prepared = prepare(submitted, self.original)
        return prepared, judge_notebook(prepared, self.original, self.lab, self.key, self.spec)

    def zero(self, status: str, message: str) -> list[StageResult]:
        """The results of a submission that cannot be run."""
        return unjudged(self.original, self.lab, status, message)

    def started_by(self, server: Server | None) -> "Bench":
        """The same bench with kernels that a server starts."""
        return replace(self, spec=replace(self.spec, server=server))


def set_up(name: str, secret: str, folder: Path, limits: Limits | None = None) -> Bench:
    """Make a lab's bench.

    Args:
        name: The lab's name.
        secret: The course's secret, from which the hidden cases are drawn.
        folder: Where the kit's `aisys` is written.
        limits: What a submission may use.
    """
    lab, catalogue = read_lab(name), load_catalogue(name)
    source, original = build_lab(name)
    record_visible(lab, catalogue)
    kit = write_tree(folder / name, [name])
    key = answer_key(lab, catalogue, secret)
    return Bench(lab, source, original, key, KernelSpec(kit.resolve(), limits or Limits()))
