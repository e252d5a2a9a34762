"""The text of a lab: a MyST notebook whose cells say what they are, read into plain records."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext

from aisys.course.slots import LABS, load_lab, slots

REPOSITORY = Path(__file__).resolve().parents[1]
LABS_FOLDER = REPOSITORY / "labs"
ROLES = ("text", "imports", "exercise", "check", "experiment", "code", "answer")


class TextError(Exception):
    """A lab's text cannot become a notebook; the message says where and what to do."""


@dataclass(frozen=True)
class Cell:
    """One cell of the text.

    Attributes:
        role: One of `ROLES`.
        id: The cell's stable id, which is its nbgrader `grade_id` too.
        source: Its text; empty where the builder writes it.
        stage: The stage that it belongs to, or `""` before the first.
        name: The exercise's or experiment's name, or the answer's id.
        points: Of a written answer.
    """

    role: str
    id: str
    source: str
    stage: str
    name: str = ""
    points: float = 0.0


@dataclass(frozen=True)
class Stage:
    """A stage as its heading declares it."""

    stage: str
    title: str
    kind: str
    minutes: int


@dataclass(frozen=True)
class LabText:
    """A lab: its name, number, title, stages and cells.

    A course may give the points of stages a factor (`weights`), and the references of exercises
    that it did not choose (`given`).
    """

    name: str
    number: int
    title: str
    stages: tuple[Stage, ...]
    cells: tuple[Cell, ...]
    metadata: dict[str, Any]
    weights: dict[str, float] = field(default_factory=dict)
    given: tuple[str, ...] = ()

    def keys(self, stage: str | None = None) -> list[str]:
        """The keys of the exercises that the text asks for, in its order."""
        cells = [c for c in self.cells if c.role == "exercise" and stage in (None, c.stage)]
        return [key for cell in cells for key in keys_of(cell)]

    def import_keys(self) -> list[str]:
        """The exercises whose names the import cell has: those that are given, too."""
        return [*self.keys(), *self.given]

    def points(self, stage: str) -> float:
        """What a stage is worth: the sum over its exercises."""
        worth = {slot.key: slot.points for slot in slots(stage)}
        return self.weights.get(stage, 1.0) * sum(worth[key] for key in self.keys(stage))


def lab_names() -> list[str]:
    """The names of the labs that exist, in order."""
    found = [path.parent.name for path in LABS_FOLDER.glob("lab*/lab*.md") if "." not in path.stem]
    return sorted(set(found), key=lab_number)


def lab_number(name: str) -> int:
    """The number in a lab's name; raises TextError for a name that is none."""
    match = re.fullmatch(r"lab(\d+)_(\w+)", name)
    if not match or LABS.get(int(match[1])) != match[2]:
        raise TextError(
            f"{name!r} is no lab's name; the labs are {', '.join(lab_names()) or 'none'}."
        )
    return int(match[1])


def read_lab(name: str) -> LabText:
    """Read and check a lab's text; raises TextError with one clear sentence."""
    path = LABS_FOLDER / name / f"{name}.md"
    if not path.exists():
        raise TextError(
            f"There is no lab {name!r}; the labs are {', '.join(lab_names()) or 'none'}."
        )
    number = lab_number(name)
    load_lab(number)
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst")
    title = notebook.metadata.get("aisys", {}).get("title", name)
    cells: list[Cell] = []
    stages: list[Stage] = []
    counts: dict[str, int] = {}
    for raw in notebook.cells:
        declared = dict(raw.metadata)
        if "stage" in declared:
            stages.append(_stage(declared, raw.source, name))
        stage = stages[-1].stage if stages else ""
        if not raw.source.strip() and not declared:
            continue
        cells.append(_cell(raw.cell_type, raw.source, declared, stage, counts, name))
    lab = LabText(name, number, title, tuple(stages), tuple(cells), dict(notebook.metadata))
    _validate(lab)
    return lab


def answer_id(name: str) -> str:
    """The cell id of a written answer, such as `1_3-written` for `1.3-written`."""
    return _slug(name.replace(".", "_"))


def exercise_cell_id(key: str) -> str:
    """The id of the cell that an exercise is attempted in; methods share their class's."""
    stage, _, name = key.partition(" ")
    return f"{stage.replace('.', '_')}-{_slug(name.partition('.')[0])}"


