"""Grades out of the gradebook: as Canvas and Moodle import them, or as a plain CSV.

What counts is what nbgrader counts, manual grades before automatic ones, less what lateness costs
by the policies as they are now. Who has no submission has an empty cell, which changes nothing in a
learning management system.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from .course import Course
from .marks import Mark, Marks, read_marks
from .pages import write_atomically
from .roster import Person, person_of, plain_name, read_table
from .scores import guarded
from .text import TextError, read_lab
from .wording import number

FORMATS = ("canvas", "moodle", "csv")
CSV_COLUMNS = (
    "student",
    "name",
    "email",
    "lab",
    "submitted",
    "points",
    "days_late",
    "free_days",
    "penalty",
    "total",
    "max_points",
    "waiting",
)
NAMED = 5

Table = tuple[list[str], list[dict[str, str]]]


class ExportError(Exception):
    """Grades cannot be exported; the message says why and what to do."""


def export(
    course: Course, form: str, out: Path, labs: Sequence[str] = (), onto: Path | None = None
) -> list[str]:
    """Write the grades of a course.

    Args:
        course: The course.
        form: One of `FORMATS`.
        out: The CSV to write.
        labs: The labs to export; by default all that have a submission.
        onto: A CSV that Canvas or Moodle exported, to be filled in instead of made anew.

    Returns:
        What the instructor should know, one sentence each.

    Raises:
        ExportError: `onto` does not fit.
        MarksError: There is nothing to export.
        RosterError: The roster or `onto` cannot be read.
    """
    if onto is not None and form == "csv":
        raise ExportError("--onto fills in a file of Canvas or Moodle: --format canvas or moodle.")
    marks = read_marks(course, labs)
    notes = _waiting(marks)
    if onto is not None:
        columns, rows = _filled_in(course, onto, marks, notes)
    elif form == "canvas":
        columns, rows = _canvas(course, marks, notes)
    elif form == "moodle":
        columns, rows = _moodle(course, marks)
    else:
        columns, rows = _plain(marks)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out, text.getvalue())
    return notes


def _plain(marks: Marks) -> Table:
    names = {person.student: person for person in marks.people}
    rows = []
    for _, mark in sorted(marks.of.items()):
        person = names[mark.student]
        rows.append(
            {
                "student": guarded(mark.student),
                "name": guarded(person.name),
                "email": guarded(person.email),
                "lab": mark.lab,
                "submitted": mark.submitted,
                "points": number(mark.points),
                "days_late": str(mark.how.days),
                "free_days": str(mark.how.free),
                "penalty": number(mark.penalty),
                "total": number(mark.total),
                "max_points": number(mark.max_points),
                "waiting": str(mark.waiting),
            }
        )
    return list(CSV_COLUMNS), rows


def _canvas(course: Course, marks: Marks, notes: list[str]) -> Table:
    """Canvas's gradebook import: a row of points possible, then a row for each person."""
    own = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    columns = {lab: _column(course, lab) for lab in marks.labs}
    possible = {columns[lab]: number(marks.most(lab)) for lab in marks.labs}
    rows = [dict.fromkeys(own, "") | {"Student": "    Points Possible"} | possible]
    for person in marks.people:
        about = (person.name, person.canvas_id, person.sis_id, person.student, person.section)
        grades = {columns[lab]: _total(marks, person, lab) for lab in marks.labs}
        rows.append(dict(zip(own, about, strict=True)) | grades)
    unknown = [p.student for p in marks.people if not p.canvas_id and not p.sis_id]
    if unknown:
        notes.append(
            f"Canvas's number of {_named(unknown)} is not known: Canvas looks for the SIS Login "
            "ID. Its own export, as `roster` in course.toml or --onto, has the numbers."
        )
    return [*own, *columns.values()], rows


