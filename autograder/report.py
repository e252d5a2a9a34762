"""The instructor's pages: a file for each lab with the class, its difficulties and mistakes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from markupsafe import Markup

from .item_analysis import FEWEST, POOR, Item, item_analysis
from .pages import feedback_link, render, safe_name, write_atomically
from .report_groups import (
    NAMED,
    Flagged,
    Group,
    Slow,
    mistakes,
    noticed,
    slowest,
    tampering,
    unexplained,
)
from .report_plots import distribution_plot, stages_plot
from .report_similarity import Section, section
from .results import StageResult, SubmissionResult
from .similarity import Similarity
from .wording import (
    counts,
    is_written,
    lab_title,
    number,
    one_line,
    was_submitted,
    went_wrong,
)

MOST_MISTAKES = 25
MOST_ROWS = 40
"""A longer table is folded."""


@dataclass(frozen=True)
class _Column:
    """A stage's column: its mean is None where nothing counts."""

    stage: str
    title: str
    most: float
    mean: float | None
    item: Item | None


@dataclass(frozen=True)
class _Row:
    """A student's row; a cell is None where the submission lacks the stage."""

    student: str
    link: str
    cells: tuple[StageResult | None, ...]
    points: float
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class _Lab:
    """What a lab's page says."""

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[_Column, ...]
    rows: tuple[_Row, ...]
    most: float
    mean: float | None
    plots: tuple[Markup, ...]
    mistakes: tuple[Group, ...]
    unexplained: tuple[Group, ...]
    tampering: tuple[Flagged, ...]
    noticed: tuple[Group, ...]
    slowest: tuple[Slow, ...]
    similarity: Section | None
    statuses: frozenset[str]


def write_report(
    path: Path,
    results: Sequence[SubmissionResult],
    title: str,
    similarity: Mapping[str, Similarity] | None = None,
) -> list[Path]:
    """Write the report beside its `feedback/` folder, to which it links.

    Args:
        path: The HTML file; it needs no other file to be read. With several labs it is a page of
            links, and each lab's page lies beside it: `report-LAB.html`.
        results: Any number of submissions of any number of labs.
        title: The pages' heading.
        similarity: What the comparison of attempts found, by lab; by default nothing is said of it.

    Returns:
        The pages, `path` first.
    """
    labs = _by_lab(results)
    found = similarity or {}
    if len(labs) < 2:
        write_atomically(path, report_page(results, title, found.get(next(iter(labs), ""))))
        return [path]
    links = []
    for lab, entries in labs.items():
        page = path.with_name(f"{path.stem}-{safe_name(lab)}.html")
        write_atomically(page, report_page(entries, title, found.get(lab), back=path.name))
        links.append((lab_title(entries, lab), page.name, tuple(_facts_of(entries))))
    students = len({result.student for result in results})
    write_atomically(path, render("labs.html", title=title, students=students, labs=links))
    return [path, *(path.with_name(name) for _, name, _ in links)]


def report_page(
    results: Sequence[SubmissionResult],
    title: str,
    similarity: Similarity | None = None,
    back: str = "",
) -> str:
    """The page of one lab as HTML.

    Args:
        results: The lab's submissions.
        title: The page's heading.
        similarity: What the comparison of attempts found, or None where there was none.
        back: The name of the page of all labs, or `""`.
    """
    ordered = sorted(results, key=lambda result: result.student)
    return render(
        "report.html",
        title=title,
        lab=_lab(ordered, similarity) if ordered else None,
        back=back,
        FEWEST=FEWEST,
        POOR=POOR,
        MOST_ROWS=MOST_ROWS,
        NAMED=NAMED,
    )


def _by_lab(results: Sequence[SubmissionResult]) -> dict[str, list[SubmissionResult]]:
    labs: dict[str, list[SubmissionResult]] = defaultdict(list)
    for result in sorted(results, key=lambda result: (result.lab, result.student)):
        labs[result.lab].append(result)
    return labs


def _lab(results: list[SubmissionResult], similarity: Similarity | None) -> _Lab:
    counted = [result for result in results if counts(result)]
    columns = _columns(results, counted)
    most = max(result.max_points for result in results)
    stages = [stage for result in results for stage in result.stages]
    flagged = tampering(results)
    first = {entry.student for entry in flagged}
    rows = [_row(result, columns) for result in results]
    return _Lab(
        name=results[0].lab,
        title=lab_title(results, results[0].lab),
        facts=tuple(_facts(results, counted, most)),
        columns=columns,
        rows=tuple(sorted(rows, key=lambda row: row.student not in first)),
        most=most,
        mean=fmean(result.points for result in counted) if counted else None,
        plots=tuple(_plots(counted, columns, most)),
        mistakes=tuple(mistakes(results)[:MOST_MISTAKES]),
        unexplained=tuple(unexplained(results)[:MOST_MISTAKES]),
        tampering=tuple(flagged),
        noticed=tuple(noticed(results)),
        slowest=tuple(slowest(results)),
        similarity=section(similarity) if similarity is not None else None,
        statuses=frozenset(stage.status for stage in stages),
    )


def _facts_of(results: list[SubmissionResult]) -> Iterable[tuple[str, str]]:
    most = max(result.max_points for result in results)
    return _facts(results, [result for result in results if counts(result)], most)


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
    waiting = sum(any(stage.waiting for stage in result.stages) for result in results)
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
    waiting = {stage.stage for result in counted for stage in result.stages if stage.waiting}
    items = _items(counted, [s for s in first if s not in waiting and first[s].max_points > 0])
    return tuple(
        _Column(
            name,
            one_line(first[name].title),
            first[name].max_points,
            fmean(points[name]) if points[name] and name not in waiting else None,
            items.get(name),
        )
        for name in dict.fromkeys(stage.stage for stage in every)
    )


def _items(counted: list[SubmissionResult], stages: list[str]) -> dict[str, Item]:
    """The item analysis over the submissions that have all these stages graded."""
    tables = [{s.stage: s for s in result.stages if s.status != "ungraded"} for result in counted]
    whole = [table for table in tables if all(stage in table for stage in stages)]
    if not whole or not stages:
        return {}
    points = [[table[stage].points for stage in stages] for table in whole]
    most = [max(table[stage].max_points for table in whole) for stage in stages]
    return dict(zip(stages, item_analysis(points, most), strict=True))


def _row(result: SubmissionResult, columns: tuple[_Column, ...]) -> _Row:
    found = {stage.stage: stage for stage in result.stages}
    cells = tuple(found.get(column.stage) for column in columns)
    link = feedback_link(result.student, result.lab)
    return _Row(result.student, link, cells, result.points, tuple(went_wrong(result)))


def _plots(
    counted: list[SubmissionResult], columns: tuple[_Column, ...], most: float
) -> Iterable[Markup]:
    """The distribution of totals and the mean of every stage; nothing where nothing counts."""
    if counted and most > 0:
        yield distribution_plot([result.points for result in counted], most)
    shares = {c.stage: c.mean / c.most for c in columns if c.mean is not None and c.most}
    if shares:
        yield stages_plot(shares)
