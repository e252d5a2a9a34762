"""The report's section on similarity: what was found, as rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .similarity import Alike, Match, Similarity, groups

MOST_PAIRS = 100
"""So many pairs of a group are listed one by one."""


@dataclass(frozen=True)
class Copies:
    """A group of students with near-copies.

    Attributes:
        students: Who they are.
        exercises: In which exercises, with the greatest share of any pair, the most frequent first.
        evidence: The strongest pair's.
        pairs: Its pairs, where there is more than one.
        more: How many pairs are not among them.
    """

    students: tuple[str, ...]
    exercises: tuple[Alike, ...]
    evidence: float
    pairs: tuple[Match, ...]
    more: int


@dataclass(frozen=True)
class Section:
    """What the page says about similarity."""

    copies: tuple[Copies, ...]
    earlier: tuple[Match, ...]
    reference: tuple[Match, ...]
    alternatives: tuple[Match, ...]
    nothing: tuple[str, ...]


def section(found: Similarity) -> Section:
    """The section of what was found."""
    empty = {
        "near-copies among the attempts": found.pairs,
        "attempts close to the reference": found.reference,
        "attempts close to an alternative": found.alternatives,
    }
    if found.compared_with_earlier:
        empty["near-copies of an earlier year's attempts"] = found.earlier
    return Section(
        tuple(_copies(group.students, group.matches) for group in groups(found.pairs)),
        found.earlier,
        found.reference,
        found.alternatives,
        tuple(words for words, matches in empty.items() if not matches),
    )


def _copies(students: Sequence[str], matches: Sequence[Match]) -> Copies:
    best: dict[str, Alike] = {}
    often: Counter[str] = Counter()
    for match in matches:
        for alike in match.exercises:
            known = best.get(alike.exercise, alike)
            best[alike.exercise] = max(known, alike, key=lambda entry: entry.share)
            often[alike.exercise] += 1
    listed = tuple(matches[:MOST_PAIRS]) if len(matches) > 1 else ()
    return Copies(
        tuple(students),
        tuple(best[name] for name, _ in often.most_common()),
        matches[0].evidence,
        listed,
        len(matches) - len(listed) if listed else 0,
    )
