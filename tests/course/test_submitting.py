"""`autograder submit`: what is in the saved file, and a receipt with its hash."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest

from aisys.course.probes import probes_of
from aisys.course.submitting import main
from autograder.answers import mistake_source, reference_source
from autograder.bench import Bench
from autograder.sample import fill

pytestmark = pytest.mark.slow


@pytest.fixture
def saved(bench: Bench, tmp_path: Path) -> Path:
    """A saved notebook: one exercise right, one wrong, one that calls it, the rest untouched."""
    mistake = bench.key.catalogue.mistakes_of("1.3 im2col")[0]
    attempts = {
        "1.3 conv2d_loops": reference_source("1.3 conv2d_loops"),
        "1.3 im2col": mistake_source(mistake),
        "1.3 conv2d_im2col": reference_source("1.3 conv2d_im2col"),
    }
    path = tmp_path / "lab1_autodiff.ipynb"
    nbformat.write(fill(bench.original, bench.lab, attempts), path)
    return path


def test_the_preflight_says_what_passes_and_the_receipt_holds_the_files_hash(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(saved)]) == 0
    said = capsys.readouterr().out
    assert "✓ 1.3 conv2d_loops: passes" in said
    assert "✗ 1.3 im2col: fails" in said
    assert "… 1.3 conv2d_im2col: blocked" in said
    assert "– 1.5 gradients: not written" in said
    receipt = json.loads(saved.with_suffix(".receipt.json").read_text())
    assert receipt["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert receipt["exercises"]["1.3 conv2d_loops"] == "passes"


ANSWERS = (
    ("A real answer.", 1),
    ("YOUR ANSWER HERE\n\nA real answer below it.", 1),
    ("YOUR ANSWER HERE ", 0),
    (" \n", 0),
)


@pytest.mark.parametrize(("answer", "written"), ANSWERS)
def test_written_answers_are_counted_and_the_receipt_holds_the_numbers(
    answer: str, written: int, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(saved, as_version=4)
    cells = [cell for cell in notebook.cells if cell.metadata["aisys"]["role"] == "answer"]
    assert len(cells) > 1
    cells[0].source = answer
    nbformat.write(notebook, saved)
    assert main([str(saved)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{written} of {len(cells)} written answers" in lines
    receipt = json.loads(saved.with_suffix(".receipt.json").read_text())
    assert receipt["written_answers"] == {"written": written, "all": len(cells)}


def test_a_notebook_without_written_answers_says_nothing_of_them(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(saved, as_version=4)
    notebook.cells = [c for c in notebook.cells if c.metadata["aisys"]["role"] != "answer"]
    nbformat.write(notebook, saved)
    assert main([str(saved)]) == 0
    assert "written answers" not in capsys.readouterr().out


def change(saved: Path, before: str, after: str) -> None:
    """Change the text of the cell of 1.3 conv2d_loops."""
    notebook = nbformat.read(saved, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "1_3-conv2d_loops")
    assert before in cell.source
    cell.source = cell.source.replace(before, after, 1)
    nbformat.write(notebook, saved)


def test_a_cell_with_a_syntax_error_is_not_attempted_and_the_error_is_said(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(saved, "def ", "def (")
    assert main([str(saved)]) == 0
    assert (
        "– 1.3 conv2d_loops: not attempted "
        "(its cell did not run: SyntaxError in line 2: invalid syntax)"
    ) in capsys.readouterr().out
    receipt = json.loads(saved.with_suffix(".receipt.json").read_text())
    assert receipt["exercises"]["1.3 conv2d_loops"] == "not attempted"


def test_an_error_after_the_attempt_was_taken_is_said(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(saved, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "1_3-conv2d_loops")
    cell.source += "\n\nprint(undefined_helper)"
    nbformat.write(notebook, saved)
    assert main([str(saved)]) == 0
    error = "NameError: name 'undefined_helper' is not defined"
    assert (
        f"✓ 1.3 conv2d_loops: passes (its cell ended with {error}, after the attempt was taken)"
    ) in capsys.readouterr().out
    receipt = json.loads(saved.with_suffix(".receipt.json").read_text())
    assert receipt["failed_cells"] == {}
    assert receipt["errors_after"] == {"1.3 conv2d_loops": error}


DEATHS = {
    "os.kill(os.getpid(), 9)": "was ended by SIGKILL, as happens where memory runs out: "
    "look for what needs too much of it",
    "os._exit(0)": "ended with status 0",
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_cell_that_ends_the_kernel_is_named_with_what_to_do(
    how: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(saved, "@attempt", f"import os\nprint('{{}}')\n{how}\n@attempt")
    assert main([str(saved)]) == 1
    assert capsys.readouterr().err == (
        "autograder submit: the kernel died while the cell 1.3 conv2d_loops ran: "
        f"it {DEATHS[how]}. Mend it, save the notebook and run this again. "
        "Graded as it is, 1.3 conv2d_loops is given up and earns nothing; "
        "the other exercises are graded. No receipt was written.\n"
    )
    assert not saved.with_suffix(".receipt.json").exists()


def test_a_receipt_of_an_earlier_time_is_told_from_the_one_that_is_not_written(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = saved.with_suffix(".receipt.json")
    older.write_text("{}")
    change(saved, "@attempt", "import os\nos._exit(0)\n@attempt")
    assert main([str(saved)]) == 1
    assert capsys.readouterr().err.endswith(
        "No receipt was written; lab1_autodiff.receipt.json is that of an earlier time.\n"
    )
    assert older.read_text() == "{}"


def test_a_cell_of_no_known_exercise_that_ends_the_kernel_is_called_that_cell(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(saved, as_version=4)
    source = "import os; os._exit(0)\n@attempt('1.3')\ndef im2col(): pass"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, saved)
    assert main([str(saved)]) == 1
    said = capsys.readouterr().err
    assert "while the cell 'import os; os._exit(0)' ran" in said
    assert "Graded as it is, that cell is given up" in said


def test_a_case_that_ends_the_kernel_is_named(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(saved, '    """', '    __import__("os").abort()\n    """')
    assert main([str(saved)]) == 1
    said = capsys.readouterr().err
    case = probes_of("1.3 conv2d_loops")[0].cases[0]
    assert f"the kernel died while the case “{case.name}” of 1.3 conv2d_loops ran" in said
    assert "it was ended by SIGABRT" in said
    assert "Graded as it is, 1.3 conv2d_loops is given up" in said


def test_what_runs_when_the_time_is_over_is_named(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends(command: list[str], **about: Any) -> None:
        Path(command[-1]).write_text('{"running": "the cell 1.3 im2col"}\n{"running": "the')
        raise subprocess.TimeoutExpired(command, 300)

    monkeypatch.setattr(subprocess, "run", never_ends)
    assert main([str(saved)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "autograder submit: the cell 1.3 im2col did not end within the 300 s that the whole "
        "notebook has here: look for a loop that does not end. Mend it"
    )
    assert "Graded as it is, 1.3 im2col is given up" in said


def test_a_death_before_any_cell_blames_no_exercise(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(command: list[str], **about: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 3, "", "")

    monkeypatch.setattr(subprocess, "run", dies)
    assert main([str(saved)]) == 1
    assert capsys.readouterr().err == (
        "autograder submit: the kernel died while the course was imported, before any cell ran: "
        "it ended with status 3. Mend it, save the notebook and run this again. "
        "No receipt was written.\n"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("homework", "is no notebook of this course"),
        ('{"metadata": {}}', "is no notebook of this course"),
        ('{"metadata": {"aisys": {"lab": "lab9_x"}}}', "which is no lab of this course"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(
    content: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.ipynb"
    path.write_text(content)
    assert main([str(path)]) == 1
    assert main([str(tmp_path / "missing.ipynb")]) == 1
    assert main(["."]) == 1
    said = capsys.readouterr().err.splitlines()
    assert sentence in said[0]
    assert len(said) == 3
    assert all(line.endswith(" No receipt was written.") for line in said)