def _moodle(course: Course, marks: Marks) -> Table:
    """Moodle's gradebook import, in which the instructor says what identifies a person."""
    own = ["Username", "Full name", "Email address"]
    columns = {lab: _column(course, lab) for lab in marks.labs}
    rows = []
    for person in marks.people:
        grades = {columns[lab]: _total(marks, person, lab) for lab in marks.labs}
        about = (person.student, person.name, person.email)
        rows.append(dict(zip(own, about, strict=True)) | grades)
    return [*own, *columns.values()], rows


def _filled_in(course: Course, onto: Path, marks: Marks, notes: list[str]) -> Table:
    """A file of Canvas or Moodle with the grades in it; nothing else of it changes."""
    rows = read_table(onto)
    columns = list(rows[0]) if rows else []
    target = {lab: _target(course, lab, columns, marks, onto) for lab in marks.labs}
    found: set[str] = set()
    for row in rows:
        person = _whose(row, marks.people)
        for lab, column in target.items() if person is not None else ():
            assert person is not None
            found.add(person.student)
            total = _total(marks, person, lab)
            if total:
                row[column] = total
    most = {row.get("Maximum grade", "") for row in rows} - {""}
    for lab in marks.labs if "Grade" in target.values() else ():
        if any(abs(_value(entry) - marks.most(lab)) > 0.005 for entry in most):
            notes.append(
                f"{onto.name} has the maximum grade {', '.join(sorted(most))}, {lab} has "
                f"{number(marks.most(lab))} points: set the assignment's maximum to that."
            )
    lost = sorted({mark.student for mark in marks.of.values()} - found)
    if lost:
        notes.append(f"{onto.name} does not name {_named(lost)}: their grades are not in it.")
    return columns, rows


def _target(course: Course, lab: str, columns: list[str], marks: Marks, onto: Path) -> str:
    """The column of a lab in a file of Canvas or Moodle."""
    wanted = course.policies.of(lab).column
    if wanted in columns:
        return wanted
    if not wanted and "Grade" in columns and len(marks.labs) == 1:
        return "Grade"
    title = plain_name(wanted or _title(lab))
    fitting = [c for c in columns if plain_name(re.sub(r"\s*\([^)]*\)$", "", c)) == title]
    fitting = fitting or [column for column in columns if lab in column]
    if len(fitting) != 1:
        raise ExportError(
            f"{onto} has {'no column' if not fitting else 'several columns'} for {lab}: write its "
            f'name into course.toml, as in column = "Lab 1 (4711)". It has {", ".join(columns)}.'
        )
    return fitting[0]


def _whose(row: dict[str, str], people: Sequence[Person]) -> Person | None:
    """The person whom a row is about, or None."""
    about = person_of(row)
    if about is None:
        return None
    for key in ("canvas_id", "moodle_id", "sis_id", "email", "student"):
        value = getattr(about, key)
        fitting = [person for person in people if value and getattr(person, key) == value]
        if len(fitting) == 1:
            return fitting[0]
    name = plain_name(about.name)
    fitting = [person for person in people if name and plain_name(person.name) == name]
    return fitting[0] if len(fitting) == 1 else None


def _total(marks: Marks, person: Person, lab: str) -> str:
    mark: Mark | None = marks.of.get((person.student, lab))
    return number(mark.total) if mark is not None else ""


def _column(course: Course, lab: str) -> str:
    return course.policies.of(lab).column or _title(lab)


def _title(lab: str) -> str:
    try:
        return read_lab(lab).title
    except TextError:
        return lab


def _waiting(marks: Marks) -> list[str]:
    waiting = {place: mark for place, mark in marks.of.items() if mark.waiting}
    if not waiting:
        return []
    count = sum(mark.waiting for mark in waiting.values())
    students = sorted({student for student, _ in waiting})
    return [f"{count} answers wait to be graded or looked at by hand, of {_named(students)}."]


def _named(students: list[str]) -> str:
    more = len(students) - NAMED
    return ", ".join(students[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _value(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return 0.0
