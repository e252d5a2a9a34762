"""What several submissions share, in the report: mistakes, failures, flags; and who stands out."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from .results import SubmissionResult
from .wording import exercise_words, is_tampering, one_line

NAMED = 12
MOST_SLOW = 10


@dataclass(frozen=True)
class Group:
    """Something that several submissions share: a mistake, a kind of failure, a flag."""

    key: str
    words: str
    hint: str
    students: tuple[str, ...]

    @property
    def named(self) -> str:
        """The first students by name, and how many more there are."""
        names = ", ".join(self.students[:NAMED])
        more = len(self.students) - NAMED
        return f"{names} and {more} more" if more > 0 else names


@dataclass(frozen=True)
class Flagged:
    """A student with signs of tampering."""

    student: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Slow:
    """A submission that took long; `times` says how many times the median."""

    student: str
    seconds: float
    times: float
    words: str


def mistakes(results: Iterable[SubmissionResult]) -> list[Group]:
    """The recognised mistakes, the most frequent first, with the hints that students got."""
    students: dict[tuple[str, str], list[str]] = defaultdict(list)
    hints: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results:
        for stage in result.stages:
            for exercise in stage.exercises:
                if exercise.mistake:
                    key = exercise.key, one_line(exercise.mistake)
                    students[key].append(result.student)
                    hints[key].update(case.hint for case in exercise.cases if case.hint)
    return _most_frequent(
        Group(*key, hints[key].most_common(1)[0][0] if hints[key] else "", tuple(found))
        for key, found in students.items()
    )


def unexplained(results: Iterable[SubmissionResult]) -> list[Group]:
    """Failures that no catalogued mistake explains, by exercise and by what is seen of them."""
    students: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        for stage in result.stages:
            for exercise in stage.exercises:
                if (
                    exercise.status not in ("passed", "missing", "ungraded")
                    and not exercise.mistake
                ):
                    words = re.sub(r" in \d+ of \d+ cases$", "", exercise_words(exercise))
                    students[exercise.key, words].append(result.student)
    return _most_frequent(Group(*key, "", tuple(found)) for key, found in students.items())


def tampering(results: Iterable[SubmissionResult]) -> list[Flagged]:
    """The students with signs of tampering, those with the most first."""
    flagged = [
        Flagged(result.student, found)
        for result in results
        if (found := tuple(flag for flag in _flags(result) if is_tampering(flag)))
    ]
    return sorted(flagged, key=lambda entry: (-len(entry.flags), entry.student))


def noticed(results: Iterable[SubmissionResult]) -> list[Group]:
    """What else was noticed, the most frequent first."""
    students: dict[str, list[str]] = defaultdict(list)
    for result in results:
        for flag in _flags(result):
            if not is_tampering(flag):
                students[flag].append(result.student)
    return _most_frequent(Group("", flag, "", tuple(found)) for flag, found in students.items())


def slowest(results: Sequence[SubmissionResult]) -> list[Slow]:
    """The submissions that took longest to run, and why where a stage ran out of time."""
    ran = [result for result in results if result.seconds > 0]
    usual = median(result.seconds for result in ran) if ran else 0.0
    longest = sorted(ran, key=lambda result: (-result.seconds, result.student))[:MOST_SLOW]
    return [Slow(r.student, r.seconds, r.seconds / usual, _why_slow(r)) for r in longest]


def _why_slow(result: SubmissionResult) -> str:
    late = [e.key for stage in result.stages for e in stage.exercises if e.status == "timeout"]
    return f"no result in time: {', '.join(late)}" if late else ""


def _flags(result: SubmissionResult) -> list[str]:
    every = [*result.flags, *(flag for stage in result.stages for flag in stage.flags)]
    return list(dict.fromkeys(one_line(flag, 300) for flag in every))


def _most_frequent(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-len(group.students), group.key, group.words))