def keys_of(cell: Cell) -> list[str]:
    """The keys of the exercises that a cell holds: one, or the methods of one class."""
    named = f"{cell.stage} {cell.name}"
    known = [slot.key for slot in slots(cell.stage)]
    if named in known:
        return [named]
    methods = [key for key in known if key.startswith(f"{named}.")]
    if not methods:
        raise TextError(
            f"The text asks for the exercise {named!r}; stage {cell.stage} has "
            f"{', '.join(known) or 'none'}."
        )
    return methods


def _stage(declared: dict[str, Any], source: str, lab: str) -> Stage:
    stage, kind = str(declared["stage"]), declared.get("kind", "core")
    heading = re.match(r"##\s+([\d.]+)\s+(.+)", source.strip())
    if not heading or heading[1] != stage:
        raise TextError(f"{lab}: the cell of stage {stage} begins with `## {stage} TITLE`.")
    if kind not in ("core", "optional") or not isinstance(declared.get("minutes"), int):
        raise TextError(f"{lab}: stage {stage} needs a kind (core or optional) and whole minutes.")
    return Stage(stage, heading[2].strip(), kind, declared["minutes"])


def _cell(
    cell_type: str,
    source: str,
    declared: dict[str, Any],
    stage: str,
    counts: dict[str, int],
    lab: str,
) -> Cell:
    prefix = (stage or "start").replace(".", "_")

    def numbered(word: str) -> str:
        counts[f"{prefix}-{word}"] = counts.get(f"{prefix}-{word}", 0) + 1
        return f"{prefix}-{word}-{counts[f'{prefix}-{word}']}"

    def checked(value: Any, option: str) -> str:
        if not isinstance(value, str):
            raise TextError(f'{lab}: write `:{option}: "{value}"` with quotes.')
        return value

    if cell_type == "markdown" and "answer" in declared:
        answer = checked(declared["answer"], "answer")
        points = float(declared.get("points", 0))
        if points <= 0:
            raise TextError(f"{lab}: the answer {answer} needs points.")
        return Cell("answer", answer_id(answer), source, stage, answer, points)
    if cell_type == "markdown":
        return Cell("text", numbered("text"), source, stage)
    if declared.get("role") == "imports":
        return Cell("imports", "imports", "", stage)
    if "exercise" in declared:
        key = checked(declared["exercise"], "exercise")
        wanted, _, name = key.partition(" ")
        if wanted != stage:
            raise TextError(f"{lab}: the exercise {key} stands in stage {stage}.")
        return Cell("exercise", f"{prefix}-{_slug(name)}", "", stage, name)
    if "check" in declared:
        if checked(declared["check"], "check") != stage:
            raise TextError(f"{lab}: check {declared['check']} stands in stage {stage}.")
        return Cell("check", f"{prefix}-check", f'check("{stage}")', stage)
    if "experiment" in declared:
        return Cell(
            "experiment", numbered("experiment"), source, stage, str(declared["experiment"])
        )
    return Cell("code", numbered("code"), source, stage)


def _validate(lab: LabText) -> None:
    for stage in lab.stages:
        checks = [c for c in lab.cells if c.role == "check" and c.stage == stage.stage]
        if len(checks) != 1:
            raise TextError(f"{lab.name}: stage {stage.stage} needs exactly one check cell.")
        keys, known = lab.keys(stage.stage), [slot.key for slot in slots(stage.stage)]
        if sorted(keys) != sorted(known):
            missing = sorted(set(known) - set(keys)) or sorted(set(keys))
            raise TextError(
                f"{lab.name}: stage {stage.stage} asks once for each exercise; see {missing}."
            )
    if sum(cell.role == "imports" for cell in lab.cells) != 1:
        raise TextError(f"{lab.name}: the text needs exactly one cell with `:role: imports`.")
    ids = [cell.id for cell in lab.cells]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise TextError(f"{lab.name}: the cell ids {json.dumps(twice)} occur twice.")
    if any("SOLUTION" in cell.source for cell in lab.cells):
        raise TextError(f"{lab.name}: the text holds no solution; take the marker out.")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def opened_keys(labs: list[str], names: list[str]) -> frozenset[str]:
    """The exercises that `names`, stages or keys, open; raises TextError for an unknown name."""
    opened: set[str] = set()
    for name in names:
        keys = [key for lab in labs for key in read_lab(lab).keys()]
        chosen = {key for key in keys if name in (key, key.partition(" ")[0])}
        if not chosen:
            raise TextError(f"--open {name}: expected a stage or an exercise of {', '.join(labs)}.")
        opened |= chosen
    return frozenset(opened)
