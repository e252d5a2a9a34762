"""What comes of a class's grading: gradebook and `scores.csv` first, then the pages.

What needs no result is prepared while the first ones are on their way. What is written already for
the same result is not written again, and what other gradings wrote stays. The executed notebooks
are read one at a time, so that a large class needs little memory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import nbformat

from .bench import Bench
from .build import write_notebook
from .cache import Cache, digest
from .course import write_nbgrader_config
from .feedback import write_feedback
from .gradebook import save_lab, save_results
from .graded import Graded, executed_notebook
from .kept_results import GRADED, keep_results
from .lateness import closed
from .pages import feedback_path, write_atomically
from .policies import Policies
from .results import SubmissionResult
from .scores import write_scores
from .settle import rescored

RECORD = "written.json"
REPORT = "report"
OFTEN = 50
"""After so many submissions it is written down which have their pages."""


@dataclass(frozen=True)
class Places:
    """Where the results of a class go.

    Attributes:
        out: The output folder.
        course: The course's folder; without a course, the output folder.
        state: The output folder's own folder for what has been written.
        is_course: Whether there is a course.
    """

    out: Path
    course: Path
    state: Path
    is_course: bool


def prepare(places: Places, benches: Mapping[str, Bench], policies: Policies) -> None:
    """Do what writing a class's results needs first and what needs none of them.

    A gradebook with the labs in it is made, which takes a second where there is none.

    Args:
        places: Where the results will go.
        benches: The labs by name.
        policies: The course's.
    """
    for name, bench in benches.items():
        save_lab(places.course, name, bench.original, policies.of(name).deadline)
    if not (places.state / RECORD).exists():  # the first grading will draw a report
        import_module("autograder.report")


def write_all(
    places: Places,
    graded: list[Graded],
    benches: Mapping[str, Bench],
    policies: Policies,
    kept: Cache,
) -> list[SubmissionResult]:
    """Write everything that comes of a class's grading, after `prepare`.

    Args:
        places: Where to.
        graded: One settled result for each student and lab.
        benches: The labs by name.
        policies: The course's.
        kept: Where the executed notebooks are kept.

    Returns:
        The results as they stand in the gradebook, with the points that were given by hand.
    """
    results = save_results(places.course, [one.result for one in graded], policies)
    write_scores(places.out / "scores.csv", results)
    _write_pages(places, graded, results, benches, policies, kept)
    return results


def _write_pages(
    places: Places,
    graded: list[Graded],
    results: list[SubmissionResult],
    benches: Mapping[str, Bench],
    policies: Policies,
    kept: Cache,
) -> None:
    """Write autograded notebooks, feedback and the report, each where something has changed."""
    now = datetime.now(UTC)
    open_labs = {name: not closed(policies.of(name), now) for name in benches}
    record = places.state / RECORD
    written = _read_record(record)
    names = [
        one.name and digest(one.name, repr(_without_run(result)), open_labs[result.lab])
        for one, result in zip(graded, results, strict=True)
    ]
    count = 0
    for one, result, name in zip(graded, results, names, strict=True):
        place = f"{result.student}/{result.lab}"
        page = places.out / "feedback" / feedback_path(result.student, result.lab)
        if name and written.get(place) == name and page.exists():
            continue
        # Points by hand are in the gradebook: the notebook shows what the grader gave.
        notebook = rescored(executed_notebook(one, kept), one.result.stages)
        path = places.course / "autograded" / result.student / result.lab / f"{result.lab}.ipynb"
        if notebook is not None:
            write_notebook(path, nbformat.from_dict(notebook))
        else:
            path.unlink(missing_ok=True)
        shown = replace(result, notebook=notebook)
        write_feedback(places.out / "feedback", shown, not open_labs[result.lab])
        written[place] = "" if notebook is None and one.on_disk else name
        count += 1
        if count % OFTEN == 0:
            _write_record(record, written)
    if not places.is_course:
        _write_labs(places.out, benches)
    report = digest(names, [result.seconds for result in results])
    if not all(names) or written.get(REPORT) != report or not _report(places).exists():
        from .report import write_report  # it imports matplotlib, which takes half a second

        write_report(_report(places), results, "Grading report")
        keep_results(places.state / GRADED, [one.result for one in graded])
        written[REPORT] = report
        count += 1
    if count:
        _write_record(record, written)


def _write_labs(out: Path, benches: Mapping[str, Bench]) -> None:
    """What lets stock nbgrader and formgrader work on an output folder as on a course."""
    for name, bench in benches.items():
        write_notebook(out / "source" / name / f"{name}.ipynb", bench.source)
        write_notebook(out / "release" / name / f"{name}.ipynb", bench.original)
    write_nbgrader_config(out)


def _report(places: Places) -> Path:
    return places.out / "report.html"


def _without_run(result: SubmissionResult) -> SubmissionResult:
    """A result without its notebook and the time that it took."""
    return replace(result, notebook=None, seconds=0.0)


def _read_record(path: Path) -> dict[str, str]:
    """What was written before, by student and lab; an unreadable record is as good as none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(path: Path, written: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(written))
