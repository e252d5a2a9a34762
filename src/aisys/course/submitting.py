"""`autograder submit`: a look at the saved notebook before it is handed in, and a receipt.

It works in the student's environment, where there is no grader: the attempts of the *saved* file
are run in a process of their own and the visible cases with them.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aisys

from .apart import how_it_ended
from .errors import CourseError
from .slots import LABS, load_lab, slots

SECONDS = 300
PLACEHOLDER = "YOUR ANSWER HERE"
"""What stands in a written answer's cell before it is answered."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 looked at, 1 could not be, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="autograder submit", description="Look at a saved notebook and write a receipt for it."
    )
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK.ipynb")
    options = parser.parse_args(arguments)
    try:
        found = preflight(options.notebook)
        receipt = write_receipt(options.notebook, found)
    except CourseError as error:
        print(f"autograder submit: {error} {_no_receipt(options.notebook)}", file=sys.stderr)
        return 1
    print(describe(found))
    print(f"Hand in {options.notebook.name}; the receipt is {receipt.name}.")
    return 0


def student_main() -> int:
    """The command `autograder` of a kit, which knows only `submit`."""
    if sys.argv[1:2] != ["submit"]:
        print("autograder: in a kit there is only `autograder submit NOTEBOOK.ipynb`.")
        return 2
    return main(sys.argv[2:])


