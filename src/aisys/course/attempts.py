"""The student's side of a slot: `@attempt`, `%%attempt`, and attempts that travel to other processes."""

import ast
import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from .errors import AttemptError
from .slots import Slot, _retarget_super, find, of_stage, slots

T = TypeVar("T")

ENVIRONMENT_VARIABLE = "AISYS_ATTEMPTS"

_extra_members: dict[str, list[str]] = {}


def attempt(stage: str) -> Callable[[T], T]:
    """Put the function or class below into its exercise's slot.

    Args:
        stage: The stage, such as `"1.5"`; the exercise is found by the name of what is decorated.
            A class may hold one or several methods that are exercises of that stage; helper methods
            beside them are added to the class.

    Returns:
        A decorator that gives back the slot itself, so that the notebook's name and the course's
        are one and the same.

    Raises:
        AttemptError: Unknown stage, wrong name, wrong signature, or wrong kind.
    """

    def put(thing: T) -> T:
        of_stage(stage)
        name = getattr(thing, "__name__", repr(thing))
        methods = [s for s in slots(stage) if s.kind == "method" and s.name.startswith(f"{name}.")]
        if isinstance(thing, type) and methods:
            return _fill_methods(stage, thing, methods)  # type: ignore[return-value]
        slot = find(f"{stage} {name}")
        slot.fill(thing, _source(thing))
        return _standing(slot)

    return put


def attempt_text(key: str, text: str) -> None:
    """Put a text into its exercise's slot; what `%%attempt` does with its cell."""
    find(key).fill(text, text)


def attempt_magic(line: str, cell: str) -> None:
    """The cell magic `%%attempt STAGE NAME` for exercises in another language."""
    key = " ".join(line.split())
    if " " not in key:
        raise AttemptError(f"Begin the cell with `%%attempt STAGE NAME`; this says {line!r}.")
    slot = find(key)
    if slot.kind != "text":
        raise AttemptError(f"{key} is Python: write it below `@attempt({slot.stage!r})`.")
    attempt_text(key, cell)


def export_attempts(path: str | os.PathLike[str] = "attempts.py") -> Path:
    """Write every attempt of this process into a Python file that another process can load.

    Importing `aisys` loads the file that the environment variable `AISYS_ATTEMPTS` names. The file
    holds the cells as they were written, with the import statements that ran before them.

    Returns:
        The file's absolute path.
    """
    target = Path(path).resolve()
    filled = [slot for slot in slots() if slot.attempt is not None]
    lines = ["from aisys.course import attempt, attempt_text"]
    lines += _imports_so_far()
    cells: list[str] = []
    for slot in filled:
        text = (
            f"attempt_text({slot.key!r}, {slot.source!r})"
            if slot.kind == "text"
            else _definitions(slot.source or "", slot)
        )
        if text not in cells:
            cells.append(text)
    target.write_text("\n".join(lines) + "\n\n\n" + "\n\n\n".join(cells) + "\n", encoding="utf-8")
    return target


def load_attempts(path: str | os.PathLike[str]) -> None:
    """Load a file that `export_attempts` wrote; raises AttemptError where it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise AttemptError(
            f"{ENVIRONMENT_VARIABLE} names {file}, which cannot be read ({error.strerror}); "
            "write it with export_attempts()."
        ) from None
    linecache.cache[str(file)] = (len(text), None, text.splitlines(True), str(file))
    exec(compile(text, str(file), "exec"), {"__name__": "aisys_attempts"})


def load_from_environment() -> None:
    """Load the attempts that `AISYS_ATTEMPTS` names, if it is set."""
    path = os.environ.get(ENVIRONMENT_VARIABLE)
    if path:
        load_attempts(path)


def clear_attempts() -> None:
    """Take every attempt of this process out again."""
    for slot in slots():
        slot.clear()
    for class_key in list(_extra_members):
        _drop_extra_members(class_key)


def _fill_methods(stage: str, thing: type, methods: list[Slot]) -> type:
    name = thing.__name__
    given = [slot for slot in methods if slot.name.partition(".")[2] in vars(thing)]
    if not given:
        names = ", ".join(f"`{slot.name.partition('.')[2]}`" for slot in methods)
        raise AttemptError(f"`{name}` in stage {stage} has the exercises {names}; yours has none.")
    owner: type = getattr(sys.modules[given[0].module], name)
    _drop_extra_members(f"{stage} {name}")
    source = _source(thing)
    for slot in given:
        slot.fill(vars(thing)[slot.name.partition(".")[2]], source)
    exercises = {slot.name.partition(".")[2] for slot in methods}
    for extra, member in vars(thing).items():
        if extra in exercises or (extra.startswith("__") and extra.endswith("__")):
            continue
        if extra in vars(owner):
            raise AttemptError(f"`{name}.{extra}` is given by the course; choose another name.")
        _retarget_super(member, owner)
        setattr(owner, extra, member)
        _extra_members.setdefault(f"{stage} {name}", []).append(extra)
    return owner


def _drop_extra_members(class_key: str) -> None:
    stage, _, name = class_key.partition(" ")
    extras = _extra_members.pop(class_key, [])
    owner = next(
        (
            getattr(sys.modules[slot.module], name)
            for slot in slots(stage)
            if slot.name.startswith(f"{name}.")
        ),
        None,
    )
    for extra in extras:
        if owner is not None and extra in vars(owner):
            delattr(owner, extra)


def _standing(slot: Slot) -> Any:
    """What the course's module has under the exercise's name."""
    return getattr(sys.modules[slot.module], slot.name, slot.attempt)


def _source(thing: Any) -> str:
    """The text that an attempt was written in: its whole cell, or its definition in a file."""
    functions = [thing] if isinstance(thing, FunctionType) else list(vars(thing).values())
    functions = [getattr(f, "__func__", f) for f in functions]
    code = next((f.__code__ for f in functions if isinstance(f, FunctionType)), None)
    if code is None:
        return ""
    return "".join(linecache.getlines(code.co_filename))


def _definitions(source: str, slot: Slot) -> str:
    """Of a cell, what defines the attempt: imports, functions, classes, simple constants."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    names_loaded = slot.name.partition(".")[0]
    try:
        tree = ast.parse(source)
    except SyntaxError:
        raise AttemptError(f"{slot.key}: its cell cannot be read; run the cell again.") from None
    body = [node for node in tree.body if isinstance(node, kept)]
    if not any(getattr(node, "name", None) == names_loaded for node in body):
        raise AttemptError(f"{slot.key}: its cell does not define it; run the cell again.")
    return "\n\n".join(_with_decorators(source, node) for node in body)


def _with_decorators(source: str, node: ast.stmt) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _imports_so_far() -> list[str]:
    """The import statements of the cells that were run in this notebook, each once."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    found: list[str] = []
    for cell in shell.user_ns.get("In", []) if shell is not None else []:
        try:
            tree = ast.parse(cell)
        except SyntaxError:
            continue
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                line = ast.unparse(node)
                if line not in found:
                    found.append(line)
    return found
