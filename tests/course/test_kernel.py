"""The same in a real kernel, as JupyterLab starts it."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import aisys

from .conftest import SUPPORT

IMPORTS = """import subprocess, sys
import sample99.exercises
from aisys.course import attempt, check, export_attempts, resume, whole_system
"""
SCALE = """def helper(x):
    return x["nothing"]


@attempt("99.1")
def scale(x, factor=2.0):
    return helper(x) if factor == 0.5 else x * factor
"""
RECORD = """import pathlib
from aisys.course import outcomes, probes, slots
import sample99.checks
path = pathlib.Path("outcomes.msgpack")
records = {
    outcomes.case_key(probe, case): outcomes.Recorded(probes.run_case(probe, case), (), ())
    for slot in slots.slots("99.1") for probe in probes.probes_of(slot.key) for case in probe.cases
}
outcomes.write_outcomes(path, records)
outcomes.outcomes_file = lambda lab: path
"""
EXPORT = """import os
environment = {**os.environ, "AISYS_ATTEMPTS": str(export_attempts())}
code = "import aisys; from sample99.exercises import kernel, scale; print(scale(7), kernel.text)"
print(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True))
"""


def run(folder: Path, *sources: str) -> list[Any]:
    """The outputs of cells in a fresh kernel that works in a folder."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    path = os.pathsep.join([str(Path(aisys.__file__).parents[1]), str(SUPPORT)])
    environment = {**os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")}
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
def test_a_notebooks_whole_life_in_a_kernel(tmp_path: Path) -> None:
    outputs = run(
        tmp_path,
        IMPORTS,
        RECORD,
        SCALE,
        "%%attempt 99.5 kernel\nmy text",
        "check('99.1')",
        "@attempt('99.1')\ndef shift(x):\n    return x",
        EXPORT,
        "with whole_system('a test'):\n    sample99.exercises.pipeline([1.0])",
    )
    assert outputs[0] == outputs[1] == outputs[2] == outputs[3] == []
    (shown,) = outputs[4]
    assert "Cell In[3], line 7, in scale" in shown.data["text/plain"]
    assert "Cell In[3], line 2, in helper" in shown.data["text/plain"]
    assert "<table>" in shown.data["text/html"]
    (error,) = outputs[5]
    assert error.traceback == ["AttemptError: `shift` takes (x, *, by=1.0); yours takes (x)."]
    assert "14.0 my text" in outputs[6][0].text
    assert "your code: 99.1 scale" in outputs[7][0].data["text/plain"]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["await nothing\n" + SCALE, SCALE + "\n)"])
def test_a_cell_that_did_not_run_is_told_in_a_kernel(tmp_path: Path, broken: str) -> None:
    outputs = run(tmp_path, IMPORTS, RECORD, SCALE, broken, "check('99.1')", SCALE, "check('99.1')")
    (error,), (told,), (quiet,) = outputs[3], outputs[4], outputs[6]
    assert f"Its latest cell did not run ({error.ename}" in told.data["text/plain"]
    assert "the last version that did" in told.data["text/html"]
    assert "did not run" not in quiet.data["text/plain"]


@pytest.mark.slow
def test_resume_after_a_restart_in_a_kernel(tmp_path: Path) -> None:
    saved = nbformat.v4.new_notebook(metadata={"aisys": {"lab": "lab99"}})
    for role, source in [
        ("imports", IMPORTS),
        ("exercise", SCALE),
        ("experiment", "experiment = True"),
        ("exercise", "%%attempt 99.5 kernel\nmy text"),
    ]:
        saved.cells.append(nbformat.v4.new_code_cell(source, metadata={"aisys": {"role": role}}))
    nbformat.write(saved, tmp_path / "lab99.ipynb")
    outputs = run(
        tmp_path,
        "from aisys.course import resume\nresume()",
        "print('experiment' in globals(), sample99.exercises.kernel.text)",
        EXPORT,
    )
    assert "lab99.ipynb" in outputs[0][0].text
    assert outputs[0][0].text.endswith("2 attempt cells are back in place.\n")
    assert outputs[1][0].text.split() == ["False", "my", "text"]
    assert "14.0 my text" in outputs[2][0].text
