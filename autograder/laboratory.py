"""What `make labN` and its sisters do: a student's own copy, its check, the reference's run."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import aisys

from .bench import set_up
from .build import build_lab, student_path, write_notebook
from .graded import Submission, grade_one
from .results import SubmissionResult
from .sources import without_markers
from .text import REPOSITORY, TextError, lab_names, lab_number

WORK_FOLDER = REPOSITORY / "work"


def lab_of(number: int) -> str:
    """The name of the lab with this number; raises TextError where there is none."""
    for name in lab_names():
        if lab_number(name) == number:
            return name
    raise TextError(
        f"There is no lab {number} yet; the labs are {', '.join(lab_names()) or 'none'}."
    )


def own_copy(name: str) -> Path:
    """The student's copy of a lab in `work/`, made on first use and never overwritten."""
    path = WORK_FOLDER / name / f"{name}.ipynb"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(student_path(name), path)
        print(f"Your copy: {path.relative_to(REPOSITORY)}")
        return path
    version = nbformat.read(path, as_version=4).metadata.get("aisys", {}).get("version")
    if version != aisys.__version__:
        print(
            f"{path.relative_to(REPOSITORY)} is of version {version} of the course, this is "
            f"{aisys.__version__}. It is left as it is; to begin again, rename it."
        )
    return path


def open_lab(name: str) -> int:
    """Open the student's copy in JupyterLab; with `LAB_BROWSER=0` without a browser.

    This process becomes JupyterLab, so that Ctrl-C reaches it and its question can be answered.
    """
    path = own_copy(name)
    command = [sys.executable, "-m", "jupyterlab", str(path)]
    if os.environ.get("LAB_BROWSER") == "0":
        command += ["--no-browser", f"--LabApp.default_url=/lab/tree/{path.name}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    os.chdir(path.parent)
    os.execv(command[0], command)


def check_lab(name: str) -> SubmissionResult:
    """Run the attempts of the student's copy headless and judge them on fresh hidden cases."""
    path = own_copy(name)
    with tempfile.TemporaryDirectory(prefix="aisys-kits-") as folder:
        bench = set_up(name, os.urandom(32).hex(), Path(folder))
        return grade_one(Submission("you", name, path), bench).result


def solve_lab(name: str, out: Path, experiments: bool = True) -> SubmissionResult:
    """Execute the reference notebook, experiments included, and judge it.

    Args:
        name: The lab's name.
        out: Receives the executed notebook, `NAME.ipynb`.
        experiments: Whether the experiments run too.

    Raises:
        CellExecutionError: A cell of the reference notebook fails.
    """
    source, _ = build_lab(name)
    for cell in source.cells:
        if cell.cell_type == "code":
            cell.source = without_markers(cell.source).rstrip("\n")
    path = out / f"{name}.ipynb"
    write_notebook(path, source)
    with tempfile.TemporaryDirectory(prefix="aisys-kits-") as folder:
        bench = set_up(name, os.urandom(32).hex(), Path(folder))
        result = grade_one(Submission("reference", name, path), bench).result
        if experiments:
            manager = AsyncKernelManager(transport="ipc", ip=str(Path(folder) / "k"))
            about = {"metadata": {"path": str(out)}}
            NotebookClient(source, km=manager, timeout=1200, resources=about).execute()
            write_notebook(path, source)
    return result
