"""The source of an exercise: signature and docstring, solution, the names that its body needs.

Everything is read from the reference in `src/aisys`, the only place where it is written.
"""

import ast
import builtins
import functools
import importlib
import importlib.util
import inspect
import symtable
import sys

from aisys.course.probes import NOT_WRITTEN
from aisys.course.slots import Slot, TextSlot, slots

from .definitions import Body, ModuleText, SourceError
from .marked import comment_mark, take_apart

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_LINE = 88

Imports = dict[str, list[ast.Import | ast.ImportFrom]]


def cell_source(keys: list[str]) -> str:
    """The notebook cell of an exercise, or of several methods of one class, with its solution.

    Args:
        keys: One key, or the keys of methods of one class in one stage.
    """
    slot = _slot(keys[0])
    if isinstance(slot, TextSlot):
        comment = comment_mark(slot.language)
        text = take_apart(slot.marked, slot.key)
        begin, end = (f"{text.indent}{comment} {marker}" for marker in (BEGIN, END))
        lines = [f"%%attempt {slot.key}", *text.before, begin, *text.solution, end, *text.after]
        return "\n".join(lines).rstrip() + "\n"
    return "\n".join([f'@attempt("{slot.stage}")', *_definition_lines(keys)]) + "\n"


def plain_source(key: str, replaced: dict[str, str] | None = None) -> str:
    """An exercise's attempt cell with its solution and no markers, edited by `replaced`.

    Raises:
        SourceError: An old text does not occur exactly once.
    """
    text = without_markers(cell_source([key]))
    for old, new in (replaced or {}).items():
        if text.count(old) != 1:
            raise SourceError(
                f"{key}: {old!r} occurs {text.count(old)} times in the reference; expected once."
            )
        text = text.replace(old, new)
    return text


def without_markers(source: str) -> str:
    """A cell without the lines that mark its solution."""
    lines = [line for line in source.splitlines() if BEGIN not in line and END not in line]
    return "\n".join(lines) + "\n"


def stub_of(slot: Slot) -> str:
    """What stands in a student's cell in place of the solution, without the solution's indent."""
    if isinstance(slot, TextSlot):
        text = take_apart(slot.marked, slot.key)
        start = [line.removeprefix(text.indent) for line in text.start]
        return "\n".join(start) if start else f"{comment_mark(slot.language)} YOUR CODE HERE"
    return f'# YOUR CODE HERE\nraise NotImplementedError("{slot.key}{NOT_WRITTEN}")'


def import_lines(keys: list[str], more: dict[str, list[str]] | None = None) -> list[str]:
    """The import statements that the cells of these exercises need, sorted and merged.

    Args:
        keys: The exercises.
        more: Names to import besides, by module.

    Raises:
        SourceError: A cell needs a name that does not exist, that is private to its module, or
            that means two things in two exercises.
    """
    plain: set[str] = set()
    merged = {module: set(names) for module, names in (more or {}).items()}
    meanings: dict[str, str] = {}
    for slot in map(_slot, keys):
        if isinstance(slot, TextSlot):
            continue
        for name, statements in _imports_of(slot).items():
            for statement in statements:
                if isinstance(statement, ast.Import):
                    plain.add(ast.unparse(statement))
                else:
                    names = merged.setdefault(statement.module or "", set())
                    names.update(ast.unparse(alias) for alias in statement.names)
            meaning = "; ".join(sorted(map(ast.unparse, statements)))
            if meanings.setdefault(name, meaning) != meaning:
                raise SourceError(
                    f"{slot.key} needs `{name}` from `{meaning}`, an earlier exercise of the lab "
                    f"from `{meanings[name]}`: give one of them another name."
                )
    lines = [*plain, *(_from(module, sorted(names)) for module, names in merged.items())]
    return sorted(lines, key=_place)


@functools.cache
def _module(name: str) -> ModuleText:
    return ModuleText(inspect.getsource(importlib.import_module(name)), name)


