"""A sample class, made from the catalogue: what `make demo` grades.

Nothing of it is stored: a perfect student, one who writes differently, typical mistakes, the
untouched skeleton, an attempt that ends its kernel, one that never ends, and a file that is no
notebook.
"""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from aisys.course.slots import slots

from .answers import as_attempt, mistake_source, reference_source
from .build import build_lab, to_text
from .catalogue import Catalogue, load_catalogue
from .text import LabText, answer_id, keys_of, read_lab

MISTAKEN_STUDENTS = ("grace", "edsger", "barbara")
MISTAKES_EACH = 3


def fill(original: NotebookNode, lab: LabText, attempts: dict[str, str]) -> NotebookNode:
    """A student's notebook with attempts written into its exercise cells.

    Args:
        original: The notebook as it is released.
        lab: The lab's text.
        attempts: Texts of attempt cells by exercise key; what is not named stays as it is.
    """
    notebook = nbformat.from_dict(nbformat.reads(nbformat.writes(original), as_version=4))
    cells = {cell.id: cell for cell in notebook.cells}
    for entry in lab.cells:
        if entry.role != "exercise":
            continue
        written = [attempts[key] for key in keys_of(entry) if key in attempts]
        if written:
            cells[entry.id].source = "\n\n".join(dict.fromkeys(text.strip() for text in written))
    return notebook


def answered(notebook: NotebookNode, catalogue: Catalogue) -> NotebookNode:
    """The notebook with the model answers in its written answers."""
    for cell in notebook.cells:
        if cell.metadata["aisys"]["role"] == "answer":
            cell.source = next(
                (text for name, text in catalogue.answers.items() if cell.id == answer_id(name)),
                cell.source,
            )
    return notebook


def write_sample_class(folder: Path, labs: list[str]) -> list[str]:
    """Write the sample class in nbgrader's layout; returns the students' names."""
    students: list[str] = []
    for name in labs:
        lab, catalogue = read_lab(name), load_catalogue(name)
        original = build_lab(name)[1]
        for student, text in _submissions(lab, catalogue, original).items():
            path = folder / student / name / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if student not in students:
                students.append(student)
    return students


def _submissions(lab: LabText, catalogue: Catalogue, original: NotebookNode) -> dict[str, str]:
    perfect = {key: reference_source(key) for key in lab.keys()}
    different = {
        key: as_attempt(key, catalogue.alternatives_of(key)[0].source) for key in lab.keys()
    }
    made = {
        "ada-perfect": answered(fill(original, lab, perfect), catalogue),
        "alan-differently": answered(fill(original, lab, different), catalogue),
        "hal-crashes": fill(
            original, lab, perfect | _spoiled(lab, perfect, "import os; os._exit(1)")
        ),
        "ivan-hangs": fill(original, lab, perfect | _spoiled(lab, perfect, "while True: pass")),
        "nobody-skeleton": original,
    }
    for number, student in enumerate(MISTAKEN_STUDENTS):
        made[f"{student}-mistaken"] = fill(
            original, lab, perfect | _mistaken(lab, catalogue, number)
        )
    texts = {student: to_text(notebook) for student, notebook in made.items()}
    texts["zoe-no-notebook"] = "This is my homework. Sorry, the notebook is on my other computer.\n"
    return texts


def _mistaken(lab: LabText, catalogue: Catalogue, number: int) -> dict[str, str]:
    """A few mistakes for one student, spread over the lab's stages."""
    keys = [key for key in lab.keys() if len(catalogue.mistakes_of(key)) > number % 2]
    chosen = keys[number :: max(1, len(keys) // MISTAKES_EACH)][:MISTAKES_EACH]
    return {
        key: mistake_source(catalogue.mistakes_of(key)[number % len(catalogue.mistakes_of(key))])
        for key in chosen
    }


def _spoiled(lab: LabText, perfect: dict[str, str], statement: str) -> dict[str, str]:
    """The lab's first function with a statement as the first of its body."""
    kinds = {slot.key: slot.kind for slot in slots()}
    key = next(key for key in lab.keys() if kinds[key] == "function")
    lines = perfect[key].splitlines()
    end = max(i for i, line in enumerate(lines) if line.strip().endswith('"""'))
    return {key: "\n".join([*lines[: end + 1], f"    {statement}", *lines[end + 1 :]]) + "\n"}
