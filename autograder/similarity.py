"""How alike attempts are to each other, to our solutions, and to those of an earlier year.

Solutions of short exercises are alike by nature, and so are all that follow the lab's text. What
speaks for a copy is therefore not how much of two texts is the same, but how rare the same part
is: a fingerprint of two texts that n - 1 others have as well counts 1 / n, and one that the
catalogue has, in a solution or in a mistake, counts nothing. Two students are named where that sums
to `ENOUGH` over the exercises in which at least `ALIKE` of the shorter text is in the other; or
where a long text is all but the same, however many have it.

These are findings for a person to look at, never a verdict.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .winnowing import fingerprints, run_hashes

ALIKE = 0.6
"""The share of the shorter text from which two texts are alike."""
ENOUGH = 8.0
"""The evidence from which two students are named, as in eight fingerprints that only they have."""
LONG, SAME = 25, 0.9
"""So many fingerprints of a text are not the same by chance, whatever others have."""
_BLOCK = 4096

Texts = Mapping[str, Mapping[str, str]]
"""Texts by author and exercise."""


@dataclass(frozen=True)
class Source:
    """What everybody may have seen of an exercise, and what the catalogue has of it.

    Attributes:
        skeleton: The cell as it is released.
        reference: Our solution, or `""`.
        alternatives: Other solutions by their titles.
        mistakes: Typical wrong attempts.
        language: The language, as in `"python"`, `"cuda"`, `"yaml"`.
    """

    skeleton: str = ""
    reference: str = ""
    alternatives: Mapping[str, str] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()
    language: str = "python"


@dataclass(frozen=True)
class Alike:
    """An exercise in which two texts are alike.

    Attributes:
        exercise: The exercise.
        share: How much of the shorter text is in the other, from 0 to 1.
        shared: How many fingerprints they have in common.
        title: The alternative's title, where it is one.
    """

    exercise: str
    share: float
    shared: int
    title: str = ""


@dataclass(frozen=True)
class Match:
    """Two authors, the exercises in which what is alike is rare, and the evidence of them all."""

    student: str
    other: str
    evidence: float
    exercises: tuple[Alike, ...]


@dataclass(frozen=True)
class Group:
    """Students whose near-copies hang together, and the pairs among them, the strongest first."""

    students: tuple[str, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Similarity:
    """Everything that was found, the strongest first.

    Attributes:
        pairs: Near-copies among the attempts.
        reference: Students with long attempts that are close to the reference; `other` is `""`.
        alternatives: The same for our other solutions, where one of them is closer.
        earlier: Near-copies of an earlier year's attempts, whose authors are `other`.
        compared_with_earlier: How many submissions of an earlier year there were.
    """

    pairs: tuple[Match, ...] = ()
    reference: tuple[Match, ...] = ()
    alternatives: tuple[Match, ...] = ()
    earlier: tuple[Match, ...] = ()
    compared_with_earlier: int = 0


def find_similar(
    attempts: Texts, sources: Mapping[str, Source], earlier: Texts | None = None
) -> Similarity:
    """Compare the attempts of a lab, exercise by exercise.

    Args:
        attempts: The attempts by student and exercise.
        sources: What we have of each exercise; of others there is nothing.
        earlier: The attempts of an earlier year.
    """
    earlier = earlier or {}
    students, before = sorted(attempts), sorted(earlier)
    total = np.zeros((len(students), len(students) + len(before)), np.float32)
    shares: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    close: dict[str, dict[str, list[Alike]]] = {"": defaultdict(list), "alt": defaultdict(list)}
    for exercise in dict.fromkeys(name for texts in attempts.values() for name in texts):
        source = sources.get(exercise, Source())
        catalogue = _Catalogue(source)
        texts = [attempts[name].get(exercise, "") for name in students]
        texts += [earlier[name].get(exercise, "") for name in before]
        made = {text: catalogue.prints(text) for text in set(texts)}
        prints = [made[text] for text in texts]
        for student, mine in zip(students, prints, strict=False):
            alike = catalogue.closest(exercise, mine)
            if alike is not None:
                close["alt" if alike.title else ""][student].append(alike)
        share, shared, evidence = _compare(prints, len(students), catalogue.known)
        evidence[share < ALIKE] = 0
        total += evidence
        shares[exercise] = (
            share.astype(np.float16),
            np.where(evidence > 0, shared, 0).astype(np.uint16),
        )
    upper = np.triu(np.ones((len(students), len(students)), bool), 1)
    everybody = students + before
    this_year = slice(0, len(students))
    matches = list(_matches(total, upper, this_year, shares, everybody))
    older = np.ones((len(students), len(before)), bool)
    return Similarity(
        _strongest(matches),
        _strongest([Match(s, "", 0.0, tuple(found)) for s, found in close[""].items()]),
        _strongest([Match(s, "", 0.0, tuple(found)) for s, found in close["alt"].items()]),
        _strongest(_matches(total, older, slice(len(students), None), shares, everybody)),
        len(before),
    )


def groups(matches: Sequence[Match]) -> list[Group]:
    """The matches among this year's students by who hangs together, the strongest first."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name] = leader[leader[name]]
        return name

    for match in matches:
        leader[find(match.other)] = find(match.student)
    members: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        members[find(match.student)].append(match)
    return [
        Group(tuple(sorted({n for m in found for n in (m.student, m.other)})), tuple(found))
        for found in members.values()
    ]


