"""Text exercises: their texts are the notebook file's, their cases run in a kernel of their own.

The kernel that the submission's cells run in has no part in it. For each text exercise a fresh one
is forked, in a sandbox of its own, in which no cell has run; it gets the texts that the exercise's
cases use, and the probe compiles them there. So a crash or a loop costs that exercise only. Where
the texts of a language run in a process apart from the kernel anyway, those of one stage share one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from nbformat import NotebookNode

from aisys.course.slots import TextSlot, find

from .answers import AnswerKey
from .kernel import KernelSpec, Session
from .running import Run, put_texts
from .submission import Prepared, is_untouched

MAGIC = "%%attempt"
APART = ("cuda",)
"""Languages whose texts never run in the kernel itself: CUDA runs in the emulator's process."""


@dataclass(frozen=True)
class Texts:
    """The texts of one submission.

    Attributes:
        by_key: The text of each text exercise that was written.
        open_session: Starts a kernel.
        shared: The run that the present stage's exercises share, by the stage.
        ending: Ends it.
    """

    by_key: dict[str, str]
    open_session: Callable[[KernelSpec], Session]
    shared: dict[str, Run] = field(default_factory=dict)
    ending: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Texts":
        return self

    def __exit__(self, *exception: object) -> None:
        self.ending.close()

    def for_exercise(self, key: AnswerKey, exercise: str) -> dict[str, str]:
        """The texts that an exercise's cases use: its own, and those that they call.

        Another text's change then leaves what is known of this exercise as it was.
        """
        used = {exercise, *(called for case in key.cases[exercise] for called in case.calls)}
        return {name: text for name, text in self.by_key.items() if name in used}

    @contextmanager
    def run_of(self, run: Run, exercise: str) -> Iterator[Run]:
        """The run that an exercise's cases are asked of: the submission's own, or a fresh one."""
        slot = find(exercise)
        texts = self.for_exercise(run.key, exercise)
        if not isinstance(slot, TextSlot):
            yield run
        elif slot.language in APART:
            yield self._shared(run, slot.stage, texts)
        else:
            with self.open_session(run.session.spec) as session:
                yield self._with(run, session, texts)

    def _shared(self, run: Run, stage: str, texts: dict[str, str]) -> Run:
        """The run of a stage, which has these texts now, too."""
        if stage not in self.shared:
            self.ending.close()
            self.shared.clear()
            session = self.ending.enter_context(self.open_session(run.session.spec))
            self.shared[stage] = self._with(run, session, {})
        apart = self.shared[stage]
        apart.texts.update(texts)
        put_texts(apart)
        return apart

    def _with(self, run: Run, session: Session, texts: dict[str, str]) -> Run:
        apart = Run(session, run.key, run.keys, run.started, flags=run.flags, texts=texts)
        put_texts(apart)
        return apart


def is_text(key: str) -> bool:
    """Whether an exercise is a text in another language."""
    return find(key).kind == "text"


def texts_of(prepared: Prepared, original: NotebookNode) -> dict[str, str]:
    """The text of each text exercise in a prepared notebook; of two the last one.

    A cell that is as it was released holds none.
    """
    originals = {cell.id: cell for cell in original.cells}
    found = {}
    for step in prepared.steps:
        if step.action != "run" or (step.id and is_untouched(step.cell, originals[step.id])):
            continue
        first, _, text = step.cell.source.lstrip().partition("\n")
        if first.split()[:1] == [MAGIC]:
            found[" ".join(first.split()[1:])] = text
    return found
