"""The gradebook read: what stands in it for each submission, as plain records."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from nbgrader.api import (
    Assignment,
    Comment,
    Grade,
    Gradebook,
    GradeCell,
    SolutionCell,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
)
from sqlalchemy import select

from .text import answer_id


@dataclass(frozen=True)
class CellGrade:
    """The grade of one cell.

    Attributes:
        auto: What the grader gave, or None.
        manual: What a person gave, or None.
        extra: Extra credit that a person gave.
        max_points: What the cell is worth.
        waiting: Whether a person is to look at it.
        comment: What a person wrote to it.
    """

    auto: float | None
    manual: float | None
    extra: float
    max_points: float
    waiting: bool
    comment: str = ""

    @property
    def points(self) -> float:
        """What counts: a person's grade goes before the grader's."""
        given = self.manual if self.manual is not None else self.auto
        return (given or 0.0) + self.extra


@dataclass(frozen=True)
class Entry:
    """What the gradebook has for one submission.

    Attributes:
        student: The student's id.
        lab: The lab's name.
        id: nbgrader's id of the submitted notebook, as in formgrader's addresses.
        submitted: When it was submitted (UTC), or None.
        penalty: What lateness takes off.
        extension: The student's longer time, or None.
        cells: The grades by cell.
    """

    student: str
    lab: str
    id: str
    submitted: datetime | None
    penalty: float
    extension: timedelta | None = None
    cells: dict[str, CellGrade] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """What was earned, lateness apart."""
        return round(sum(cell.points for cell in self.cells.values()), 2)

    @property
    def max_points(self) -> float:
        """What can be earned."""
        return round(sum(cell.max_points for cell in self.cells.values()), 2)


Entries = dict[tuple[str, str], Entry]
"""Entries by student and lab."""


@dataclass(frozen=True)
class Person:
    """A student as the gradebook knows them; what is unknown is `""`."""

    student: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_id: str = ""


def cell_of(stage: str) -> str:
    """The graded cell of a stage or of a written answer."""
    number = re.fullmatch(r"\d+(\.\d+)*", stage)
    return f"{stage.replace('.', '_')}-check" if number else answer_id(stage)


def entries(gradebook: Gradebook) -> Entries:
    """Everything that a gradebook has at one moment, in three queries."""
    with _one_moment(gradebook):
        return _entries(gradebook)


@contextmanager
def _one_moment(gradebook: Gradebook) -> Iterator[None]:
    """What is read in the block stands together; another process's writing waits for its end."""
    connection = gradebook.db.connection()
    raw: Any = connection.connection.dbapi_connection
    if raw.in_transaction:
        yield
        return
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        connection.exec_driver_sql("COMMIT")


def _entries(gradebook: Gradebook) -> Entries:
    db = gradebook.db
    made: Entries = {}
    by_id: dict[str, Entry] = {}
    submissions = (
        select(
            SubmittedNotebook.id,
            Student.id,
            Assignment.name,
            SubmittedAssignment.timestamp,
            SubmittedNotebook.late_submission_penalty,
            SubmittedAssignment.extension,
        )
        .join(SubmittedAssignment, SubmittedAssignment.id == SubmittedNotebook.assignment_id)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(Student, Student.id == SubmittedAssignment.student_id)
    )
    for name, student, lab, timestamp, penalty, extension in db.execute(submissions):
        submitted = timestamp.replace(tzinfo=UTC) if timestamp else None
        entry = Entry(student, lab, name, submitted, penalty or 0.0, extension)
        made[student, lab] = by_id[name] = entry
    comments = _comments(gradebook)
    grades = select(
        Grade.notebook_id,
        GradeCell.name,
        Grade.auto_score,
        Grade.manual_score,
        Grade.extra_credit,
        GradeCell.max_score,
        Grade.needs_manual_grade,
    ).join(GradeCell, GradeCell.id == Grade.cell_id)
    for name, cell, auto, manual, extra, most, waiting in db.execute(grades):
        comment = comments.get((name, cell), "")
        grade = CellGrade(auto, manual, extra or 0.0, most, bool(waiting), comment)
        by_id[name].cells[cell] = grade
    return made


def _comments(gradebook: Gradebook) -> dict[tuple[str, str], str]:
    rows: Iterable[Any] = gradebook.db.execute(
        select(Comment.notebook_id, SolutionCell.name, Comment.manual_comment)
        .join(SolutionCell, SolutionCell.id == Comment.cell_id)
        .where(Comment.manual_comment.is_not(None))
    )
    return {(name, cell): text for name, cell, text in rows}


def people(gradebook: Gradebook) -> dict[str, Person]:
    """The students of a gradebook by their ids."""
    return {
        s.id: Person(
            s.id, s.first_name or "", s.last_name or "", s.email or "", s.lms_user_id or ""
        )
        for s in gradebook.students
    }