def share(one: np.ndarray, other: np.ndarray) -> float:
    """How much of the shorter of two texts is in the other, from their fingerprints."""
    shorter = min(len(one), len(other))
    return len(np.intersect1d(one, other, assume_unique=True)) / shorter if shorter else 0.0


class _Catalogue:
    """The fingerprints of what the catalogue has of one exercise."""

    def __init__(self, source: Source) -> None:
        self.language = source.language
        self.skeleton = run_hashes(source.skeleton, source.language)
        texts = {"": source.reference, **source.alternatives}
        self.solutions = {title: self.prints(text) for title, text in texts.items()}
        every = [run_hashes(text, self.language) for text in (*texts.values(), *source.mistakes)]
        self.known = np.unique(np.concatenate(every))

    def prints(self, text: str) -> np.ndarray:
        """The fingerprints of an attempt at the exercise."""
        return fingerprints(text, self.skeleton, self.language)

    def closest(self, exercise: str, prints: np.ndarray) -> Alike | None:
        """The solution that a long attempt is closest to, where it is close to one."""
        found = []
        for title, solution in self.solutions.items():
            shared = len(np.intersect1d(prints, solution, assume_unique=True))
            if shared >= LONG and shared >= ALIKE * min(len(prints), len(solution)):
                shorter = min(len(prints), len(solution))
                found.append(Alike(exercise, shared / shorter, shared, title))
        return max(found, key=lambda alike: alike.share, default=None)


def _compare(
    prints: Sequence[np.ndarray], students: int, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How alike the first authors' texts are to everybody's.

    Args:
        prints: Everybody's fingerprints, `students` of this year before those of an earlier one.
        students: How many are of this year.
        known: The fingerprints that count nothing.

    Returns:
        The share of the shorter text, the number of common fingerprints, and the evidence, each
        `[students, authors]`.
    """
    lengths = np.array([len(each) for each in prints])
    every = np.concatenate([np.zeros(0, np.uint64), *prints])
    owners = np.repeat(np.arange(len(prints)), lengths)
    values, place, counts = np.unique(every, return_inverse=True, return_counts=True)
    common = counts > 1
    column = (np.cumsum(common) - 1)[place[common[place]]]
    owners = owners[common[place]]
    unknown = ~np.isin(values[common], known, assume_unique=True)
    rarity = np.where(unknown, 1 / np.maximum(counts[common] - 1, 1), 0).astype(np.float32)
    shared, fresh, evidence = np.zeros((3, students, len(prints)), np.float32)
    for start in range(0, len(rarity), _BLOCK):
        here = (start <= column) & (column < start + _BLOCK)
        have = np.zeros((len(prints), min(_BLOCK, len(rarity) - start)), np.float32)
        have[owners[here], column[here] - start] = 1
        block = slice(start, start + _BLOCK)
        shared += have[:students] @ have.T
        fresh += (have[:students] * unknown[block]) @ have.T
        evidence += (have[:students] * rarity[block]) @ have.T
    shorter = np.minimum(lengths[:students, None], lengths[None, :])
    share = shared / np.maximum(shorter, 1)
    same = (share >= SAME) & (fresh >= LONG)
    return share, shared, np.where(same, np.maximum(evidence, ENOUGH), evidence)


def _matches(
    total: np.ndarray,
    wanted: np.ndarray,
    columns: slice,
    shares: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
) -> Iterator[Match]:
    """The pairs with enough evidence; `wanted` is of the shape of the chosen columns."""
    others = names[columns]
    of = {name: (share[:, columns], n[:, columns]) for name, (share, n) in shares.items()}
    evidence = total[:, columns]
    for one, other in np.argwhere(wanted & (evidence >= ENOUGH)):
        alike = tuple(
            Alike(exercise, float(share[one, other]), int(shared[one, other]))
            for exercise, (share, shared) in of.items()
            if shared[one, other]
        )
        yield Match(names[one], others[other], float(evidence[one, other]), alike)


def _strongest(matches: Iterator[Match] | Sequence[Match]) -> tuple[Match, ...]:
    def strength(match: Match) -> tuple[float, int, str, str]:
        shared = sum(alike.shared for alike in match.exercises)
        return -match.evidence, -shared, match.student, match.other

    return tuple(sorted(matches, key=strength))