def _slot(key: str) -> Slot:
    found = [slot for slot in slots() if slot.key == key]
    if not found:
        raise SourceError(f"The text names the exercise {key!r}, which no module defines.")
    return found[0]


def _definition_lines(keys: list[str]) -> list[str]:
    """The lines of a cell's function or class, solutions between markers."""
    slot = _slot(keys[0])
    text = _module(slot.module)
    if slot.kind == "function":
        return _between_markers(text.body(slot.key))
    if slot.kind == "method":
        lines = [f"class {slot.name.split('.')[0]}:"]
        bodies = [text.body(key) for key in keys]
    else:
        lines = [*text.class_head(slot.key), ""]
        bodies = text.methods(slot.key)
    for number, body in enumerate(bodies):
        helpers = text.private_methods(slot.key) if slot.kind == "class" and number == 0 else []
        lines += ([""] if number else []) + _between_markers(body, helpers)
    return lines


def _between_markers(body: Body, helpers: list[list[str]] | None = None) -> list[str]:
    """A function's lines; helpers that only the solution has end its first solution."""
    more = [line for helper in helpers or [] for line in ["", *helper]]
    return [*body.head, body.indent + BEGIN, *body.solution, *more, body.indent + END]


def _imports_of(slot: Slot) -> Imports:
    """The names that an exercise's cell needs, each with the statements that import it."""
    known = _importable(slot.module)
    found: Imports = {}
    cell = "\n".join(_definition_lines([slot.key]))
    own = {slot.name} if slot.kind in ("function", "class") else set()
    for name in sorted(_free_names(cell) - own):
        if name in known:
            found[name] = known[name]
            if name.startswith("_"):
                raise SourceError(
                    f"{slot.key} needs `{name}`, which is private to {slot.module}: "
                    "a helper that only a solution needs stands inside it."
                )
        elif not hasattr(builtins, name):
            raise SourceError(f"{slot.key} needs `{name}`, which {slot.module} does not define.")
    return found


def _free_names(text: str) -> set[str]:
    """The global names that a definition uses, annotations and defaults included."""
    names: set[str] = set()
    pending = [symtable.symtable(text, "exercise", "exec")]
    while pending:
        table = pending.pop()
        pending += table.get_children()
        for symbol in table.get_symbols():
            is_global = symbol.is_global() or table.get_type() == "module"
            if is_global and symbol.is_referenced() and not symbol.is_assigned():
                names.add(symbol.get_name())
    return names - {"__class__"}


@functools.cache
def _importable(name: str) -> Imports:
    """How each global name of a module is imported elsewhere."""
    module = importlib.import_module(name)
    known: Imports = {
        defined: [ast.ImportFrom(name, [ast.alias(defined)], 0)]
        for defined in vars(module)
        if not (defined.startswith("__") and defined.endswith("__"))
    }
    imported: Imports = {}
    for node in _unconditional(_module(name).tree.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                imported.setdefault(bound, []).append(ast.Import([alias]))
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            package = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(package, module.__package__)
            for alias in node.names:
                imported[alias.asname or alias.name] = [ast.ImportFrom(origin, [alias], 0)]
    return known | imported


def _unconditional(body: list[ast.stmt]) -> list[ast.stmt]:
    """Top-level statements, and those under `if TYPE_CHECKING`; a `try` may not import at all."""
    inner = [n for node in body if isinstance(node, ast.If) for n in _unconditional(node.body)]
    return [*body, *inner]


def _place(line: str) -> tuple[int, bool, str]:
    """Where an import stands: the standard library's first, then others', then ours."""
    origin = line.split()[1].partition(".")[0]
    group = 0 if origin in sys.stdlib_module_names else 2 if origin == "aisys" else 1
    return group, line.startswith("from"), line


def _from(module: str, names: list[str]) -> str:
    """A `from` import, one name a line where it would be too long."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= _LINE:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


__all__ = [
    "BEGIN",
    "END",
    "SourceError",
    "cell_source",
    "comment_mark",
    "import_lines",
    "plain_source",
    "stub_of",
    "without_markers",
]
