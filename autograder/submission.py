"""A submitted notebook made ready to run: what is run, skipped and judged is decided by our source.

Locked cells get their original text back, graded cells that are missing are put back, and whatever
was unusual is noted. Nothing in the submission's metadata decides anything.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .harmless import Cleaner, attachments, text

MAX_BYTES = 50 * 1024 * 1024
MOST_CELLS = 2_000
MOST_BRACKETS, MOST_COMMAS = 500_000, 5_000_000
"""So many of each in a file: its lists take many times the memory that its text does."""


class SubmissionError(Exception):
    """There is no notebook to run; the message says what was expected and what came."""


@dataclass(frozen=True)
class Step:
    """What is done with one cell.

    Attributes:
        action: `"run"`, `"skip"`, `"judge"`, `"answer"` or `"none"`.
        cell: The cell of the prepared notebook; running it fills its outputs.
        id: The cell's id in our source, or `""` for a cell that the student added.
        stage: The stage of our source that it belongs to, or `""`.
        keys: The exercise cell's key (a class's name for methods), or `""`.
    """

    action: str
    cell: NotebookNode
    id: str = ""
    stage: str = ""
    key: str = ""


@dataclass
class Prepared:
    """A notebook ready to run, the steps through it, and what was noticed."""

    notebook: NotebookNode
    steps: list[Step] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def written(self) -> list[NotebookNode]:
        """The cells that are the student's own: attempts, written answers, and added cells."""
        return [
            step.cell for step in self.steps if not step.id or step.key or step.action == "answer"
        ]


