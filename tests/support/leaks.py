"""Lines of solutions that remain where they should have been taken out."""

import ast
from collections.abc import Callable
from pathlib import Path

LONG = 25


def solution_and_other_lines(
    package: Path, is_closed: Callable[[str], bool]
) -> tuple[set[str], set[str]]:
    """The lines of a reference package that are solutions of closed exercises, and all others.

    It finds them without the harness: a solution is what stands below the docstring of a marked
    function, up to the next definition.

    Args:
        package: The folder of the reference package `aisys`.
        is_closed: Whether the exercise of a key is closed.
    """
    solutions: set[str] = set()
    others: set[str] = set()
    for path in sorted(package.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        hidden: set[int] = set()
        for node, key, end in _marked(ast.parse("\n".join(lines)), "", len(lines) + 1):
            if is_closed(key):
                body = node.body[0].end_lineno or node.lineno
                hidden.update(range(body + 1, end))
        for number, line in enumerate(lines, 1):
            (solutions if number in hidden else others).add(line.strip())
    return solutions, others


def leaks(folder: Path, package: Path, is_closed: Callable[[str], bool]) -> list[str]:
    """The solution lines of closed exercises that some file below a folder holds."""
    solutions, others = solution_and_other_lines(package, is_closed)
    elsewhere = "\n".join(others)
    telling = [line for line in solutions if len(line) > LONG and line not in elsewhere]
    assert telling, "no line of a solution is long enough to be looked for"
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {line}" for line in telling if line.encode() in content]
    return found


def _marked(
    tree: ast.Module | ast.ClassDef, owner: str, end: int
) -> list[tuple[ast.FunctionDef, str, int]]:
    """The marked functions, their keys, and the line on which the next definition begins."""
    found: list[tuple[ast.FunctionDef, str, int]] = []
    starts = [
        min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        for node in tree.body
    ]
    for node, following in zip(tree.body, [*starts[1:], end], strict=True):
        if isinstance(node, ast.ClassDef):
            found += _marked(node, f"{node.name}.", following)
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "exercise":
                stage = ast.literal_eval(decorator.args[0])
                found.append((node, f"{stage} {owner}{node.name}", following))
    return found
