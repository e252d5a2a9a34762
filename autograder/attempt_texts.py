"""The texts that are compared: attempts out of notebooks, solutions out of the catalogue.

Attempts are read from notebooks as text alone: nothing of a notebook is run or shown.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aisys.course.slots import TextSlot, find

from .answers import as_attempt, mistake_source, reference_source
from .build import build_lab
from .catalogue import load_catalogue
from .similarity import Source
from .submission import SubmissionError, read_bytes
from .text import keys_of, read_lab

OWN_CELLS = "added cells"
"""Stands for an exercise: what a student wrote into code cells of their own."""


@functools.cache
def sources_of(lab: str) -> dict[str, Source]:
    """What we have of every exercise of a lab, by the names that attempts go by."""
    catalogue, text = load_catalogue(lab), read_lab(lab)
    released = {cell.id: cell for cell in build_lab(lab)[1].cells}
    made = {}
    for cell in text.cells:
        if cell.role != "exercise":
            continue
        keys = keys_of(cell)
        slot = find(keys[0])
        alternatives: dict[str, str] = {}
        for key in keys:
            for entry in catalogue.alternatives_of(key):
                title = entry.title if entry.title not in alternatives else f"{key}: {entry.title}"
                alternatives[title] = as_attempt(key, entry.source)
        made[f"{cell.stage} {cell.name}"] = Source(
            released[cell.id].source,
            "\n\n".join(dict.fromkeys(reference_source(key) for key in keys)),
            alternatives,
            tuple(mistake_source(m) for key in keys for m in catalogue.mistakes_of(key)),
            slot.language if isinstance(slot, TextSlot) else "python",
        )
    code = [cell.source for cell in released.values() if cell.cell_type == "code"]
    made[OWN_CELLS] = Source("\n".join(code))
    return made


def attempts_in(folder: Path, lab: str, students: Iterable[str]) -> dict[str, dict[str, str]]:
    """The attempts of students, by student and exercise; who has no readable notebook is left out.

    Args:
        folder: A folder in nbgrader's layout, `STUDENT/LAB/LAB.ipynb`.
        lab: The lab's name.
        students: Whose notebooks are read.
    """
    found = {}
    for student in students:
        try:
            notebook = json.loads(read_bytes(folder / student / lab / f"{lab}.ipynb"))
        except (SubmissionError, ValueError, RecursionError):
            continue
        cells = notebook.get("cells") if isinstance(notebook, dict) else None
        if isinstance(cells, list):
            found[student] = _attempts(cells, exercise_cells(lab))
    return found


@functools.cache
def exercise_cells(lab: str) -> Mapping[str, str]:
    """For every code cell of a lab its exercise's name, or `""` where it is not the student's."""
    names = {c.id: f"{c.stage} {c.name}" for c in read_lab(lab).cells if c.role == "exercise"}
    return {cell.id: names.get(cell.id, "") for cell in build_lab(lab)[1].cells}


def _attempts(cells: list[Any], exercises: Mapping[str, str]) -> dict[str, str]:
    texts: dict[str, list[str]] = {}
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            source = "".join(map(str, source)) if isinstance(source, list) else source
            name = next((exercises[i] for i in _identities(cell) if i in exercises), OWN_CELLS)
            if name and isinstance(source, str):
                texts.setdefault(name, []).append(source)
    return {name: "\n".join(parts) for name, parts in texts.items()}


def _identities(cell: dict[str, Any]) -> Iterable[str]:
    """The names that a cell may go by in our source."""
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return [name for name in (cell.get("id"), grade_id) if isinstance(name, str)]