def read_submission(path: Path) -> NotebookNode:
    """Read a submitted notebook; raises SubmissionError where it is none."""
    return submission_of(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a submitted file; raises SubmissionError where there is none to be read."""
    try:
        if any(place.is_symlink() for place in (path, *path.parents[:2])):
            raise SubmissionError("expected a file; the notebook is a link, which is not followed.")
        if not path.exists():
            raise SubmissionError(f"expected {path.name}, which was not submitted.")
        if not path.is_file():
            raise SubmissionError(f"expected a file; {path.name} is none.")
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size // 2**20
            raise SubmissionError(
                f"the notebook has {size} MB; at most {MAX_BYTES // 2**20} can be read."
            )
        return path.read_bytes()
    except OSError as error:
        raise SubmissionError(f"the file cannot be read: {error.strerror}.") from None


def submission_of(content: bytes) -> NotebookNode:
    """The notebook in the bytes of a file; raises SubmissionError where there is none."""
    if content.count(b"[") + content.count(b"{") > MOST_BRACKETS:
        raise SubmissionError(f"the file holds more than {MOST_BRACKETS:,} lists and dicts.")
    if content.count(b",") > MOST_COMMAS:
        raise SubmissionError(f"the file holds more than {MOST_COMMAS:,} items.")
    try:
        data = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise SubmissionError("expected a notebook; the file is not JSON.") from None
    return as_submission(data)


def as_submission(data: Any) -> NotebookNode:
    """A notebook with only what we read, in its proper types.

    Args:
        data: The notebook as JSON.

    Raises:
        SubmissionError: It is none.
    """
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise SubmissionError("expected a notebook; the file has no cells.")
    if not data["cells"]:
        raise SubmissionError("the notebook is empty: it has no cells.")
    if len(data["cells"]) > MOST_CELLS:
        count = len(data["cells"])
        raise SubmissionError(f"the notebook has {count:,} cells; at most {MOST_CELLS:,} are read.")
    cleaner = Cleaner()
    cells = [_cell(raw, cleaner) for raw in data["cells"]]
    return nbformat.from_dict({**_head(data), "cells": cells})


def prepare(submitted: NotebookNode, original: NotebookNode) -> Prepared:
    """Lay the steps through a submission, cell by cell in its own order.

    Args:
        submitted: The notebook as it came; it is not changed.
        original: The student's notebook of our build, of the submission's version.
    """
    originals = {cell.id: cell for cell in original.cells}
    flags, cleaner = _about_versions(submitted, original), Cleaner()
    notebook = nbformat.from_dict({**original, "cells": []})
    prepared = Prepared(notebook, flags=flags)
    seen: set[str] = set()
    placed: list[tuple[str, NotebookNode]] = []
    for raw in submitted.cells:
        name = _identity(raw, originals)
        ours = originals.get(name)
        if ours is None:
            placed.append(("", _own_cell(raw, cleaner)))
        elif name in seen and _role(ours) != "exercise":
            flags.append(f"A second cell {name} was left out.")
        else:
            if name in seen:
                flags.append(f"The cell {name} occurs twice; both were run, the last one counts.")
            seen.add(name)
            placed.append((name, _restored(raw, ours, flags, cleaner)))
    _put_back_missing(placed, original, seen, flags)
    stage = ""
    for number, (name, cell) in enumerate(placed):
        role = _role(originals[name]) if name else "own"
        if name:
            stage = name.split("-")[0].replace("_", ".")
        cell.id = name if name and all(c.id != name for c in notebook.cells) else f"added-{number}"
        notebook.cells.append(cell)
        key = originals[name].metadata["aisys"].get("exercise", "") if name else ""
        prepared.steps.append(Step(_action(role, cell), cell, name, stage, key))
    return prepared


def is_untouched(cell: NotebookNode, original: NotebookNode) -> bool:
    """Whether a cell is as it was released."""
    return cell.source.strip() == original.source.strip()


def _head(data: dict[str, Any]) -> dict[str, Any]:
    metadata = data.get("metadata")
    return {
        "metadata": metadata if isinstance(metadata, dict) else {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(raw: Any, cleaner: Cleaner) -> dict[str, Any]:
    """One cell with only what we read, in its proper types; its outputs are made harmless."""
    if not isinstance(raw, dict):
        raise SubmissionError("expected a notebook; one of its cells is malformed.")
    source = raw.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise SubmissionError("expected a notebook; the text of one of its cells is malformed.")
    kind = raw.get("cell_type")
    cell: dict[str, Any] = {
        "cell_type": kind if kind in ("code", "markdown", "raw") else "raw",
        "id": text(raw.get("id"), 100),
        "metadata": {"nbgrader": {"grade_id": name}} if (name := _grade_id(raw)) else {},
        "source": text(source, MAX_BYTES),
    }
    if cell["cell_type"] == "code":
        cell["outputs"] = cleaner.outputs(raw.get("outputs"))
        cell["execution_count"] = None
    elif "attachments" in raw:
        cell["attachments"] = attachments(raw["attachments"])
    return cell


def _grade_id(raw: dict[str, Any]) -> str:
    """The only word of a cell's metadata that is read."""
    metadata = raw.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return text(nbgrader.get("grade_id"), 100) if isinstance(nbgrader, dict) else ""


def _identity(cell: NotebookNode, originals: dict[str, NotebookNode]) -> str:
    """The id of our source that a submitted cell goes by."""
    if cell.id in originals:
        return cell.id
    grade_id = _grade_id(cell)
    return grade_id if grade_id in originals else ""


def _role(original: NotebookNode) -> str:
    return str(original.metadata["aisys"]["role"])


def _own_cell(raw: NotebookNode, cleaner: Cleaner) -> NotebookNode:
    """A cell that the student added, without any metadata that could mean something."""
    cell = nbformat.from_dict({**raw, "metadata": {}})
    cleaner.cell(cell)
    if cell.cell_type == "code":
        cell.outputs = []
    return cell


def _restored(
    raw: NotebookNode, ours: NotebookNode, flags: list[str], cleaner: Cleaner
) -> NotebookNode:
    """A submitted cell with our metadata, and with our text where it is locked."""
    cell = nbformat.from_dict({**raw, "metadata": ours.metadata})
    role = _role(ours)
    if role in ("exercise", "experiment", "answer"):
        if raw.cell_type != ours.cell_type:
            flags.append(
                f"The cell {ours.id} is a {raw.cell_type} cell; expected a {ours.cell_type} cell, "
                "so it was not run."
            )
        if role != "experiment" and cell.cell_type == "code":
            cell.outputs = []
        if not is_untouched(cell, ours):
            cleaner.cell(cell)
        elif cell.cell_type == "raw":
            cell.cell_type = "markdown"
        return cell
    if raw.source.strip() != ours.source.strip() or raw.cell_type != ours.cell_type:
        flags.append(f"The locked cell {ours.id} had been edited; it was restored.")
    return nbformat.from_dict(ours)


def _put_back_missing(
    placed: list[tuple[str, NotebookNode]],
    original: NotebookNode,
    seen: set[str],
    flags: list[str],
) -> None:
    """Insert graded and locked cells of our source that the submission lacks, each in its place."""
    before = ""
    for ours in original.cells:
        role = _role(ours)
        if ours.id not in seen and role in ("check", "answer", "imports", "code"):
            names = [name for name, _ in placed]
            place = len(names) - 1 - names[::-1].index(before) + 1 if before in names else 0
            placed.insert(place, (ours.id, nbformat.from_dict(ours)))
            flags.append(f"The cell {ours.id} was missing; it was put back.")
            seen.add(ours.id)
        if ours.id in seen:
            before = ours.id


def _action(role: str, cell: NotebookNode) -> str:
    if role == "check":
        return "judge"
    if role == "answer":
        return "answer"
    if cell.cell_type != "code":
        return "none"
    return "skip" if role == "experiment" else "run"


def _about_versions(submitted: NotebookNode, original: NotebookNode) -> list[str]:
    flags = []
    kernel = submitted.metadata.get("kernelspec")
    language = _word(kernel.get("language", "python")) if isinstance(kernel, dict) else "python"
    if language != "python":
        flags.append(f"The notebook names a kernel for {language}; it was graded with Python.")
    about = submitted.metadata.get("aisys")
    version = _word(about.get("version")) if isinstance(about, dict) else None
    ours = original.metadata["aisys"]
    if isinstance(about, dict) and about.get("lab") not in (None, ours["lab"]):
        named = _word(about.get("lab"))
        flags.append(f"The notebook says that it is {named}; expected {ours['lab']}.")
    if version != ours["version"]:
        flags.append(
            f"The notebook is of version {version} of the course; "
            f"it was graded as {ours['version']}."
        )
    return flags


def _word(value: Any) -> str:
    """A word of the notebook's metadata, which may hold anything."""
    return text(value, 40) or "something else"
