"""What the names in a notebook's cells stand for, read without running them."""

import ast
import functools
import re

from aisys.course import parsing

from .suspicious_names import ROOT_OF

MOST_CODE = 100_000
"""Longer cells, in characters, are not parsed."""

_PASSED_ON = re.compile(r"\s*%%(?:capture|time|timeit|prun)\b.*")
_MAGIC = re.compile(r"^(\s*)(?:[\w., ]+=\s*)?[%!].*$|^(\s*)\S+\?{1,2}\s*$", re.MULTILINE)


def _python(source: str) -> str:
    """A cell without what only IPython understands; lines keep their numbers."""
    first, _, rest = source.partition("\n")
    if first.lstrip().startswith("%%"):
        return f"\n{rest}" if _PASSED_ON.fullmatch(first) else ""
    return _MAGIC.sub(lambda match: f"{match[1] or match[2] or ''}pass", source)


@functools.lru_cache(256)
def parse(source: str) -> ast.Module | None:
    """The code as a tree, to be read only; None where it is no Python, too long or too deep."""
    if len(source) > MOST_CODE:
        return None
    try:
        return parsing.parse(_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class Names:
    """What the names of a notebook stand for, as dotted names of modules and what is in them."""

    def __init__(self, sources: list[str]) -> None:
        self.known = dict(ROOT_OF)
        trees = [tree for source in sources if (tree := parse(source)) is not None]
        for tree in trees:
            for node in ast.walk(tree):
                self._imported(node)
        for tree in trees:
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    self.known.pop(node.name, None)  # the student's own from here on
            for entry in ast.walk(tree):
                if isinstance(entry, ast.Assign) and isinstance(entry.targets[0], ast.Name):
                    name = self.dotted(entry.value)
                    if name:
                        self.known.setdefault(entry.targets[0].id, name)

    def dotted(self, node: ast.AST) -> str:
        """The dotted name that an expression stands for, or `""`."""
        ends: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                ends.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Subscript):
                key = constant_text(node.slice)
                base = self.dotted_call(node.value)
                if not key:
                    return ""
                if base == "sys.modules":
                    return ".".join([key, *reversed(ends)])
                if isinstance(node.value, ast.Attribute) and node.value.attr == "__dict__":
                    ends.append(key)
                    node = node.value.value
                elif isinstance(node.value, ast.Call) and called_name(node.value) == "vars":
                    ends.append(key)
                    node = node.value.args[0] if node.value.args else node
                else:
                    return ""
            elif (
                isinstance(node, ast.Call) and called_name(node) == "getattr" and len(node.args) > 1
            ):
                ends.append(constant_text(node.args[1]) or "?")
                node = node.args[0]
            else:
                base = self.dotted_call(node)
                return ".".join([base, *reversed(ends)]) if base else ""

    def dotted_call(self, node: ast.AST) -> str:
        """The dotted name of a name, or of a call that gives a module or the shell."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, "")
        if isinstance(node, ast.Attribute):
            return self.dotted(node)
        if isinstance(node, ast.Call):
            called = called_name(node)
            if called == "get_ipython":
                return "get_ipython()"
            if called in ("__import__", "import_module", "reload", "find_spec") and node.args:
                return constant_text(node.args[0])
        return ""

    def _imported(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for name in node.names:
                known = name.name if name.asname else name.name.partition(".")[0]
                self.known[name.asname or known] = known
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                self.known[name.asname or name.name] = f"{node.module}.{name.name}"


def called_name(node: ast.Call) -> str:
    """The last word of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def constant_text(node: ast.AST) -> str:
    """A constant text, or `""`."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
