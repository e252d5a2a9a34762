"""The instructor's page: one file with the whole class, its difficulties and its mistakes."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from markupsafe import Markup

from .pages import feedback_link, render, write_atomically
from .report_plots import distribution_plot, stages_plot
from .results import StageResult, SubmissionResult
from .wording import (
    counts,
    exercise_words,
    is_written,
    lab_title,
    number,
    one_line,
    was_submitted,
    went_wrong,
)

MOST_MISTAKES = 25
NAMED = 12


@dataclass(frozen=True)
class _Column:
    """A stage's column: its mean is None where nothing counts."""

    stage: str
    title: str
    most: float
    mean: float | None


@dataclass(frozen=True)
class _Row:
    """A student's row; a cell is None where the submission lacks the stage."""

    student: str
    link: str
    cells: tuple[StageResult | None, ...]
    points: float
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class _Group:
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
class _Lab:
    """One lab's part of the page."""

    title: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[_Column, ...]
    rows: tuple[_Row, ...]
    most: float
    mean: float | None
    plots: tuple[Markup, ...]
    mistakes: tuple[_Group, ...]
    unexplained: tuple[_Group, ...]
    flags: tuple[_Group, ...]
    statuses: frozenset[str]


def write_report(path: Path, results: Sequence[SubmissionResult], title: str) -> None:
    """Write the report beside its `feedback/` folder, to which it links.

    Args:
        path: The HTML file; it needs no other file to be read.
        results: Any number of submissions of any number of labs.
        title: The page's heading.
    """
    write_atomically(path, report_page(results, title))


def report_page(results: Sequence[SubmissionResult], title: str) -> str:
    """The report as HTML."""
    ordered = sorted(results, key=lambda result: (result.lab, result.student))
    labs: dict[str, list[SubmissionResult]] = defaultdict(list)
    for result in ordered:
        labs[result.lab].append(result)
    students = len({result.student for result in ordered})
    return render(
        "report.html",
        title=title,
        students=students,
        submissions=sum(was_submitted(result) for result in ordered),
        labs=[_lab(entries) for entries in labs.values()],
    )


def _lab(results: list[SubmissionResult]) -> _Lab:
    counted = [result for result in results if counts(result)]
    columns = _columns(results, counted)
    most = max(result.max_points for result in results)
    stages = [stage for result in results for stage in result.stages]
    return _Lab(
        title=lab_title(results, results[0].lab),
        facts=tuple(_facts(results, counted, most)),
        columns=columns,
        rows=tuple(_row(result, columns) for result in results),
        most=most,
        mean=fmean(result.points for result in counted) if counted else None,
        plots=tuple(_plots(counted, columns, most)),
        mistakes=tuple(_mistakes(results)[:MOST_MISTAKES]),
        unexplained=tuple(_unexplained(results)[:MOST_MISTAKES]),
        flags=tuple(_flags(results)),
        statuses=frozenset(stage.status for stage in stages),
    )


def _facts(
    results: list[SubmissionResult], counted: list[SubmissionResult], most: float
) -> Iterable[tuple[str, str]]:
    """The summary line, as value and words."""
    submitted = [result for result in results if was_submitted(result)]
    yield str(len(submitted)), f"of {len(results)} students submitted"
    if counted:
        points = [result.points for result in counted]
        yield number(fmean(points)), f"mean, of {number(most)} points"
        yield number(median(points)), "median"
        full = sum(all(_earned(stage) for stage in result.stages) for result in counted)
        yield str(full), "with every machine-graded point"
    unreadable = sum(result.status == "unreadable" for result in submitted)
    if unreadable:
        yield str(unreadable), "without a readable notebook"
    failed = sum(
        any(stage.status == "ungraded" for stage in result.stages) or result.status == "ungraded"
        for result in results
    )
    if failed:
        yield str(failed), "not graded: the grader failed"
    waiting = sum(any(stage.status == "manual" for stage in result.stages) for result in results)
    if waiting:
        yield str(waiting), "with answers to grade by hand"


def _earned(stage: StageResult) -> bool:
    return is_written(stage) or stage.points >= stage.max_points


def _columns(
    results: list[SubmissionResult], counted: list[SubmissionResult]
) -> tuple[_Column, ...]:
    """The stages in the order of the longest submission, then any that only others have.

    A column that waits for grading by hand has no mean yet.
    """
    longest = max(results, key=lambda result: len(result.stages))
    every = [*longest.stages, *(stage for result in results for stage in result.stages)]
    first = {stage.stage: stage for stage in reversed(every)}
    points: dict[str, list[float]] = defaultdict(list)
    for result in counted:
        for stage in result.stages:
            if stage.status != "ungraded":
                points[stage.stage].append(stage.points)
    by_hand = {s.stage for result in counted for s in result.stages if s.status == "manual"}
    return tuple(
        _Column(
            name,
            one_line(first[name].title),
            first[name].max_points,
            fmean(points[name]) if points[name] and name not in by_hand else None,
        )
        for name in dict.fromkeys(stage.stage for stage in every)
    )


def _row(result: SubmissionResult, columns: tuple[_Column, ...]) -> _Row:
    found = {stage.stage: stage for stage in result.stages}
    cells = tuple(found.get(column.stage) for column in columns)
    link = feedback_link(result.student, result.lab)
    return _Row(result.student, link, cells, result.points, tuple(went_wrong(result)))


def _mistakes(results: list[SubmissionResult]) -> list[_Group]:
    """The recognised mistakes, the most frequent first."""
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
        _Group(*key, hints[key].most_common(1)[0][0] if hints[key] else "", tuple(names))
        for key, names in students.items()
    )


def _unexplained(results: list[SubmissionResult]) -> list[_Group]:
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
    return _most_frequent(_Group(*key, "", tuple(names)) for key, names in students.items())


def _flags(results: list[SubmissionResult]) -> list[_Group]:
    students: dict[str, list[str]] = defaultdict(list)
    for result in results:
        every = [*result.flags, *(flag for stage in result.stages for flag in stage.flags)]
        for flag in dict.fromkeys(one_line(flag, 300) for flag in every):
            students[flag].append(result.student)
    return _most_frequent(_Group("", flag, "", tuple(names)) for flag, names in students.items())


def _most_frequent(groups: Iterable[_Group]) -> list[_Group]:
    return sorted(groups, key=lambda group: (-len(group.students), group.key, group.words))


def _plots(
    counted: list[SubmissionResult], columns: tuple[_Column, ...], most: float
) -> Iterable[Markup]:
    """The distribution of totals and the mean of every stage; nothing where nothing counts."""
    if counted and most > 0:
        yield distribution_plot([result.points for result in counted], most)
    shares = {c.stage: c.mean / c.most for c in columns if c.mean is not None and c.most}
    if shares:
        yield stages_plot(shares)
