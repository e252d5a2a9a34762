"""What looks like tampering in a submission's code: sentences for a person, that cost no point.

The code is read and never run. Nothing is made safe here: the sandbox and the border to the kernel
do that, and whoever evades this reading gains nothing by it. What the lab's own code does, such as
opening sockets in a lab about networks, is nothing to speak of in an attempt at it.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from .code_names import Names, called_name, constant_text, parse
from .suspicious_names import (
    CHANGES,
    COURSE_NAMES,
    FRAME_ATTRIBUTES,
    GUARDED_MODULES,
    HARMLESS_SHELL,
    HOOKS,
    MAY_BE_SET,
    NAMES,
    PACKED,
    TRICKS,
    meaning,
)

MOST_FLAGS = 20
PATCHES = "patches"
REBINDS = "rebinds"

_FILES = re.compile(r"/proc(?:/|$)|/dev/(?:mem|kmem)|/sys/fs/cgroup|site-packages|aisys/outcomes")
_ACTIVE = re.compile(
    r"< ?(?:script|iframe|object|embed|form|meta|base|svg|style|link)\b"
    r"|< ?\w[^>]{0,500}\son\w+\s*=|\]\(\s*javascript:",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sign:
    """One thing that was seen: what is done, as words, to what, and on which line."""

    words: str
    what: str = ""
    line: int = 0


def flags_of(cells: Iterable[NotebookNode], imports: str, ordinary: frozenset[str]) -> list[str]:
    """One sentence for every kind of sign in each of a student's cells.

    Args:
        cells: The attempt cells and the added cells of a prepared notebook, in order.
        imports: The import cell, whose names they use.
        ordinary: The kinds that the lab's own code shows, see `kinds_in`.
    """
    cells = list(cells)
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    names = Names([imports, *code])
    flags = []
    for cell in cells:
        kinds: dict[str, Sign] = {}
        signs = _signs(cell.source, names) if cell.cell_type == "code" else _in_text(cell.source)
        for sign in signs:
            if sign.words not in ordinary:
                kinds.setdefault(sign.words, sign)
        for sign in kinds.values():
            what = f" `{sign.what[:80]}`" if sign.what else ""
            line = f" (line {sign.line})" if sign.line else ""
            flags.append(f"Cell {cell.id} {sign.words}{what}{line}.")
    if len(flags) > MOST_FLAGS:
        more = len(flags) - MOST_FLAGS
        flags = [*flags[:MOST_FLAGS], f"There are {more} more signs of tampering."]
    return flags


def kinds_in(sources: Sequence[str]) -> frozenset[str]:
    """The kinds of signs that some code shows."""
    names = Names(list(sources))
    return frozenset(sign.words for source in sources for sign in _signs(source, names))


def _in_text(source: str) -> Iterator[Sign]:
    if _ACTIVE.search(source):
        yield Sign("holds active HTML, which was left out")


def _signs(source: str, names: Names, depth: int = 0) -> Iterator[Sign]:
    """Everything that is seen in a cell."""
    tree = parse(source)
    if tree is None:
        yield from _in_words(source)
        return
    try:
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node, is_inner in _walk(tree):
            for sign in _of_node(node, is_inner, names, docstrings, depth):
                line = getattr(node, "lineno", 0) if not depth else 0
                yield Sign(sign.words, sign.what, line)
    except RecursionError:
        yield from _in_words(source)


def _in_words(source: str) -> Iterator[Sign]:
    """What is seen in a text that is no Python."""
    for name, words in NAMES.items():
        if "." in name and re.search(rf"(?<![\w.]){re.escape(name)}\b", source):
            yield Sign(words, name)


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Every node in order, and whether names that it binds are local to something."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    while waiting:
        node, is_inner = waiting.pop()
        yield node, is_inner
        inside = is_inner or isinstance(node, (*scopes, *comprehensions))
        waiting.extend((child, inside) for child in reversed(list(ast.iter_child_nodes(node))))


def _of_node(
    node: ast.AST, is_inner: bool, names: Names, docstrings: set[int], depth: int
) -> Iterator[Sign]:
    yield from _rebinding(node, is_inner)
    yield from _patching(node, names)
    if isinstance(node, ast.Import):
        yield from (sign for name in node.names for sign in _named(name.name))
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for entry in node.names:
            yield from _named(f"{node.module}.{entry.name}")
    elif isinstance(node, (ast.Attribute, ast.Name, ast.Subscript)):
        dotted = names.dotted(node)
        yield from _named(dotted)
        if dotted.startswith("get_ipython().") and dotted.split(".")[1] not in HARMLESS_SHELL:
            yield Sign(HOOKS, dotted)
        if isinstance(node, ast.Attribute) and node.attr in FRAME_ATTRIBUTES:
            yield Sign(FRAME_ATTRIBUTES[node.attr], node.attr)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if id(node) not in docstrings and _FILES.search(node.value):
            yield Sign("names files of the system,", node.value)
    elif isinstance(node, ast.ClassDef):
        yield from _tricks(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node, names, depth)


def _named(name: str) -> Iterator[Sign]:
    words, what = meaning(name)
    if words:
        yield Sign(words, what)


def _of_call(node: ast.Call, names: Names, depth: int) -> Iterator[Sign]:
    called = called_name(node)
    if called in ("__import__", "import_module", "find_spec"):
        yield from _named(names.dotted_call(node))
    if called in ("exec", "eval", "compile") and node.args:
        text = constant_text(node.args[0])
        if text and depth < 3:
            yield from _signs(text, names, depth + 1)
        inner = [entry for entry in ast.walk(node.args[0]) if isinstance(entry, ast.Call)]
        if any(called_name(entry) in PACKED for entry in inner):
            yield Sign("runs code that is packed away")


def _rebinding(node: ast.AST, is_inner: bool) -> Iterator[Sign]:
    """Giving another meaning to a name of the course's."""
    bound: list[str] = []
    if isinstance(node, ast.Global):
        bound = node.names
    elif is_inner:
        return
    elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        bound = [node.id]
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        bound = [node.name]
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        if getattr(node, "module", "") != "aisys.course":
            bound = [name.asname or name.name for name in node.names]
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
        if isinstance(node.value, ast.Call) and called_name(node.value) in ("globals", "locals"):
            bound = [constant_text(node.slice)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        base = node.func.value
        if isinstance(base, ast.Call) and called_name(base) == "globals":
            bound = [str(keyword.arg) for keyword in node.keywords]
    yield from (Sign(REBINDS, name) for name in bound if name in COURSE_NAMES)


def _patching(node: ast.AST, names: Names) -> Iterator[Sign]:
    """Setting or deleting what belongs to a module that judging relies on."""
    patched = ""
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(
        node.ctx, (ast.Store, ast.Del)
    ):
        patched = names.dotted(node)
        if isinstance(node, ast.Subscript) and names.dotted(node.value) == "sys.modules":
            yield Sign(CHANGES, "sys.modules")
        if isinstance(node, ast.Attribute) and node.attr in ("__code__", "__globals__"):
            yield Sign(PATCHES, f"{ast.unparse(node.value)[:60]}.{node.attr}")
    elif isinstance(node, ast.Call):
        called = called_name(node)
        if called in ("setattr", "delattr", "object") and len(node.args) > 1:
            owner, name = names.dotted(node.args[0]), constant_text(node.args[1])
            patched = f"{owner}.{name or '?'}" if owner else ""
        elif called == "patch" and node.args:
            patched = constant_text(node.args[0])
        elif called == "reload" and node.args and names.dotted(node.args[0]).startswith("aisys"):
            yield Sign("loads the course's code anew,", names.dotted(node.args[0]))
        elif called in ("pop", "update", "clear", "setdefault", "popitem"):
            base = node.func.value if isinstance(node.func, ast.Attribute) else node
            if names.dotted(base) == "sys.modules":
                yield Sign(CHANGES, "sys.modules")
            elif isinstance(base, ast.Attribute) and base.attr == "__dict__":
                patched = f"{names.dotted(base.value)}.?"
            elif isinstance(base, ast.Call) and called_name(base) == "vars" and base.args:
                patched = f"{names.dotted(base.args[0])}.?"
    root = patched.partition(".")[0]
    if "." in patched and root in GUARDED_MODULES and not MAY_BE_SET.search(patched):
        yield Sign(PATCHES, patched)


def _tricks(node: ast.ClassDef) -> Iterator[Sign]:
    for member in node.body:
        if not isinstance(member, ast.FunctionDef):
            continue
        if member.name in TRICKS:
            yield Sign(TRICKS[member.name], node.name)
        last = member.body[-1]
        if member.name == "__eq__" and len(member.body) < 3 and isinstance(last, ast.Return):
            if isinstance(last.value, ast.Constant) and last.value.value is True:
                yield Sign("makes objects that equal everything,", node.name)
