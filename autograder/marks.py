"""What every student has in every lab, out of the gradebook, with lateness by today's policies."""

from collections.abc import Sequence
from dataclasses import dataclass

from .course import Course
from .gradebook import gradebook_path, opened
from .grades import Entries, Entry, entries, people
from .lateness import Lateness
from .roster import Person
from .settle import lateness_of, penalty_of
from .text import TextError, lab_number


class MarksError(Exception):
    """There are no marks to export; the message says why and what to do."""


@dataclass(frozen=True)
class Mark:
    """What one student has in one lab.

    Attributes:
        student: The student's id.
        lab: The lab's name.
        points: What was earned, lateness apart.
        penalty: What lateness takes off.
        max_points: What can be earned.
        how: How late it is.
        submitted: When it was submitted (UTC, ISO 8601), or `""`.
        waiting: How many cells a person has yet to grade or to look at.
    """

    student: str
    lab: str
    points: float
    penalty: float
    max_points: float
    how: Lateness
    submitted: str
    waiting: int

    @property
    def total(self) -> float:
        """What counts."""
        return round(max(0.0, self.points - self.penalty), 2)


@dataclass(frozen=True)
class Marks:
    """The marks of a course.

    Attributes:
        labs: The labs in their order.
        people: Everybody who is in the gradebook or on the roster.
        of: The marks by student and lab.
    """

    labs: tuple[str, ...]
    people: tuple[Person, ...]
    of: dict[tuple[str, str], Mark]

    def most(self, lab: str) -> float:
        """What a lab is worth."""
        return max(mark.max_points for mark in self.of.values() if mark.lab == lab)


def read_marks(course: Course, labs: Sequence[str] = ()) -> Marks:
    """What the gradebook of a course has; raises MarksError where that is nothing.

    Args:
        course: The course.
        labs: The labs; by default all that have a submission.
    """
    path = gradebook_path(course.folder)
    if not path.exists():
        raise MarksError(f"{course.folder} has no gradebook yet: run `autograder grade` first.")
    with opened(course.folder) as gradebook:
        known, in_book = entries(gradebook), people(gradebook)
    present = sorted({lab for _, lab in known}, key=_place)
    missing = [lab for lab in labs if lab not in present]
    if missing or not present:
        raise MarksError(f"{path} has no submission{f' of {missing[0]}' if missing else ''}.")
    chosen = tuple(lab for lab in present if lab in (labs or present))
    everybody = {person.student: person for person in course.people()}
    for student, about in in_book.items():
        person = everybody.get(student, Person(student))
        everybody[student] = Person(
            student,
            person.name or f"{about.first_name} {about.last_name}".strip(),
            person.email or about.email,
            person.canvas_id or about.lms_id,
            person.sis_id,
            person.section,
            person.moodle_id,
        )
    marks = {place: _mark(course, entry, known) for place, entry in known.items()}
    return Marks(
        chosen,
        tuple(everybody[student] for student in sorted(everybody)),
        {place: mark for place, mark in marks.items() if mark.lab in chosen},
    )


def _mark(course: Course, entry: Entry, known: Entries) -> Mark:
    return Mark(
        entry.student,
        entry.lab,
        entry.points,
        penalty_of(course.policies, entry, known),
        entry.max_points,
        lateness_of(course.policies, entry, known),
        entry.submitted.isoformat() if entry.submitted else "",
        sum(cell.waiting for cell in entry.cells.values()),
    )


def _place(lab: str) -> tuple[int, str]:
    """Labs in their order; an assignment of the gradebook that is no lab comes last."""
    try:
        return lab_number(lab), lab
    except TextError:
        return 1000, lab
