"""What a student receives: one zip with the notebooks and a wheel of `aisys` that has holes."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .build import build_lab, to_text
from .catalogue import load_catalogue
from .choice import ALL, Choice, chosen, left_out_keys, weighted
from .holes import write_tree
from .text import LABS_FOLDER, REPOSITORY, LabText, lab_number, read_lab
from .visible import visible_recorded
from .wording import number

EPOCH = 315532800  # 1980-01-01, the earliest date that a zip can hold
_DATE = (1980, 1, 1, 0, 0, 0)


class KitError(Exception):
    """A kit cannot be made; the message says why."""


def build_kit(
    out: Path,
    labs: list[str],
    open_keys: Collection[str] = frozenset(),
    choices: Mapping[str, Choice] | None = None,
) -> Path:
    """Make a kit: notebooks, wheel, requirements, and a page on what to do with them.

    The same sources give the same bytes.

    Args:
        out: The zip file to write.
        labs: The labs of the kit, by name.
        open_keys: Exercises that come with their references, such as `"1.5 gradients"`.
        choices: What a course takes of each lab; by default everything.

    Returns:
        The zip file.

    Raises:
        KitError: The wheel cannot be built.
        SourceError: A hole cannot be made.
    """
    names = sorted(set(labs), key=lab_number)
    choice_of = {name: (choices or {}).get(name, ALL) for name in names}
    whole = [read_lab(name) for name in names]
    texts = [weighted(chosen(text, choice_of[text.name]), choice_of[text.name]) for text in whole]
    left_out = [left_out_keys(text, choice_of[text.name]) for text in whole]
    open_keys = frozenset(open_keys).union(*left_out)
    for text in whole:
        visible_recorded(text, load_catalogue(text.name))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files: dict[str, bytes] = {}
    for name in names:
        files |= _lab_files(name, choice_of[name])
    with tempfile.TemporaryDirectory(prefix="aisys-wheel-") as folder:
        wheel = build_wheel(Path(folder), names, open_keys, project)
        files[wheel.name] = wheel.read_bytes()
    files["requirements.txt"] = _requirements(project, wheel.name).encode()
    files["README.md"] = _page(texts, project).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_zip(out, files)
    return out


def build_wheel(
    folder: Path, labs: list[str], open_keys: Collection[str], project: dict[str, Any]
) -> Path:
    """Build the pure wheel of a kit's `aisys`, without the network.

    Args:
        folder: An empty folder to work in; the wheel stays there.
        labs: The labs of the kit, by name.
        open_keys: Exercises that come with their references.
        project: The table `project` of pyproject.toml.

    Raises:
        KitError: pip or setuptools cannot build it.
    """
    sources = folder / "sources"
    write_tree(sources, labs, open_keys)
    version = json.loads((sources / "aisys" / "kit.json").read_text(encoding="utf-8"))["version"]
    (sources / "pyproject.toml").write_text(_pyproject(project, version), encoding="utf-8")
    (sources / "LICENSE").write_bytes((REPOSITORY / "LICENSE").read_bytes())
    for path in sources.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"]
    command += ["--no-index", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*command, str(sources)], env=environment, cwd=folder, capture_output=True, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise KitError(f"pip and setuptools cannot build the wheel: {lines[-1]}")
    return wheels[0]


def _pyproject(project: dict[str, Any], version: str) -> str:
    """The description of the wheel; JSON's strings and lists are TOML's too."""
    table = {
        "name": "aisys",
        "version": version,
        "description": project["description"],
        "requires-python": project["requires-python"],
        "license": project["license"],
        "license-files": ["LICENSE"],
        "dependencies": project["dependencies"],
    }
    return "\n".join(
        [
            "[build-system]",
            'requires = ["setuptools"]',
            'build-backend = "setuptools.build_meta"',
            "[project]",
            *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
            "[project.scripts]",
            'autograder = "aisys.course.submitting:student_main"',
            "[tool.setuptools.packages.find]",
            'include = ["aisys*"]',
            "namespaces = false",
            "[tool.setuptools.package-data]",
            'aisys = ["**/*"]',
            "",
        ]
    )


def _requirements(project: dict[str, Any], wheel: str) -> str:
    lines = ["# Install in this folder: pip install -r requirements.txt"]
    return "\n".join([*lines, *project["dependencies"], f"./{wheel}"]) + "\n"


def _lab_files(name: str, choice: Choice) -> dict[str, bytes]:
    """A lab's notebook, and what lies beside its text: figures and recorded runs."""
    files = {f"labs/{name}/{name}.ipynb": to_text(build_lab(name, choice)[1]).encode()}
    folder = LABS_FOLDER / name
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        ours = path.suffix in (".md", ".ipynb") or any(part[0] in "._" for part in inside.parts)
        if path.is_file() and not ours:
            files[f"labs/{name}/{inside.as_posix()}"] = path.read_bytes()
    return files


