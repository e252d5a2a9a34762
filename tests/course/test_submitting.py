"""`autograder submit`: what is in the saved file, and a receipt with its hash."""

import hashlib
import json
from pathlib import Path

import nbformat
import pytest

from aisys.course.submitting import main, preflight
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


def test_a_cell_with_a_syntax_error_is_not_attempted(saved: Path) -> None:
    notebook = nbformat.read(saved, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "1_3-conv2d_loops")
    cell.source = cell.source.replace("def ", "def (", 1)
    nbformat.write(notebook, saved)
    assert preflight(saved)["exercises"]["1.3 conv2d_loops"] == "not attempted"


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
