"""`autograder submit`: what is in the saved file, and a receipt with its hash."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest

from aisys.course import submitting
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
        f"it {DEATHS[how]}. {submitting.WHAT_TO_DO}\n"
    )
    assert not saved.with_suffix(".receipt.json").exists()


def test_a_case_that_ends_the_kernel_is_named(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(saved, '    """', '    __import__("os").abort()\n    """')
    assert main([str(saved)]) == 1
    said = capsys.readouterr().err
    case = probes_of("1.3 conv2d_loops")[0].cases[0]
    assert f"the kernel died while the case “{case.name}” of 1.3 conv2d_loops ran" in said
    assert "it was ended by SIGABRT" in said


def test_what_runs_when_the_time_is_over_is_named(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends(command: list[str], **about: Any) -> None:
        Path(command[-1]).write_text('{"running": "the cell 1.3 im2col"}\n{"running": "the')
        raise subprocess.TimeoutExpired(command, 300)

    monkeypatch.setattr(subprocess, "run", never_ends)
    assert main([str(saved)]) == 1
    assert capsys.readouterr().err.startswith(
        "autograder submit: the cell 1.3 im2col did not end within the 300 s that the whole "
        "notebook has here: look for a loop that does not end. Mend it"
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
    said = capsys.readouterr().err.splitlines()
    assert sentence in said[0]
    assert len(said) == 2
