"""An exercise's text in another language, taken apart at its markers."""

from dataclasses import dataclass

from aisys.course.slots import BEGIN_SOLUTION, BEGIN_START, END_SOLUTION, END_START

from .definitions import SourceError

_COMMENT = {"cuda": "//", "cpp": "//", "c": "//", "javascript": "//", "sql": "--"}


@dataclass(frozen=True)
class MarkedText:
    """A text in another language, taken apart at its markers.

    Attributes:
        before: The lines before the solution, without the region that a student starts from.
        solution: The lines of the solution.
        start: The lines that a student starts from instead, or none.
        after: The lines behind the solution.
        indent: The white space before the solution's first marker.
    """

    before: tuple[str, ...]
    solution: tuple[str, ...]
    start: tuple[str, ...]
    after: tuple[str, ...]
    indent: str


def take_apart(marked: str, key: str) -> MarkedText:
    """Take a marked text apart; raises SourceError unless its solution is marked exactly once."""
    lines = marked.splitlines()
    places = {
        marker: [i for i, line in enumerate(lines) if marker in line]
        for marker in (BEGIN_SOLUTION, END_SOLUTION, BEGIN_START, END_START)
    }
    counts = [len(found) for found in places.values()]
    if counts[:2] != [1, 1] or counts[2:] not in ([0, 0], [1, 1]):
        raise SourceError(
            f"{key}: its text needs {BEGIN_SOLUTION} and {END_SOLUTION} once, "
            f"and {BEGIN_START} and {END_START} once or not at all."
        )
    first, last = places[BEGIN_SOLUTION][0], places[END_SOLUTION][0]
    start: tuple[str, ...] = ()
    left_out: range = range(0)
    if counts[2]:
        begin, end = places[BEGIN_START][0], places[END_START][0]
        if not (begin < end < first or last < begin < end):
            raise SourceError(f"{key}: its start text stands before or behind its solution.")
        start, left_out = tuple(lines[begin + 1 : end]), range(begin, end + 1)
    if first > last:
        raise SourceError(f"{key}: {END_SOLUTION} stands before {BEGIN_SOLUTION}.")
    kept = [i for i in range(len(lines)) if i not in left_out]
    return MarkedText(
        tuple(lines[i] for i in kept if i < first),
        tuple(lines[first + 1 : last]),
        start,
        tuple(lines[i] for i in kept if i > last),
        lines[first][: len(lines[first]) - len(lines[first].lstrip())],
    )


def comment_mark(language: str) -> str:
    """How a comment line begins in a language."""
    return _COMMENT.get(language, "#")
