"""Where a hostile submission is graded beside an honest one; see `Arena.grade`.

The lab, its kit and the warm process are made once and shared; all else is what `autograder grade`
does: a course with a gradebook, two submissions side by side in sandboxes, pages, and the retry.
"""

import ast
import contextlib
import inspect
import json
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbformat import NotebookNode

from autograder import engines, grade
from autograder.answers import reference_source
from autograder.bench import Bench, set_up
from autograder.build import build_lab, to_text
from autograder.cache import Cache
from autograder.choice import Choice, chosen
from autograder.gradebook import gradebook_path
from autograder.isolation import Server
from autograder.kernel import Limits
from autograder.results import SubmissionResult
from autograder.sample import fill
from autograder.text import LabText, read_lab
from tests.attacks.traces import Traces
from tests.autograder.sample_course import empty_gradebook

LAB, STAGE, KEY = "lab1_autodiff", "1.3", "1.3 im2col"
CHOICE = Choice((STAGE,))
LIMITS = Limits(cell_seconds=5, own_cell_seconds=1, total_seconds=120)
CHECK, IMPORTS = f"{STAGE.replace('.', '_')}-check", "imports"


def code_of(attack: Callable[..., object], *arguments: object) -> str:
    """The code of a cell that holds a function of a test, and calls it; see `returned`."""
    source = textwrap.dedent(inspect.getsource(attack))
    return f"{source}\nprint('returned', repr({attack.__name__}(*{arguments!r})))"


Submitted = NotebookNode | str | bytes | Callable[[Path], object]
"""A notebook, the raw content of its file, or what writes into a student's folder of the lab."""


@dataclass(frozen=True)
class Aftermath:
    """What came of one submission.

    Attributes:
        result: Its result.
        notebook: The autograded notebook, or None.
        feedback: The feedback page.
        out: The folder that was graded into.
    """

    result: SubmissionResult
    notebook: NotebookNode | None
    feedback: str
    out: Path

    @property
    def points(self) -> float:
        """Its points for the stage."""
        return self.result.points

    @property
    def most(self) -> float:
        """The points of a perfect submission."""
        return self.result.max_points

    @property
    def status(self) -> str:
        """The status of the stage."""
        return self.result.stages[0].status

    @property
    def message(self) -> str:
        """Everything that is said about it, its flags apart."""
        return "\n".join([self.result.message, *(s.message for s in self.result.stages)])

    @property
    def flags(self) -> list[str]:
        """What was noticed, of the whole and of its stages."""
        return [*self.result.flags, *(flag for s in self.result.stages for flag in s.flags)]

    @property
    def printed(self) -> str:
        """What its cells printed, and the errors in them."""
        outputs = [o for cell in self.notebook.cells for o in cell.get("outputs", [])]
        return "\n".join(o.get("text") or o.get("evalue") or "" for o in outputs)

    @property
    def returned(self) -> Any:
        """What the function of `code_of` returned, plain data; it fails where none did."""
        lines = [line for line in self.printed.splitlines() if line.startswith("returned ")]
        assert lines, self.printed
        return ast.literal_eval(lines[-1].removeprefix("returned "))

    @property
    def shown(self) -> str:
        """Everything that anybody gets to see of it."""
        shown = json.dumps(self.notebook, ensure_ascii=False) if self.notebook else ""
        return "\n".join([repr(replace(self.result, notebook=None)), shown, self.feedback])

    def saw(self, text: str) -> bool:
        """Whether a text is in anything that is shown."""
        return text in self.shown


