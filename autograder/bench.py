"""What grading one lab needs, made once: notebooks, answer key, and the kit's `aisys`."""

import functools
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from .answers import AnswerKey, answer_key, reference_source, sources_digest
from .build import build_lab
from .cache import Cache, code_digest, digest, folder_digest
from .catalogue import load_catalogue
from .choice import ALL, Choice, catalogue_of, chosen, left_out_keys
from .holes import write_tree
from .isolation import Server
from .judge import judge_notebook, unjudged
from .kernel import KernelSpec, Limits, Session
from .remembering import Memory, RememberingSession
from .results import StageResult
from .submission import Prepared, prepare
from .suspicion import PATCHES, REBINDS, flags_of, kinds_in
from .text import LabText, read_lab
from .visible import visible_recorded


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

    def judge(
        self, submitted: NotebookNode, known: dict[str, Any] | None = None, confirm: bool = False
    ) -> tuple[Prepared, list[StageResult], dict[str, Any]]:
        """Run one submission and judge it.

        Args:
            submitted: The notebook as it came.
            known: What earlier runs of it found out, see `Memory`.
            confirm: Whether a hang or death is remembered; only for a run that is alone.

        Returns:
            The prepared and executed notebook, its results, and what is known now.
        """
        prepared = prepare(submitted, self.original)
        memory = Memory(known or {}, self.base, self.probes, confirm)

        def remembering(spec: KernelSpec) -> Session:
            return RememberingSession(spec, memory, Session)

        results = judge_notebook(
            prepared, self.original, self.lab, self.key, self.spec, remembering
        )
        prepared.flags.extend(flags_of(prepared.written(), self.imports, self.ordinary))
        return prepared, results, memory.used

    @functools.cached_property
    def base(self) -> str:
        """A hash of what every answer of a kernel depends on: the kit and the limits."""
        kit = folder_digest(self.spec.kit, without=("checks", "checks.py", "kit.json"))
        return digest(kit, asdict(self.spec.limits), sys.version)

    @functools.cached_property
    def probes(self) -> dict[str, str]:
        """For each probe, a hash of its code."""
        cases = [case for cases in self.key.cases.values() for case in cases]
        return {case.probe.name: code_digest(case.probe.function) for case in cases}

    @functools.cached_property
    def imports(self) -> str:
        """The import cell."""
        return next((c.source for c in self.original.cells if c.id == "imports"), "")

    @functools.cached_property
    def ordinary(self) -> frozenset[str]:
        """What the lab's own code does, and what therefore is not suspicious in it."""
        own = [cell.source for cell in self.original.cells if cell.cell_type == "code"]
        return kinds_in([*own, *map(reference_source, self.lab.keys())]) - {PATCHES, REBINDS}

    @functools.cached_property
    def whole(self) -> str:
        """A hash of everything that the results of a submission depend on."""
        return digest(self.base, sources_digest(), self.key.content())

    def zero(self, status: str, message: str) -> list[StageResult]:
        """The results of a submission that cannot be run."""
        return unjudged(self.original, self.lab, status, message)

    def started_by(self, server: Server | None) -> "Bench":
        """The same bench with kernels that a server starts."""
        return replace(self, spec=replace(self.spec, server=server))


def set_up(
    name: str,
    secret: str,
    folder: Path,
    limits: Limits | None = None,
    kept: Cache | None = None,
    choice: Choice = ALL,
) -> Bench:
    """Make a lab's bench.

    Args:
        name: The lab's name.
        secret: The course's secret, from which the hidden cases are drawn.
        folder: Where the kit's `aisys` is written.
        limits: What a submission may use.
        kept: Where answer keys of earlier runs are kept.
        choice: What the course takes of the lab; results have the points of the text.
    """
    whole, catalogue = read_lab(name), load_catalogue(name)
    source, original = build_lab(name, choice)
    visible_recorded(whole, catalogue)
    kit = write_tree(folder / name, [name], left_out_keys(whole, choice))
    lab = chosen(whole, choice)
    catalogue = catalogue_of(lab, catalogue)
    key = answer_key(lab, catalogue, secret, kept)
    return Bench(lab, source, original, key, KernelSpec(kit.resolve(), limits or Limits()))
