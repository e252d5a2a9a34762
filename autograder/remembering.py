"""A session that remembers: a cell or question whose answer is known does not need a kernel.

What a kernel would answer depends on the kit, the limits, the cells that ran before, and what is
asked. The hash of those is the name of the answer. A kernel is started only when something is not
known; then the cells so far run again in it, and the session goes on for real.
"""

import base64
from collections.abc import Callable
from typing import Any

import nbformat
from nbformat import NotebookNode

from aisys.course.plain import Plain, pack, unpack

from .cache import digest
from .kernel import KernelLost, KernelSpec, Session

MOST_KEPT = 2_000_000
"""Longer answers are not remembered: a submission may give many."""
CHANGING = ("lend", "texts")
"""What is asked of a kernel to put something into it."""


class Memory:
    """What is known of one submission: answers by their names, and which of them were used.

    Args:
        known: Answers of earlier runs.
        base: A hash of everything that holds for the whole submission: the kit and the limits.
        probes: For each probe, the hash of its code.
        confirm: Whether a lost kernel is remembered too; only for a run that was alone.
    """

    def __init__(
        self, known: dict[str, Any], base: str, probes: dict[str, str], confirm: bool = False
    ) -> None:
        self.known, self.base, self.probes, self.confirm = known, base, probes, confirm
        self.used: dict[str, Any] = {}

    def recall(self, name: str) -> Any:
        """The answer with this name, or None."""
        answer = self.known.get(name)
        if answer is not None:
            self.used[name] = answer
        return answer

    def keep(self, name: str, answer: Any) -> None:
        """Remember an answer."""
        if len(answer.get("answer", "")) <= MOST_KEPT:
            self.known[name] = self.used[name] = answer


class RememberingSession(Session):
    """A `Session` that asks its memory first."""

    def __init__(
        self, spec: KernelSpec, memory: Memory, open_session: Callable[[KernelSpec], Session]
    ) -> None:
        self.spec = spec
        self._memory, self._open = memory, open_session
        self._real: Session | None = None
        self._past = memory.base
        self._waiting: list[NotebookNode] = []
        self._put: list[tuple[Plain, float]] = []

    def __enter__(self) -> "RememberingSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def restart(self) -> None:
        """Begin anew, with nothing run."""
        self._end()
        self._forget()

    def run_cell(self, cell: NotebookNode, seconds: float) -> str:
        """Run a cell, or fill its outputs from memory."""
        name = digest("cell", self._past, cell.source, seconds)
        # Once a kernel runs, it runs everything, or it would lack what was only remembered.
        known = self._memory.recall(name) if self._real is None else None
        if known is None:
            known = self._for_real(lambda real: self._ran(real, cell, seconds), name)
        elif "lost" in known:
            raise KernelLost(*known["lost"])
        else:
            self._waiting.append(cell)
        self._past = digest(self._past, cell.source)
        cell.outputs = nbformat.from_dict(known["outputs"])
        return str(known["error"])

    def ask(self, request: Plain, seconds: float) -> Plain:
        """Ask the kernel, or the memory."""
        code = self._memory.probes.get(request.get("probe", ""), "")
        name = digest("ask", self._past, request, code, seconds)
        known = self._memory.recall(name)
        if known is None:
            known = self._for_real(lambda real: self._asked(real, request, seconds), name)
        elif "lost" in known:
            raise KernelLost(*known["lost"])
        if request["do"] in CHANGING:
            self._past = digest(self._past, request)
            if self._real is None:
                self._put.append((request, seconds))
        return unpack(base64.b64decode(known["answer"]))

    def _ran(self, real: Session, cell: NotebookNode, seconds: float) -> dict[str, Any]:
        error = real.run_cell(cell, seconds)
        return {"error": error, "outputs": cell.outputs}

    def _asked(self, real: Session, request: Plain, seconds: float) -> dict[str, Any]:
        return {"answer": base64.b64encode(pack(real.ask(request, seconds))).decode()}

    def _for_real(self, work: Callable[[Session], dict[str, Any]], name: str) -> dict[str, Any]:
        """Do work in a kernel that is in the state of this session, and remember what came."""
        try:
            done = work(self._kernel())
        except KernelLost as lost:
            if self._memory.confirm:
                self._memory.keep(name, {"lost": [lost.reason, str(lost)]})
            raise
        timed_out = "answer" in done and _is_timeout(done["answer"])
        if not timed_out or self._memory.confirm:
            self._memory.keep(name, done)
        return done

    def _kernel(self) -> Session:
        if self._real is None:
            self._real = self._open(self.spec)
            self._real.__enter__()
            for cell in self._waiting:
                copy = nbformat.from_dict({**cell, "outputs": []})
                self._real.run_cell(copy, self.spec.limits.cell_seconds)
            for request, seconds in self._put:
                self._real.ask(request, seconds)
        return self._real

    def _forget(self) -> None:
        self._past, self._waiting, self._put = self._memory.base, [], []

    def _end(self) -> None:
        if self._real is not None:
            self._real.__exit__(None, None, None)
        self._real = None


def _is_timeout(answer: str) -> bool:
    outcomes = unpack(base64.b64decode(answer))
    return isinstance(outcomes, list) and any(
        isinstance(each, dict) and each.get("status") == "timeout" for each in outcomes
    )