def preflight(notebook: Path) -> dict[str, Any]:
    """What is in a saved notebook: the attempts, and which of their visible cases pass.

    Args:
        notebook: The saved file.

    Returns:
        `lab`, `version`, `sha256` of the file, and `exercises`: for each key its state, one of
        `"passes"`, `"fails"`, `"blocked"`, `"not written"`, `"not attempted"`; `failed_cells`:
        for exercises whose cell did not run, why; `errors_after`: for exercises whose cell ended
        with an error after the attempt was taken, with which; and `written_answers`: how many are
        `written`, and how many there are in `all`.

    Raises:
        CourseError: The file is no notebook of this course, its cells never end, or they end the
            process that runs them.
    """
    try:
        content = notebook.read_bytes()
        saved = json.loads(content)
        about = saved["metadata"]["aisys"]
        lab = about["lab"]
    except OSError as error:
        raise CourseError(f"{notebook} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(f"{notebook} is no notebook of this course.") from None
    number = next((n for n, package in LABS.items() if lab == f"lab{n}_{package}"), None)
    if number is None:
        raise CourseError(f"{notebook} says that it is {lab!r}, which is no lab of this course.")
    return {
        "lab": lab,
        "version": about.get("version"),
        "sha256": hashlib.sha256(content).hexdigest(),
        **_looked_at(notebook, number),  # refuses what has no cells
        "written_answers": _written_answers(saved.get("cells", [])),
    }


def _written_answers(cells: list[dict[str, Any]]) -> dict[str, int]:
    """How many of a notebook's written answers are written: the placeholder alone is none."""
    texts = [
        "".join(cell["source"])  # a text, or a list of its lines
        for cell in cells
        if cell["metadata"].get("aisys", {}).get("role") == "answer"
    ]
    written = sum(bool(text.replace(PLACEHOLDER, "").strip()) for text in texts)
    return {"written": written, "all": len(texts)}


def _looked_at(notebook: Path, lab: int) -> dict[str, Any]:
    """What the process of its own finds: `exercises`, `failed_cells`, `errors_after`."""
    command = [sys.executable, "-m", "aisys.course.submitting", "--inside", str(notebook)]
    with tempfile.TemporaryDirectory(prefix="aisys-submit-") as folder:
        diary = Path(folder) / "diary.jsonl"
        diary.touch()
        try:
            done = subprocess.run(
                [*command, str(lab), str(diary)], capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            running = _last(diary).get("running", "")
            raise CourseError(
                f"{running or f'the attempts of {notebook.name}'} did not end within the "
                f"{SECONDS} s that the whole notebook has here: "
                f"look for a loop that does not end. {_what_to_do(running)}"
            ) from None
        last = _last(diary)
    if "exercises" in last:
        return last
    said = done.stderr.strip().splitlines()
    if done.returncode == 1 and said:  # an error of Python's
        raise CourseError(f"the attempts of {notebook.name} could not be run: {said[-1]}")
    running = last.get("running", "")
    what = f"{running} ran" if running else "the course was imported, before any cell ran"
    raise CourseError(
        f"the kernel died while {what}: it {how_it_ended(done.returncode)}. {_what_to_do(running)}"
    )


def _what_to_do(running: str) -> str:
    """What to do about what was running, in words of the diary, and what comes of leaving it."""
    advice = "Mend it, save the notebook and run this again."
    if not running:
        return advice
    exercise = re.search(r"(?:\Athe cell| of) (\d+\.\d+ [\w.]+)\Z", running)
    what = exercise[1] if exercise else "that cell"
    return (
        f"{advice} Graded as it is, {what} is given up and earns nothing; "
        "the other exercises are graded."
    )


def _last(diary: Path) -> dict[str, Any]:
    """The last whole entry of a diary, or an empty one."""
    for line in reversed(diary.read_text(encoding="utf-8", errors="replace").splitlines()):
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(line))
    return {}


def describe(found: dict[str, Any]) -> str:
    """The pre-flight in words, one line an exercise."""
    states = found["exercises"]
    passing = sum(state == "passes" for state in states.values())
    lines = [f"{found['lab']}: {passing} of {len(states)} exercises pass their visible cases"]
    if found["version"] != aisys.__version__:
        lines.append(f"The notebook is of version {found['version']}, this is {aisys.__version__}.")
    signs = {"passes": "✓", "fails": "✗", "blocked": "…"}
    for key, state in states.items():
        reason = ""
        if error := found["failed_cells"].get(key):
            reason = f" (its cell did not run: {error})"
        elif error := found["errors_after"].get(key):
            reason = f" (its cell ended with {error}, after the attempt was taken)"
        lines.append(f"  {signs.get(state, '–')} {key}: {state}{reason}")
    answers = found["written_answers"]
    if answers["all"]:
        lines.append(f"{answers['written']} of {answers['all']} written answers")
    lines.append("Points come from hidden cases, when the notebook is graded.")
    lines.append(f"sha256 {found['sha256']}")
    return "\n".join(lines)


def write_receipt(notebook: Path, found: dict[str, Any]) -> Path:
    """Write the receipt beside the notebook: what was in it, its hash, and when."""
    path = _receipt_of(notebook)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    receipt = {"file": notebook.name, "time": now, **found}
    path.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
    return path


def _receipt_of(notebook: Path) -> Path:
    return notebook.parent / f"{notebook.stem}.receipt.json"


def _no_receipt(notebook: Path) -> str:
    """The sentence that no receipt was written, and what an older one beside the notebook is."""
    older = _receipt_of(notebook)
    beside = f"; {older.name} is that of an earlier time" if older.exists() else ""
    return f"No receipt was written{beside}."


def _inside(notebook: str, lab: str, diary: str) -> None:
    """In the process of its own: run the attempts, then report on every exercise.

    What is about to run is written into the diary first, for the case that it ends this process.
    """
    import io

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from .checking import report
    from .failed_cells import error_after_attempt
    from .resuming import run_attempts

    def write(**entry: Any) -> None:
        with open(diary, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    with contextlib.redirect_stdout(io.StringIO()):
        InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        from . import load_ipython_extension

        shell = InteractiveShell.instance()
        load_ipython_extension(shell)
        load_lab(int(lab))
        run_attempts(Path(notebook), shell, lambda name: write(running=f"the cell {name}"))
        stages = list(dict.fromkeys(s.stage for s in slots() if s.stage.startswith(f"{lab}.")))
        states, failed_cells, errors_after = {}, {}, {}
        for entry in (
            entry for stage in stages for entry in report(stage, lambda what: write(running=what))
        ):
            if entry.failed_cell:
                failed_cells[entry.slot.key] = entry.failed_cell
            if error := error_after_attempt(entry.slot):
                errors_after[entry.slot.key] = error
            state = "passes" if entry.passed else "blocked" if entry.blocked_by else "fails"
            if not entry.written:
                state = "not written" if entry.attempted else "not attempted"
            states[entry.slot.key] = state
    write(exercises=states, failed_cells=failed_cells, errors_after=errors_after)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        _inside(*sys.argv[2:5])
    else:
        sys.exit(main())
