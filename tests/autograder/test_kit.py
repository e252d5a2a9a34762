import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

import aisys
from aisys.course.slots import slots
from autograder import kit as kit_module
from autograder.build import build_lab
from autograder.choice import Choice, chosen, weighted
from autograder.holes import SOURCE
from autograder.kit import KitError, build_kit, build_wheel
from autograder.sources import without_markers
from autograder.text import REPOSITORY, read_lab
from tests.support.leaks import leaks

LAB = "lab1_autodiff"
WHEEL = f"aisys-{aisys.__version__}-py3-none-any.whl"

# Runs in the kit's environment: everything but the experiments, and where the kernel found what.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

WHERE = '''
import importlib.util, json, sys, aisys
found = importlib.util.find_spec("autograder")
print(json.dumps({"file": aisys.__file__, "autograder": found is not None, "path": sys.path,
                  "prefix": sys.prefix}))
'''
notebook = nbformat.read(sys.argv[1], as_version=4)
roles = ("imports", "exercise", "check", "code")
notebook.cells = [
    cell for cell in notebook.cells
    if cell.cell_type == "code" and cell.metadata["aisys"]["role"] in roles
]
notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=300).execute()
*cells, where = notebook.cells
said = {
    cell.id: [[output.ename, output.evalue] for output in cell.outputs
              if output.output_type == "error"]
    for cell in cells
}
print(json.dumps({"said": said, "where": json.loads(where.outputs[0].text)}))
"""


@dataclass(frozen=True)
class Place:
    """An unpacked kit and an environment that has nothing of this repository but libraries."""

    folder: Path
    python: Path

    @property
    def notebook(self) -> Path:
        return self.folder / "labs" / LAB / f"{LAB}.ipynb"

    def run(self, notebook: Path) -> tuple[dict[str, list[list[str]]], dict[str, Any]]:
        """Run a notebook: the errors of each cell, and where the kernel found `aisys`."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        environment = {
            **kept,
            "PATH": os.pathsep.join([str(self.python.parent), "/usr/bin", "/bin"]),
            "HOME": str(self.folder.parent),
            "NBGRADER_EXECUTION": "validate",  # so that a check that fails raises
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [self.python, "-c", RUN, notebook.name],
            cwd=notebook.parent,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        return answer["said"], answer["where"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_kit(tmp_path_factory.mktemp("kit") / "kit.zip", [LAB])


@pytest.fixture(scope="module")
def place(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("student")
    with zipfile.ZipFile(archive) as unpacked:
        unpacked.extractall(root / "kit")
    venv.create(root / "venv", symlinks=True)
    python = root / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    install += ["--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*install, root / "kit" / WHEEL], check=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # The libraries of this environment; its own .pth files, such as our editable install, are not
    # read there.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(packages) / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return Place(root / "kit", python)


def checks_of(said: dict[str, list[list[str]]]) -> dict[str, list[list[str]]]:
    return {name: errors for name, errors in said.items() if name.endswith("-check")}


@pytest.mark.slow
def test_a_kit_is_notebooks_a_wheel_requirements_and_a_page(archive: Path) -> None:
    with zipfile.ZipFile(archive) as kit:
        assert kit.namelist() == [
            "README.md",
            WHEEL,
            f"labs/{LAB}/{LAB}.ipynb",
            "requirements.txt",
        ]
        requirements = kit.read("requirements.txt").decode().splitlines()
        page = kit.read("README.md").decode()
        notebook = nbformat.reads(kit.read(f"labs/{LAB}/{LAB}.ipynb").decode(), as_version=4)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert requirements[1:] == [*project["dependencies"], f"./{WHEEL}"]
    assert f"labs/{LAB}/{LAB}.ipynb" in page and len(page.splitlines()) < 70
    for said in ("pip install -r requirements.txt", "check(", "progress()", "resume()", "submit"):
        assert said in page
    assert "{" not in page
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
def test_no_line_of_a_solution_is_in_a_kit(place: Place, tmp_path: Path) -> None:
    with zipfile.ZipFile(place.folder / WHEEL) as wheel:
        wheel.extractall(tmp_path / "wheel")
    for folder in (tmp_path / "wheel", place.folder):
        assert leaks(folder, SOURCE / "aisys", lambda key: key.startswith("1.")) == []


@pytest.mark.slow
def test_the_wheel_is_pure_and_names_the_dependencies(place: Place) -> None:
    with zipfile.ZipFile(place.folder / WHEEL) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"aisys-{aisys.__version__}.dist-info/METADATA").decode()
    assert {f"aisys/outcomes/{LAB}.msgpack", "aisys/kit.json", "aisys/course/slots.py"} <= {*names}
    assert {name.split("/")[0] for name in names} == {
        "aisys",
        f"aisys-{aisys.__version__}.dist-info",
    }
    assert "Requires-Dist: torch<3,>=2.10" in metadata
    assert "Requires-Python: >=3.11" in metadata


@pytest.mark.slow
def test_every_check_fails_on_the_skeleton_in_an_environment_without_this_repository(
    place: Place,
) -> None:
    said, where = place.run(place.notebook)
    assert Path(where["file"]).is_relative_to(place.folder.parent / "venv")
    assert Path(where["prefix"]) == place.folder.parent / "venv"
    assert not where["autograder"]
    assert not {str(REPOSITORY), str(REPOSITORY / "src")} & set(where["path"])
    checks = checks_of(said)
    assert len(checks) >= 3
    for name, errors in checks.items():
        assert [error[0] for error in errors] == ["CheckFailed"], name
        assert "does not pass yet" in errors[0][1]
    assert all(not errors for name, errors in said.items() if name not in checks)


@pytest.mark.slow
def test_every_check_passes_with_the_reference_pasted_in(place: Place) -> None:
    reference = {cell.id: cell for cell in build_lab(LAB)[0].cells}
    notebook = nbformat.read(place.notebook, as_version=4)
    pasted = 0
    for cell in notebook.cells:
        if cell.metadata["aisys"]["role"] == "exercise":
            cell.source = without_markers(reference[cell.id].source)
            pasted += 1
    path = place.notebook.with_name("solved.ipynb")
    nbformat.write(notebook, path)
    said, _ = place.run(path)
    assert pasted > 10 and len(checks_of(said)) >= 3
    assert {name: errors for name, errors in said.items() if errors} == {}


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = build_kit(tmp_path / "deeper" / "again.zip", [LAB, LAB])
    assert again.read_bytes() == archive.read_bytes()


def test_the_page_counts_the_exercises_and_the_written_answers() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lab = read_lab(LAB)
    machine = sum(slot.points for slot in slots() if slot.key in lab.keys())
    written = sum(cell.points for cell in lab.cells if cell.role == "answer")
    assert machine > 0 and written > 0
    said = "{:g} points ({:g} for exercises, {:g} for written answers), about "
    page = kit_module._page([lab], project)
    assert said.format(machine + written, machine, written) in page
    answer = next(cell for cell in lab.cells if cell.role == "answer")
    choice = Choice((answer.stage,), {answer.stage: 2.0})
    of_stage = 2 * sum(slot.points for slot in slots(answer.stage))
    page = kit_module._page([weighted(chosen(lab, choice), choice)], project)
    assert said.format(of_stage + answer.points, of_stage, answer.points) in page
    bare = replace(lab, cells=tuple(cell for cell in lab.cells if cell.role != "answer"))
    assert f"`, {machine:g} points, about " in kit_module._page([bare], project)


def test_a_wheel_that_cannot_be_built_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(folder: Path, labs: list[str], opened: frozenset[str]) -> Path:
        (folder / "aisys").mkdir(parents=True)
        (folder / "aisys" / "kit.json").write_text('{"version": "no version at all"}')
        return folder

    monkeypatch.setattr(kit_module, "write_tree", nothing)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    with pytest.raises(KitError, match="^pip and setuptools cannot build the wheel: .+") as error:
        build_wheel(tmp_path / "work", [LAB], frozenset(), project)
    assert "\n" not in str(error.value)
