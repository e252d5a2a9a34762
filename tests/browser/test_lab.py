"""A student's session in JupyterLab: check, resume, a wrong signature."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from autograder.answers import mistake_source, reference_source
from autograder.catalogue import load_catalogue
from tests.browser.notebook import Notebook

LAB = "lab1_autodiff"
STAGE = ("1.3 conv2d_loops", "1.3 im2col", "1.3 conv2d_im2col")
CHECK = "1_3-check"
pytestmark = pytest.mark.slow


def cell_of(key: str) -> str:
    """The id of an exercise's cell."""
    return key.replace(".", "_").replace(" ", "-")


def attempt(notebook: Notebook, key: str, source: str) -> None:
    """Write an attempt and run it."""
    notebook.write(cell_of(key), source)
    expect(notebook.run(cell_of(key))).to_have_count(0)


def test_a_check_leads_from_nothing_over_a_mistake_to_a_quiet_pass(notebook: Notebook) -> None:
    notebook.run("imports")
    table = notebook.run(CHECK)
    expect(table).to_contain_text("0 of 3 exercises pass")
    rows = table.locator("table").first.locator("> tbody > tr")
    expect(rows).to_contain_text(["not attempted in this kernel: run its cell"] * 3)

    mistake = next(m for m in load_catalogue(LAB).mistakes_of("1.3 im2col") if "stride" in m.title)
    attempt(notebook, "1.3 im2col", mistake_source(mistake))
    table = notebook.run(CHECK)
    for label in ("case", "input", "got", "expected", "difference"):
        expect(table.locator("td.why", has_text=re.compile(f"^{label}$"))).to_be_visible()
    expect(table.locator(".hint")).to_have_text(mistake.hint)
    expect(table).to_contain_text("array of shape")

    for key in STAGE:
        attempt(notebook, key, reference_source(key))
    table = notebook.run(CHECK)
    expect(table).to_contain_text("Stage 1.3: all visible cases pass")
    expect(table.locator("td.ok", has_text="✓")).to_have_count(3)
    expect(table.locator(".hint, td.why")).to_have_count(0)


def test_after_a_restart_resume_brings_attempts_back_and_runs_no_experiment(
    notebook: Notebook,
) -> None:
    notebook.run("imports")
    for key in STAGE:
        attempt(notebook, key, reference_source(key))
    notebook.write("1_3-experiment-1", "experiment_ran = True")
    notebook.run("1_3-experiment-1")
    notebook.save()
    saved = {cell.id: cell for cell in nbformat.read(notebook.path, as_version=4).cells}
    assert saved["1_3-experiment-1"].source == "experiment_ran = True"

    notebook.restart()
    notebook.run("imports")
    notebook.insert_below("imports", "resume", 'resume()\nprint("experiment_ran" in globals())')
    said = notebook.run("resume")
    expect(said).to_contain_text(f"{notebook.path.name}, as saved ")
    expect(said).to_contain_text("attempt cells are back in place")
    expect(said).to_contain_text("False")
    expect(notebook.run(CHECK)).to_contain_text("Stage 1.3: all visible cases pass")
    notebook.insert_below("resume", "progress", "progress(1)")
    table = notebook.run("progress")
    expect(table.locator("tr", has_text="1.3")).to_contain_text("3 of 3 pass, 3 attempted")
    expect(table.locator("tr", has_text="1.4")).to_contain_text("0 of ")


def test_a_wrong_signature_is_one_sentence_without_a_traceback(notebook: Notebook) -> None:
    notebook.run("imports")
    notebook.write("1_3-im2col", '@attempt("1.3")\ndef im2col(x):\n    return x\n')
    expect(notebook.run("1_3-im2col")).to_have_text(
        "AttemptError: `im2col` takes (x, kernel_height, kernel_width, stride=1, padding=0); "
        "yours takes (x)."
    )