def _write_zip(out: Path, files: dict[str, bytes]) -> None:
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            about = zipfile.ZipInfo(name, _DATE)
            about.compress_type, about.create_system = zipfile.ZIP_DEFLATED, 3
            about.external_attr = 0o100644 << 16
            archive.writestr(about, content)
    unfinished.replace(out)


def _page(labs: list[LabText], project: dict[str, Any]) -> str:
    """The kit's README."""
    listed = [
        f"- **{lab.title}**: `labs/{lab.name}/{lab.name}.ipynb`, {_points(lab)}, about "
        f"{_hours(sum(stage.minutes for stage in lab.stages))} of work"
        for lab in labs
    ]
    first = labs[0]
    stage = first.stages[0].stage
    python = str(project["requires-python"]).removeprefix(">=")
    return PAGE.format(labs="\n".join(listed), name=first.name, stage=stage, python=python)


def _points(lab: LabText) -> str:
    """What a lab is worth: in total, by its exercises, and by its written answers."""
    machine = sum(lab.points(stage.stage) for stage in lab.stages)
    written = sum(cell.points for cell in lab.cells if cell.role == "answer")
    if not written:
        return f"{number(machine)} points"
    return (
        f"{number(machine + written)} points ({number(machine)} for exercises, "
        f"{number(written)} for written answers)"
    )


def _hours(minutes: int) -> str:
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


PAGE = """\
# Your kit

{labs}

## Once

Python {python} or newer on Linux (WSL2 counts) or macOS, in this folder:

    python3 -m venv .venv
    source .venv/bin/activate
    pip install -r requirements.txt

On Linux pip's usual index brings torch with CUDA, several GB. To save them, install torch first
from PyTorch's own CPU index; its address is on PyTorch's installation page. No GPU is needed, and
after the installation no network.

## Each time

    source .venv/bin/activate
    jupyter lab labs/{name}/{name}.ipynb

Run the import cell first. Each stage is a question, its idea, one or more exercises, a check, and
an experiment.

- **Write** your code in place of `# YOUR CODE HERE` and run the cell. Its first line, such as
  `@attempt("{stage}")`, puts your code into the course's package: everything that calls the
  function from then on runs yours. Whatever meets an exercise that is not written stops with a
  sentence that names its stage.
- **`check("{stage}")`** runs the stage's visible cases on your code and shows what came back, what
  was expected, and often a hint. Visible cases earn nothing: the points come from other cases,
  which exist only where the notebook is graded.
- **`progress()`** shows stage by stage what is attempted and what passes.
- **`resume()`**, after a restart of the kernel, runs the import cell and all your attempt cells of
  the saved notebook, and no experiment. To have it, run the import cell first.

## What to submit

The notebook, saved, under its own name, such as `{name}.ipynb`. Before that,

    autograder submit labs/{name}/{name}.ipynb

runs what is saved on the visible cases and writes a receipt, with a hash of the file, beside it.

- Helper functions belong into the cell of the attempt that uses them. The grader runs every cell
  in order except the experiments, whose outputs stay as you submit them.
- Locked cells (imports, checks) are put back to their original text before grading.
- Do not delete or copy cells that came with the notebook. You may add cells of your own.
- Written answers replace `YOUR ANSWER HERE`; a person reads and grades them.
"""
