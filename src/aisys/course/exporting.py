"""`export_attempts`: the attempts of a notebook as a file that another process can load.

The file holds what the attempts need and nothing else: from their definitions it follows the names
that they use to the functions, classes, constants and imports that give them.
"""

import ast
import inspect
import linecache
import os
import symtable
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import AttemptError
from .parsing import parse
from .shell import current_shell
from .slots import Slot, slots


@dataclass(frozen=True)
class _Statement:
    """A top-level statement of a cell, with the global names that it binds and needs."""

    text: str
    binds: frozenset[str]
    needs: frozenset[str]
    defines: str = ""


def export_attempts(path: str | os.PathLike[str] = "attempts.py") -> Path:
    """Write every attempt of this process into a Python file that another process can load.

    Importing `aisys` loads the file that the environment variable `AISYS_ATTEMPTS` names. With the
    attempts go the functions, classes and constants of their own cells that they use, and the
    imports of any cell.

    Returns:
        The file's absolute path.

    Raises:
        AttemptError: The text of an attempt is not known, as below `%%time`.
    """
    target = Path(path).resolve()
    filled = sorted((s for s in slots() if s.attempt is not None), key=lambda slot: slot.turn)
    code = [slot for slot in filled if slot.kind != "text"]
    sources = list(dict.fromkeys(slot.source or "" for slot in reversed(code)))[::-1]
    pool = [s for s in _notebook_imports() if s.binds]
    wanted: set[int] = set()
    for source in sources:
        here = [slot for slot in code if slot.source == source]
        statements = _statements(source, here)
        names = {slot.name.partition(".")[0] for slot in here}
        wanted |= {len(pool) + i for i, s in enumerate(statements) if s.defines in names}
        pool += statements
    kept = _with_what_they_need(pool, wanted)
    future = [s.text for s in pool if s.text.startswith("from __future__ ")]
    parts = [
        "\n".join(dict.fromkeys(future)),
        "\n".join(f"import {module}" for module in sorted({slot.module for slot in filled})),
        "from aisys.course import attempt, attempt_text",
        *dict.fromkeys(statement.text for statement in kept),
        *(f"attempt_text({s.key!r}, {s.source!r})" for s in filled if s.kind == "text"),
    ]
    target.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return target


def source_of(function: Callable[..., Any]) -> str:
    """The text that defines a function of a notebook or a script, with what it needs of it.

    It follows names to functions, classes, constants and imports of any cell; the last cell that
    gives a name counts.

    Raises:
        AttemptError: The text that defines it is not known.
    """
    name = function.__name__
    pool = [s for cell in _cells_with(function) for s in _readable(cell)]
    defining = [i for i, s in enumerate(pool) if s.defines == name]
    if not defining:
        raise AttemptError(
            f"The text that defines `{name}` is not known; write it at the beginning of a line, "
            "in a cell without `%%time` and the like."
        )
    kept = _with_what_they_need(pool, {defining[-1]})
    future = [s.text for s in pool if s.text.startswith("from __future__ ")]
    return "\n\n".join([*dict.fromkeys(future), *(s.text for s in kept)]) + "\n"


def _with_what_they_need(pool: list[_Statement], wanted: set[int]) -> list[_Statement]:
    """The wanted statements and those that bind what they need, and so on, in their order."""
    kept, fresh = set(wanted), set(wanted)
    while fresh:
        needed = {name for i in fresh for name in pool[i].needs} | {"*"}
        fresh = {i for i, s in enumerate(pool) if s.binds & needed} - kept
        kept |= fresh
    return [pool[i] for i in sorted(kept) if not pool[i].text.startswith("from __future__ ")]


def _statements(source: str, here: Iterable[Slot]) -> list[_Statement]:
    key = next(slot.key for slot in here)
    try:
        tree = parse(source)
    except SyntaxError:
        raise AttemptError(f"{key}: its cell cannot be read; run the cell again.") from None
    statements = [_statement(source, node) for node in tree.body]
    defined = {statement.defines for statement in statements}
    for slot in here:
        if slot.name.partition(".")[0] not in defined:
            raise AttemptError(
                f"{slot.key}: the text that defines it is not known; write it at the beginning "
                "of a line, in a cell without `%%time` and the like."
            )
    return statements


def _statement(source: str, node: ast.stmt) -> _Statement:
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        first = min(decorator.lineno for decorator in decorators)
        text = "\n".join(source.split("\n")[first - 1 : node.end_lineno])
    else:
        text = ast.get_source_segment(source, node) or ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return _Statement(text, frozenset("*"), frozenset())
    binds, needs = _global_names(ast.unparse(node))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return _Statement(text, binds, needs, node.name)
    return _Statement(text, binds, needs)


def _global_names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that a statement binds, and those that it or a function in it uses."""
    top = symtable.symtable(text, "attempt", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    needs = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    inner = list(top.get_children())
    while inner:
        table = inner.pop()
        inner += table.get_children()
        needs |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return frozenset(binds), frozenset(needs)


def _cells_with(function: Callable[..., Any]) -> list[str]:
    """The cells of this notebook; outside of one, the script that the function is in."""
    shell = current_shell()
    if shell is not None:
        return list(shell.history_manager.input_hist_parsed)
    try:
        path = inspect.getsourcefile(function)
        return [] if path is None else ["".join(linecache.getlines(path))]
    except TypeError:
        return []


def _readable(cell: str) -> list[_Statement]:
    try:
        return [_statement(cell, node) for node in parse(cell).body]
    except SyntaxError:
        return []


def _notebook_imports() -> list[_Statement]:
    """The import statements of the cells that were run in this notebook."""
    shell = current_shell()
    found: list[_Statement] = []
    for cell in shell.history_manager.input_hist_parsed if shell is not None else []:
        try:
            tree = parse(cell)
        except SyntaxError:
            continue
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        found += [_statement(cell, node) for node in imports]
    return found
