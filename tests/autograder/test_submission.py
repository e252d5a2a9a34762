"""Bad input: each kind of broken submission gets its own message and costs only what is missing."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from autograder.bench import Bench
from autograder.submission import Prepared, SubmissionError, prepare, read_submission


@pytest.fixture
def notebook(bench: Bench) -> NotebookNode:
    """A copy of the released notebook."""
    return nbformat.from_dict(json.loads(json.dumps(bench.original)))


def written(folder: Path, text: str) -> Path:
    path = folder / "lab1_autodiff.ipynb"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("my homework", "the file is not JSON"),
        ("[" * 100_000, "the file is not JSON"),
        ("{}", "the file has no cells"),
        ('{"cells": "none"}', "the file has no cells"),
        ('{"cells": []}', "the notebook is empty"),
        ('{"cells": [1]}', "one of its cells is malformed"),
        ('{"cells": [{"cell_type": "code", "source": 5}]}', "the text of one of its cells"),
    ],
)
def test_what_is_no_notebook_is_said_in_one_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError, match=sentence):
        read_submission(written(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="was not submitted"):
        read_submission(tmp_path / "lab1_autodiff.ipynb")


def test_malformed_outputs_and_metadata_are_dropped(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": ["1", "+1"], "outputs": [7, {"output_type": "x"}]}
    read = read_submission(written(tmp_path, json.dumps({"cells": [{**cell, "metadata": 3}]})))
    assert (read.cells[0].source, read.cells[0].outputs) == ("1+1", [])
    assert read.cells[0].metadata == {}


def test_an_untouched_notebook_has_no_flags(notebook: NotebookNode, bench: Bench) -> None:
    prepared = prepare(notebook, bench.original)
    assert prepared.flags == []
    assert [step.id for step in prepared.steps] == [cell.id for cell in bench.original.cells]


def actions(prepared: Prepared) -> dict[str, str]:
    return {step.id: step.action for step in prepared.steps if step.id}


def test_an_edited_locked_cell_is_restored_and_noted(notebook: NotebookNode, bench: Bench) -> None:
    cell = next(cell for cell in notebook.cells if cell.id == "1_3-check")
    cell.source = "3"
    prepared = prepare(notebook, bench.original)
    restored = next(step.cell for step in prepared.steps if step.id == "1_3-check")
    assert restored.source == 'check("1.3")'
    assert prepared.flags == ["The locked cell 1_3-check had been edited; it was restored."]


def test_a_missing_graded_cell_is_put_back_in_its_place(
    notebook: NotebookNode, bench: Bench
) -> None:
    notebook.cells = [cell for cell in notebook.cells if cell.id != "1_4-check"]
    prepared = prepare(notebook, bench.original)
    assert [step.id for step in prepared.steps] == [cell.id for cell in bench.original.cells]
    assert prepared.flags == ["The cell 1_4-check was missing; it was put back."]


def test_a_notebook_of_only_own_cells_gets_all_graded_cells(bench: Bench) -> None:
    own = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    found = actions(prepare(own, bench.original))
    graded = [c.id for c in bench.original.cells if c.metadata["aisys"]["role"] == "check"]
    assert [name for name, action in found.items() if action == "judge"] == graded


def test_duplicate_attempt_cells_both_run_and_duplicate_checks_do_not(
    notebook: NotebookNode, bench: Bench
) -> None:
    doubled = []
    for cell in notebook.cells:
        doubled += [cell, cell] if cell.id in ("1_3-im2col", "1_3-check") else [cell]
    notebook.cells = doubled
    prepared = prepare(notebook, bench.original)
    runs = [step.action for step in prepared.steps if step.id == "1_3-im2col"]
    assert runs == ["run", "run"]
    assert [step.action for step in prepared.steps if step.id == "1_3-check"] == ["judge"]
    assert len({cell.id for cell in prepared.notebook.cells}) == len(prepared.notebook.cells)
    assert "The cell 1_3-im2col occurs twice; both were run, the last one counts." in prepared.flags


def test_an_attempt_of_another_cell_type_is_not_run(notebook: NotebookNode, bench: Bench) -> None:
    for number, cell in enumerate(notebook.cells):
        if cell.id == "1_3-im2col":
            notebook.cells[number] = nbformat.v4.new_markdown_cell(cell.source, id=cell.id)
    prepared = prepare(notebook, bench.original)
    assert actions(prepared)["1_3-im2col"] == "none"
    assert prepared.flags == [
        "The cell 1_3-im2col is a markdown cell; expected a code cell, so it was not run."
    ]


def test_another_kernel_is_noted(notebook: NotebookNode, bench: Bench) -> None:
    notebook.metadata["kernelspec"] = {"name": "ir", "language": "R", "display_name": "R"}
    prepared = prepare(notebook, bench.original)
    assert prepared.flags == ["The notebook names a kernel for R; it was graded with Python."]
    assert prepared.notebook.metadata["kernelspec"]["language"] == "python"


def test_another_version_of_the_course_is_noted(notebook: NotebookNode, bench: Bench) -> None:
    notebook.metadata["aisys"]["version"] = "0.0.9"
    (flag,) = prepare(notebook, bench.original).flags
    assert flag.startswith("The notebook is of version 0.0.9 of the course")


def test_metadata_of_the_submission_decides_nothing(notebook: NotebookNode, bench: Bench) -> None:
    for cell in notebook.cells:
        cell.metadata = {
            "tags": ["skip-execution"],
            "aisys": {"role": "experiment"},
            "nbgrader": {"grade": False, "grade_id": cell.id, "points": 100, "locked": False},
        }
    expected = prepare(bench.original, bench.original)
    prepared = prepare(notebook, bench.original)
    assert actions(prepared) == actions(expected)
    assert [c.metadata for c in prepared.notebook.cells] == [
        c.metadata for c in bench.original.cells
    ]


def test_cells_of_the_students_own_run_without_their_metadata(
    notebook: NotebookNode, bench: Bench
) -> None:
    mine = nbformat.v4.new_code_cell("helper = 1", metadata={"tags": ["skip-execution"]})
    notebook.cells.insert(3, mine)
    prepared = prepare(notebook, bench.original)
    assert prepared.steps[3].action == "run"
    assert prepared.steps[3].cell.metadata == {}
    assert prepared.flags == []
