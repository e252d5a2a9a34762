"""`resume`: after a kernel restart, put the attempts of the saved notebook back."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import CourseError
from .shell import current_shell
from .slots import YOUR_CODE


def resume(notebook: str | os.PathLike[str] | None = None) -> None:
    """Run the import cell, provided code and every attempt of the saved notebook, no experiment.

    Args:
        notebook: The notebook's file; by default the one that this kernel belongs to.

    Raises:
        CourseError: There is no kernel here, or the notebook cannot be found or read.
    """
    shell = current_shell()
    if shell is None:
        raise CourseError("resume() runs the cells of a notebook: call it in a notebook's kernel.")
    run_attempts(Path(notebook) if notebook is not None else _own_notebook(shell.user_ns), shell)


def run_attempts(
    path: Path, shell: Any, starting: Callable[[str], None] = lambda name: None
) -> None:
    """Run what `resume` runs of a notebook, and print what came of it.

    Args:
        path: The notebook's file.
        shell: The IPython shell that runs its cells.
        starting: Called with a cell's name before it runs.

    Raises:
        CourseError: The notebook cannot be read.
    """
    import nbformat  # heavy, and needed only here

    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception as error:
        raise CourseError(f"{path} cannot be read as a notebook: {error}") from None
    ran: list[str] = []
    untouched = 0
    failed: list[str] = []
    for cell in cells:
        role = cell.metadata.get("aisys", {}).get("role", "")
        is_provided = role in ("imports", "code")
        is_written = role not in ("experiment", "check") and is_attempt(cell.source)
        if cell.cell_type != "code" or not (is_provided or is_written):
            continue
        name = _name(cell)
        starting(name)
        result = shell.run_cell(cell.source, store_history=True)
        if is_written or not result.success:
            (ran if result.success else failed).append(name)
            untouched += is_written and YOUR_CODE in cell.source
    saved = _how_long_ago(path.stat().st_mtime)
    verb = "is" if untouched == 1 else "are"
    empty = f" ({untouched} of them {verb} not written yet)" if untouched else ""
    print(f"{path.name}, as saved {saved}: {len(ran)} attempt cells are back in place{empty}.")
    if failed:
        print(f"These raised an error: {', '.join(failed)}.")


def _name(cell: Any) -> str:
    """A cell's exercise, its id, or the first line of a cell that the student added."""
    about = cell.metadata.get("aisys", {})
    added = repr(cell.source.strip().partition("\n")[0][:60])
    return str(about.get("exercise") or (cell.id if about else added))


def _how_long_ago(saved: float) -> str:
    """The moment a file was saved, for somebody who may have typed since."""
    minutes = round((time.time() - saved) / 60)
    clock = time.strftime("%H:%M", time.localtime(saved))
    if minutes < 1:
        return f"at {clock}, just now"
    if minutes < 120:
        return f"at {clock}, {minutes} minute{'s' if minutes > 1 else ''} ago"
    return time.strftime("on %Y-%m-%d at %H:%M", time.localtime(saved))


def is_attempt(source: str) -> bool:
    """Whether a cell holds an attempt."""
    return re.search(r"\A\s*%%attempt\b|^@([\w.]+\.)?attempt\(", source, re.MULTILINE) is not None


def _own_notebook(namespace: dict[str, object]) -> Path:
    """The file of the notebook whose kernel this is, as its front end tells."""
    for named in (namespace.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if named and Path(str(named)).is_file():
            return Path(str(named))
        if named and Path(Path(str(named)).name).is_file():
            return Path(Path(str(named)).name)
    ours = [
        p
        for p in sorted(Path.cwd().glob("*.ipynb"))
        if '"aisys"' in p.read_text("utf-8", "replace")
    ]
    if len(ours) == 1:
        return ours[0]
    raise CourseError(
        "The notebook of this kernel cannot be told from its folder: "
        'name it, as in resume("lab1_autodiff.ipynb").'
    )
