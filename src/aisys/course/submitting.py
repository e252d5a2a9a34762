"""`autograder submit`: a look at the saved notebook before it is handed in, and a receipt.

It works in the student's environment, where there is no grader: the attempts of the *saved* file
are run in a process of their own and the visible cases with them.
"""

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aisys

from .errors import CourseError
from .slots import LABS, load_lab, slots

SECONDS = 300


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
        print(f"autograder submit: {error}", file=sys.stderr)
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
        `"passes"`, `"fails"`, `"blocked"`, `"not written"`, `"not attempted"`.

    Raises:
        CourseError: The file is no notebook of this course, or its cells never end.
    """
    try:
        content = notebook.read_bytes()
        about = json.loads(content)["metadata"]["aisys"]
        lab = about["lab"]
    except OSError as error:
        raise CourseError(f"{notebook} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(f"{notebook} is no notebook of this course.") from None
    number = next((n for n, package in LABS.items() if lab == f"lab{n}_{package}"), None)
    if number is None:
        raise CourseError(f"{notebook} says that it is {lab!r}, which is no lab of this course.")
    command = [sys.executable, "-m", "aisys.course.submitting", "--inside", str(notebook)]
    try:
        done = subprocess.run(
            [*command, str(number)], capture_output=True, text=True, timeout=SECONDS
        )
        exercises = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise CourseError(
            f"the attempts of {notebook.name} did not end within {SECONDS} s: "
            "look for a cell with a loop that does not end."
        ) from None
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CourseError(f"the attempts of {notebook.name} could not be run: {last}") from None
    return {
        "lab": lab,
        "version": about.get("version"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "exercises": exercises,
    }


def describe(found: dict[str, Any]) -> str:
    """The pre-flight in words, one line an exercise."""
    states = found["exercises"]
    passing = sum(state == "passes" for state in states.values())
    lines = [f"{found['lab']}: {passing} of {len(states)} exercises pass their visible cases"]
    if found["version"] != aisys.__version__:
        lines.append(f"The notebook is of version {found['version']}, this is {aisys.__version__}.")
    signs = {"passes": "✓", "fails": "✗", "blocked": "…"}
    lines += [f"  {signs.get(state, '–')} {key}: {state}" for key, state in states.items()]
    lines.append("Points come from hidden cases, when the notebook is graded.")
    lines.append(f"sha256 {found['sha256']}")
    return "\n".join(lines)


def write_receipt(notebook: Path, found: dict[str, Any]) -> Path:
    """Write the receipt beside the notebook: what was in it, its hash, and when."""
    path = notebook.with_suffix(".receipt.json")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    receipt = {"file": notebook.name, "time": now, **found}
    path.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
    return path


def _inside(notebook: str, lab: str) -> None:
    """In the process of its own: run the attempts, then report on every exercise."""
    import contextlib
    import io

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from .checking import report
    from .resuming import resume

    with contextlib.redirect_stdout(io.StringIO()):
        InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        from . import load_ipython_extension

        load_ipython_extension(InteractiveShell.instance())
        load_lab(int(lab))
        resume(notebook)
        stages = list(dict.fromkeys(s.stage for s in slots() if s.stage.startswith(f"{lab}.")))
        states = {}
        for entry in (entry for stage in stages for entry in report(stage)):
            state = "passes" if entry.passed else "blocked" if entry.blocked_by else "fails"
            if not entry.written:
                state = "not written" if entry.attempted else "not attempted"
            states[entry.slot.key] = state
    print(json.dumps(states))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        _inside(*sys.argv[2:4])
    else:
        sys.exit(main())