class Arena:
    """One lab with one stage, and the warm process that everybody's kernels come from.

    Attributes:
        lab: The lab's text.
        original: The notebook as it is released.
        perfect: The references by key.
        most: The points of a perfect submission.
        bench: The lab, ready to grade.
        server: What starts the kernels.
        canary: A secret word that lies everywhere in the grader's reach.
        honest: The name of the honest neighbour, which holds the secret.
        hidden: The folders that the last grading named to the sandbox.
        marker: What attacks put into the names of what they try to leave.
        folder: The folder that everything of the arena lies in.
        temporary: The grader's folder for temporary files.
    """

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder, self.temporary = folder, folder / "t"
        self.temporary.mkdir()
        self.canary = f"canary-{os.urandom(8).hex()}"
        self.marker = f"marker-{os.urandom(8).hex()}"
        (self.temporary / f"{self.canary}.txt").write_text(self.canary, encoding="utf-8")
        self.lab: LabText = chosen(read_lab(LAB), CHOICE)
        self.original: NotebookNode = build_lab(LAB, CHOICE)[1]
        self.perfect = {key: reference_source(key) for key in self.lab.keys()}
        self.most = self.lab.points(STAGE)
        kits = folder / "k"
        kits.mkdir()
        self.bench: Bench = set_up(LAB, self.canary * 2, kits, LIMITS, Cache(kept), CHOICE)
        self.server: Server
        self.traces = Traces((str(kits), str(self.temporary)), (self.temporary, kits), self.marker)
        self.hidden: tuple[Path, ...] = ()
        self._number = 0
        self.honest = f"honest-{self.canary}"

    def notebook(
        self,
        solved: bool = True,
        attempts: Mapping[str, str] | None = None,
        first: str = "",
        own: str = "",
        last: str = "",
    ) -> NotebookNode:
        """A student's notebook of the stage.

        Args:
            solved: Whether the exercises have the references; else they stay holes.
            attempts: Texts of attempt cells by key, instead of those.
            first: Code of an added cell before everything.
            own: Code of an added cell after the imports.
            last: Code of an added cell before the graded cell.
        """
        given = (self.perfect if solved else {}) | dict(attempts or {})
        notebook = fill(self.original, self.lab, given)
        names = [cell.id for cell in notebook.cells]
        places = {names.index(CHECK): last, names.index(IMPORTS) + 1: own, 0: first}
        for place, code in places.items():
            if code:
                notebook.cells.insert(place, nbformat.v4.new_code_cell(code))
        return notebook

    def spliced(self, key: str, statements: str) -> str:
        """The reference of an exercise with statements as the first of the function's body."""
        lines = self.perfect[key].splitlines()
        end = max(i for i, line in enumerate(lines) if line.strip().endswith('"""'))
        added = [f"    {line}" for line in statements.splitlines()]
        return "\n".join([*lines[: end + 1], *added, *lines[end + 1 :]]) + "\n"

    def write(self, folder: Path, notebook: NotebookNode | str | bytes) -> Path:
        """Write a notebook into a student's folder of the lab."""
        path = folder / f"{LAB}.ipynb"
        text = to_text(notebook) if isinstance(notebook, NotebookNode) else notebook
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    @property
    def course(self) -> Path:
        """The folder of the next grading's course; `out` in it is what is graded into."""
        return self.folder / "c" / str(self._number)

    @property
    def honest_folder(self) -> Path:
        """The folder of the next grading's honest neighbour."""
        return self.course / "submitted" / self.honest

    def grade(self, submission: Submitted, limits: Limits | None = None, **walls: int) -> Aftermath:
        """Grade a hostile submission beside an honest one, which must have full points.

        Args:
            submission: The hostile one.
            limits: What submissions may use, instead of LIMITS.
            walls: Attributes of the sandbox's `Walls`, instead of theirs.
        """
        return self.grade_all({"attacker": submission}, limits, **walls)["attacker"]

    def grade_all(
        self, submissions: Mapping[str, Submitted], limits: Limits | None = None, **walls: int
    ) -> dict[str, Aftermath]:
        """Grade several side by side with one honest neighbour, which must have full points."""
        try:
            return self._grade_all(submissions, limits, walls)
        finally:
            self._number += 1

    def _grade_all(
        self,
        submissions: Mapping[str, Submitted],
        limits: Limits | None,
        walls: Mapping[str, int],
    ) -> dict[str, Aftermath]:
        course, out = self._course(), self.course / "out"
        submitted = course / "submitted"
        honest = self.notebook(own=f"# {self.canary}")
        for name, what in {**submissions, self.honest: honest}.items():
            folder = submitted / name / LAB
            folder.mkdir(parents=True)
            what(folder) if callable(what) else self.write(folder, what)
        files = Traces((), (submitted,), self.marker)
        before = list(files._entries())
        with self._shared(limits, walls):
            results = grade.grade_class(
                submitted, out, jobs=2, secret=self.canary * 2, course=course
            )
        assert list(files._entries()) == before
        made = {result.student: self._aftermath(result, course, out) for result in results}
        neighbour = made.pop(self.honest)
        assert (neighbour.points, neighbour.status) == (self.most, "passed"), neighbour.message
        for name, after in made.items():
            assert not after.saw(self.canary), f"{name} has found a secret"
        return made

    def _course(self) -> Path:
        course = self.course
        course.mkdir(parents=True)
        text = f'name = "{self.canary}"\nsecret = "{self.canary * 2}"\n'
        text += f'[labs.{LAB}]\nstages = ["{STAGE}"]\n'
        (course / "course.toml").write_text(text, encoding="utf-8")
        gradebook_path(course).write_bytes(empty_gradebook())
        return course

    @contextmanager
    def _shared(self, limits: Limits | None, walls: Mapping[str, int]) -> Iterator[None]:
        """Have `grade_class` take what is made already, and keep its temporary files together."""
        spec = replace(self.bench.spec, limits=limits or LIMITS)

        def made(*arguments: Any, **options: Any) -> Bench:
            return replace(self.bench, spec=spec)

        def started(kit: Path, how: str, hidden: Any = ()) -> Any:
            self.hidden = tuple(hidden)
            return contextlib.nullcontext(self.server)

        usual = getattr(self.server, "walls", None)
        with (
            mock.patch.object(self.server, "walls", usual and replace(usual, **walls), create=True),
            mock.patch.object(grade, "set_up", made),
            mock.patch.object(engines, "server_for", started),
            self.as_grader(),
        ):
            yield

    @contextmanager
    def as_grader(self) -> Iterator[None]:
        """With a secret in the environment, and temporary files in the arena's own folder."""
        with (
            mock.patch.object(tempfile, "tempdir", str(self.temporary)),
            mock.patch.dict(os.environ, {"AISYS_CANARY": self.canary}),
        ):
            yield

    def _aftermath(self, result: SubmissionResult, course: Path, out: Path) -> Aftermath:
        path = course / "autograded" / result.student / LAB / f"{LAB}.ipynb"
        notebook = nbformat.read(path, as_version=4) if path.exists() else None
        pages = (out / "feedback" / result.student).rglob("*.html")
        feedback = "\n".join(page.read_text(encoding="utf-8") for page in pages)
        return Aftermath(result, notebook, feedback, out)
