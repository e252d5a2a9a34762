"""From text and references to notebooks: the nbgrader source, and the student's version of it.

Both are deterministic to the byte: cell ids come from the text, and nothing is dated.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearOutput, ComputeChecksums, LockCells

import aisys
from aisys.course.slots import slots
from aisys.course.submitting import PLACEHOLDER

from .catalogue import Catalogue, load_catalogue
from .choice import ALL, Choice, chosen, weighted
from .clear import ClearSolutions
from .sources import cell_source, import_lines, stub_of
from .text import LABS_FOLDER, REPOSITORY, Cell, LabText, keys_of, lab_names, read_lab

BUILD_FOLDER = REPOSITORY / "build"
COURSE_NAMES = ["attempt", "check", "export_attempts", "progress", "resume", "whole_system"]


def source_notebook(lab: LabText, catalogue: Catalogue) -> NotebookNode:
    """The nbgrader source notebook of a lab: solutions between markers, stubs beside them."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
            "aisys": {"lab": lab.name, "version": aisys.__version__, "title": lab.title},
        }
    )
    notebook.cells = [_notebook_cell(cell, lab, catalogue) for cell in lab.cells]
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def student_notebook(source: NotebookNode) -> NotebookNode:
    """The student's notebook: what `nbgrader generate_assignment` makes of the source."""
    notebook = nbformat.from_dict(nbformat.reads(nbformat.writes(source), as_version=4))
    resources = ResourcesDict()
    for preprocessor in (LockCells(), ClearSolutions(), ClearOutput(), ComputeChecksums()):
        notebook, resources = preprocessor.preprocess(notebook, resources)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    return notebook


def build_lab(name: str, choice: Choice = ALL) -> tuple[NotebookNode, NotebookNode]:
    """The source notebook and the student's notebook of a lab, or of what a course takes of it."""
    lab = weighted(chosen(read_lab(name), choice), choice)
    source = source_notebook(lab, load_catalogue(name))
    return source, student_notebook(source)


def write_lab(name: str) -> list[Path]:
    """Build a lab: its source, its committed student notebook, its recorded visible outcomes.

    Without a C++ compiler, the outcomes of what is written in C++ are left out.
    """
    from .visible import lacking_compiler, record_visible

    source, student = build_lab(name)
    paths = [source_path(name), student_path(name)]
    for path, notebook in zip(paths, (source, student), strict=True):
        write_notebook(path, notebook)
    lab = read_lab(name)
    return [*paths, record_visible(lab, load_catalogue(name), lacking_compiler(lab))]


def stale(name: str) -> str:
    """What is wrong with a lab's committed student notebook, or `""`."""
    path = student_path(name)
    _, student = build_lab(name)
    if not path.exists():
        return f"{path.relative_to(REPOSITORY)} is missing: run `make build`."
    committed = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(committed, as_version=4)
    if any(cell.get("outputs") for cell in notebook.cells):
        return f"{path.relative_to(REPOSITORY)} holds outputs: run `make build`."
    if "BEGIN SOLUTION" in committed:
        return f"{path.relative_to(REPOSITORY)} holds a solution: run `make build`."
    if committed != to_text(student):
        return f"{path.relative_to(REPOSITORY)} is not what its text builds: run `make build`."
    return ""


def source_path(name: str) -> Path:
    """Where the nbgrader source notebook of a lab is built."""
    return BUILD_FOLDER / "source" / name / f"{name}.ipynb"


def student_path(name: str) -> Path:
    """Where the student's notebook of a lab is committed."""
    return LABS_FOLDER / name / f"{name}.ipynb"


def to_text(notebook: NotebookNode) -> str:
    """A notebook as the bytes that are committed."""
    return nbformat.writes(notebook) + "\n"


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook, and the folders above it, unless it is there already."""
    text = to_text(notebook)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def build_all(names: list[str] | None = None) -> list[Path]:
    """Build some labs, or all."""
    return [path for name in names or lab_names() for path in write_lab(name)]


def _notebook_cell(cell: Cell, lab: LabText, catalogue: Catalogue) -> NotebookNode:
    source, stubs = _source_of(cell, lab, catalogue)
    if cell.role in ("text", "answer"):
        made = nbformat.v4.new_markdown_cell(source)
    else:
        made = nbformat.v4.new_code_cell(source)
    made.id = cell.id
    about: dict[str, Any] = {"role": cell.role}
    if cell.role == "exercise":
        about["exercise"] = f"{cell.stage} {cell.name}"
    if stubs:
        about["stubs"] = stubs
    if cell.role == "experiment":
        about["experiment"] = cell.name
    made.metadata = nbformat.from_dict({"aisys": about})
    if cell.role != "experiment":
        made.metadata["nbgrader"] = nbformat.from_dict(_nbgrader(cell, lab))
    return made


def _nbgrader(cell: Cell, lab: LabText) -> dict[str, Any]:
    graded = cell.role in ("check", "answer")
    solution = cell.role in ("exercise", "answer")
    about: dict[str, Any] = {
        "grade": graded,
        "grade_id": cell.id,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if graded:
        about["points"] = cell.points if cell.role == "answer" else lab.points(cell.stage)
    return about


def _source_of(cell: Cell, lab: LabText, catalogue: Catalogue) -> tuple[str, list[str]]:
    """The cell's text in the source notebook, and the stub for each of its solutions."""
    if cell.role == "imports":
        lines = import_lines(lab.import_keys(), {"aisys.course": COURSE_NAMES})
        return "\n".join(lines), []
    if cell.role == "exercise":
        keys = keys_of(cell)
        slot_of = {slot.key: slot for slot in slots(cell.stage)}
        source = cell_source(keys).rstrip("\n")
        if slot_of[keys[0]].kind == "class":
            slot = slot_of[keys[0]]
            return source, [stub_of(slot)] * source.count("BEGIN SOLUTION")
        return source, [stub_of(slot_of[key]) for key in keys]
    if cell.role == "answer":
        answer = catalogue.answers.get(cell.name, "")
        return f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION", [PLACEHOLDER]
    if cell.role == "text" and cell.source.lstrip().startswith("## "):
        return _with_facts(cell, lab), []
    return cell.source, []


def _with_facts(cell: Cell, lab: LabText) -> str:
    """A stage's first cell, with core or optional, minutes and points under its heading."""
    stage = next((s for s in lab.stages if s.stage == cell.stage), None)
    heading, _, rest = cell.source.partition("\n")
    if stage is None or not heading.startswith(f"## {stage.stage} "):
        return cell.source
    written = sum(c.points for c in lab.cells if c.role == "answer" and c.stage == stage.stage)
    extra = f" and {written:g} for the written answer" if written else ""
    points = f"{lab.points(stage.stage):g} points{extra}"
    facts = f"*{stage.kind.capitalize()} · about {stage.minutes} minutes · {points}*"
    return f"{heading}\n\n{facts}\n{rest}"
