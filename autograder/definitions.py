"""The text of a module taken apart: its exercises, and where head and solution of each one lie.

Nothing here imports the module or knows of slots: text goes in, line numbers and lines come out.
"""

import ast
from dataclasses import dataclass
from typing import Any

from aisys.course.parsing import parse

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_ABOVE = {"staticmethod", "classmethod", "property"}


class SourceError(Exception):
    """An exercise's source cannot become a notebook cell or a hole; the message says why."""


@dataclass(frozen=True)
class Body:
    """One function whose body is a solution.

    Attributes:
        head: The lines of decorators that an attempt needs too, signature, and docstring.
        solution: The lines of the body.
        first: Number of the first solution line in its file, from 1.
        last: Number of the last one.
        indent: The white space before the solution's statements.
    """

    head: tuple[str, ...]
    solution: tuple[str, ...]
    first: int
    last: int
    indent: str


@dataclass(frozen=True)
class TextDeclaration:
    """A call of `text_exercise`: the exercise's key, its file, and the file's language."""

    key: str
    file: str
    language: str


class ModuleText:
    """A module's text, with the exercises that its decorators and declarations name.

    Attributes:
        lines: The lines of the text.
        tree: Its syntax tree.
        exercises: The definitions that `exercise` marks, by key, in the text's order.
        texts: The calls of `text_exercise`, in the text's order.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.lines = text.splitlines()
        self.tree = parse(text, name)
        self.exercises: dict[str, Definition] = {}
        self.texts: list[TextDeclaration] = []
        self._look(self.tree, [])

    def definition(self, key: str) -> Definition:
        """The definition of an exercise; raises SourceError where the module has none."""
        if key not in self.exercises:
            raise SourceError(f"{key} is not found in {self.name}.")
        return self.exercises[key]

    def is_class(self, key: str) -> bool:
        """Whether an exercise is a whole class."""
        return isinstance(self.definition(key), ast.ClassDef)

    def body(self, key: str) -> Body:
        """Head and solution of an exercise that is a function or a method."""
        node = self.definition(key)
        if isinstance(node, ast.ClassDef):
            raise SourceError(f"{key} is a class; its methods have bodies.")
        return self._body(node, key, documented=True)

    def class_head(self, key: str) -> list[str]:
        """A class's own decorators, its first line, docstring, and attributes."""
        node = self._class(key)
        functions = _functions(node)
        last = self._with_comment(functions[0]) - 1
        lines = self.lines[node.lineno - 1 : last]
        while not lines[-1].strip():
            lines.pop()
        return [*self._decorators(node), *lines]

    def methods(self, key: str) -> list[Body]:
        """The public methods of a class exercise, special methods among them."""
        public = [f for f in _functions(self._class(key)) if not _is_private(f)]
        if not public:
            raise SourceError(f"{key} has no public method.")
        return [self._body(f, f"{key}.{f.name}", not f.name.startswith("__")) for f in public]

    def private_methods(self, key: str) -> list[list[str]]:
        """The lines of each private helper of a class exercise: part of the solution."""
        return [
            self.lines[self._with_comment(f) - 1 : self._last_line(f)]
            for f in _functions(self._class(key))
            if _is_private(f)
        ]

    def class_lines(self, key: str) -> tuple[int, int]:
        """The numbers of a class's first line (without decorators) and its last one."""
        node = self._class(key)
        return node.lineno, self._last_line(node)

    def own_decorators(self, key: str) -> list[str]:
        """The lines of the decorators that an attempt needs too."""
        return self._decorators(self.definition(key))

    def _class(self, key: str) -> ast.ClassDef:
        node = self.definition(key)
        if not isinstance(node, ast.ClassDef):
            raise SourceError(f"{key} is no class.")
        functions = _functions(node)
        if not functions:
            raise SourceError(f"{key} has no method to write.")
        others = [n for n in node.body if n not in functions and n.lineno > functions[0].lineno]
        if others:
            raise SourceError(
                f"{key}: line {others[0].lineno} of {self.name} stands after the first method; "
                "attributes stand before it."
            )
        return node

    def _body(self, node: Function, key: str, documented: bool) -> Body:
        statements = node.body
        text_end = self._signature_end(node)
        if ast.get_docstring(node) is not None:
            text_end = statements[0].end_lineno or text_end
            statements = statements[1:]
        elif documented:
            raise SourceError(f"{key}: `{node.name}` has no docstring to work from.")
        if not statements:
            raise SourceError(f"{key}: `{node.name}` has no body.")
        if statements[0].lineno <= text_end:
            raise SourceError(f"{key}: the body of `{node.name}` begins on a line of its own.")
        first, last = text_end + 1, self._last_line(node)
        while not self.lines[first - 1].strip():
            first += 1
        head = (*self._decorators(node), *self.lines[node.lineno - 1 : text_end])
        indent = " " * statements[0].col_offset
        return Body(head, tuple(self.lines[first - 1 : last]), first, last, indent)

    def _decorators(self, node: Definition) -> list[str]:
        """Decorators below `exercise` act on an attempt too; above it, only kinds of methods do."""
        marks = [i for i, d in enumerate(node.decorator_list) if _call_of(d, "exercise")]
        below = marks[0] if marks else -1
        kept = [
            decorator
            for i, decorator in enumerate(node.decorator_list)
            if i > below or (isinstance(decorator, ast.Name) and decorator.id in _ABOVE)
        ]
        return [line for d in kept for line in self.lines[d.lineno - 1 : d.end_lineno]]

    def _signature_end(self, node: Function) -> int:
        """The line on which a function's signature ends with its colon."""
        parts = [
            a.end_lineno or 0 for a in ast.walk(node.args) if isinstance(a, ast.expr | ast.arg)
        ]
        end = max([node.lineno, *parts, getattr(node.returns, "end_lineno", 0) or 0])
        while end < node.body[0].lineno and not _code(self.lines[end - 1]).endswith(":"):
            end += 1
        return end

    def _last_line(self, node: Definition) -> int:
        """The last line of a definition, comments behind its last statement included."""
        last = node.end_lineno or node.lineno
        for number in range(last + 1, len(self.lines) + 1):
            line = self.lines[number - 1]
            stripped = line.lstrip()
            if not stripped:
                continue
            if not stripped.startswith("#") or len(line) - len(stripped) <= node.col_offset:
                break
            last = number
        return last

    def _with_comment(self, node: Definition) -> int:
        """The line on which a definition begins: its comment, its decorators, or itself."""
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        while first > 1 and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return first

    def _look(self, node: ast.AST, owners: list[str]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                self._note(child, owners)
            if text := _call_of(child, "text_exercise"):
                stage, name = _argument(text, "stage", 0), _argument(text, "name", 1)
                file, language = _argument(text, "file", 2), _argument(text, "language")
                self.texts.append(TextDeclaration(f"{stage} {name}", file, language))
            inner = [*owners, child.name] if isinstance(child, ast.ClassDef) else owners
            self._look(child, inner)

    def _note(self, node: Definition, owners: list[str]) -> None:
        for decorator in node.decorator_list:
            if mark := _call_of(decorator, "exercise"):
                key = f"{_argument(mark, 'stage', 0)} {'.'.join([*owners, node.name])}"
                if key in self.exercises:
                    raise SourceError(f"{key} is defined twice in {self.name}.")
                self.exercises[key] = node


def _functions(node: ast.ClassDef) -> list[Function]:
    return [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def _is_private(node: Function) -> bool:
    return node.name.startswith("_") and not (
        node.name.startswith("__") and node.name.endswith("__")
    )


def _call_of(node: ast.AST, name: str) -> ast.Call | None:
    """The node, if it is a call of a function of this name."""
    if not isinstance(node, ast.Call):
        return None
    called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
    return node if called == name else None


def _argument(call: ast.Call, name: str, place: int | None = None) -> Any:
    given = [keyword.value for keyword in call.keywords if keyword.arg == name]
    if place is not None and len(call.args) > place:
        given.append(call.args[place])
    if not given or not isinstance(given[0], ast.Constant):
        raise SourceError(f"Line {call.lineno}: write the {name} of an exercise as a literal.")
    return given[0].value


def _code(line: str) -> str:
    """A line of a signature without its comment."""
    return line.partition("  #")[0].rstrip()
