"""The stages that a course chose: the lab's text without the others, and what each stage weighs.

A stage that was not chosen stays readable, with its text and its experiments. Its exercises give
way to one import cell, because the kit and the grader hold their references; its check and its
written answers leave the notebook, and with them the gradebook. So the notebook stays an ordinary
nbgrader assignment, and running it from top to bottom works.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aisys.course.slots import TextSlot, find

from .catalogue import Catalogue
from .text import Cell, LabText, TextError, keys_of

GIVEN = "*Given in this course: its exercises come with their references; nothing of it is graded.*"


@dataclass(frozen=True)
class Choice:
    """What a course takes of a lab.

    Attributes:
        stages: The chosen stages; empty: all.
        weights: Factors of the points of stages, and of written answers by their own names.
    """

    stages: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def weight(self, stage: str) -> float:
        """The factor of a stage's points, or of a written answer's."""
        return self.weights.get(stage, 1.0)


ALL = Choice()


def chosen(lab: LabText, choice: Choice) -> LabText:
    """The lab's text with the chosen stages only, points as they are written.

    Raises:
        TextError: A stage that is chosen or weighed does not exist.
    """
    stages = [stage.stage for stage in lab.stages]
    left_out = [stage for stage in stages if choice.stages and stage not in choice.stages]
    answers = [c.name for c in lab.cells if c.role == "answer" and c.stage not in left_out]
    taken = [stage for stage in stages if stage not in left_out]
    _refuse(lab, choice.stages, stages, "chooses")
    _refuse(lab, choice.weights, [*taken, *answers], "weighs")
    if not left_out:
        return lab
    kept = tuple(stage for stage in lab.stages if stage.stage in taken)
    cells = [
        c for cell in lab.cells for c in (_given(cell, lab) if cell.stage in left_out else [cell])
    ]
    given = tuple(key for stage in left_out for key in lab.keys(stage))
    return replace(lab, stages=kept, cells=tuple(cells), given=given)


def weighted(lab: LabText, choice: Choice) -> LabText:
    """The lab's text with the points that the course gives."""
    cells = [
        replace(cell, points=cell.points * choice.weight(cell.name))
        if cell.role == "answer"
        else cell
        for cell in lab.cells
    ]
    return replace(lab, cells=tuple(cells), weights=dict(choice.weights))


def left_out_keys(lab: LabText, choice: Choice) -> frozenset[str]:
    """The exercises of a whole lab that come with their references."""
    return frozenset(lab.keys()) - frozenset(chosen(lab, choice).keys())


def catalogue_of(lab: LabText, catalogue: Catalogue) -> Catalogue:
    """The part of a catalogue that is about the exercises of a lab's text."""
    keys = lab.keys()
    return replace(
        catalogue,
        mistakes=tuple(entry for entry in catalogue.mistakes if entry.key in keys),
        alternatives=tuple(entry for entry in catalogue.alternatives if entry.key in keys),
    )


def _given(cell: Cell, lab: LabText) -> list[Cell]:
    """What becomes of a cell whose stage was not chosen."""
    if cell.role in ("check", "answer"):
        return []
    if cell.role == "exercise":
        # One cell for the stage: every cell costs each grading a message there and back.
        imports = {c.id: _import_of(c) for c in lab.cells if _is_given_code(c, cell.stage)}
        if cell.id != next(iter(imports), None):
            return []
        return [Cell("code", cell.id, "\n".join(imports.values()), cell.stage)]
    if cell.role == "text" and cell.source.lstrip().startswith(f"## {cell.stage} "):
        heading, _, rest = cell.source.lstrip().partition("\n")
        return [replace(cell, source=f"{heading}\n\n{GIVEN}\n{rest}")]
    return [cell]


def _is_given_code(cell: Cell, stage: str) -> bool:
    """Whether a cell is an exercise of a stage, and in Python, so that it can be imported."""
    return (
        cell.role == "exercise"
        and cell.stage == stage
        and not isinstance(find(keys_of(cell)[0]), TextSlot)
    )


def _import_of(cell: Cell) -> str:
    slot = find(keys_of(cell)[0])
    return f"from {slot.module} import {slot.name.partition('.')[0]}"


def _refuse(
    lab: LabText, named: Mapping[str, float] | tuple[str, ...], known: list[str], verb: str
) -> None:
    for name in named:
        if name not in known:
            raise TextError(
                f"course.toml {verb} {name!r} of {lab.name}, which is none of {', '.join(known)}."
            )
