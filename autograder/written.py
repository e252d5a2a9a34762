"""The written answers of a course, each under a code that does not say whose it is."""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .choice import chosen, weighted
from .course import Course
from .gradebook import gradebook_path, read_entries
from .grades import CellGrade, Entry
from .submission import SubmissionError, read_submission
from .text import Cell, LabText, lab_names, read_lab


class WrittenError(Exception):
    """Written answers cannot be handed out or taken in; the message says why."""


@dataclass(frozen=True)
class WrittenAnswer:
    """One written answer.

    Attributes:
        code: What graders see instead of the student.
        student: The student's id.
        lab: The lab's name.
        name: The answer's name, such as `1.5-written`.
        cell: Its cell.
        text: What the student wrote.
        grade: Its grade in the gradebook.
        submission: nbgrader's id of the submitted notebook.
    """

    code: str
    student: str
    lab: str
    name: str
    cell: str
    text: str
    grade: CellGrade
    submission: str

    @property
    def version(self) -> str:
        """A hash of the text, which no spreadsheet takes for a number."""
        return f"v{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def written_answers(course: Course, labs: Sequence[str] = ()) -> tuple[list[WrittenAnswer], int]:
    """The written answers in the autograded notebooks of a course.

    Args:
        course: The course.
        labs: The labs; by default all.

    Returns:
        The answers by lab, name and code, and how many submissions have no autograded notebook.

    Raises:
        WrittenError: Nothing is graded yet, or there is no such lab.
    """
    if not gradebook_path(course.folder).exists():
        raise WrittenError(f"{course.folder} has no gradebook yet: run `autograder grade` first.")
    unknown = sorted(set(labs) - set(lab_names()))
    if unknown:
        raise WrittenError(
            f"There is no lab {unknown[0]!r}; the labs are {', '.join(lab_names())}."
        )
    found: list[WrittenAnswer] = []
    lost = 0
    known = read_entries(course.folder)
    for lab in [lab for lab in lab_names() if not labs or lab in labs]:
        cells = answer_cells(course, lab)
        for entry in [entry for entry in known.values() if entry.lab == lab]:
            texts = _texts(course, entry)
            lost += texts is None
            code = _code(course.secret, entry.student, lab)
            found += [
                WrittenAnswer(
                    code,
                    entry.student,
                    lab,
                    cell.name,
                    cell.id,
                    (texts or {}).get(cell.id, ""),
                    entry.cells[cell.id],
                    entry.id,
                )
                for cell in cells
                if cell.id in entry.cells and texts is not None
            ]
    found.sort(key=lambda answer: (lab_names().index(answer.lab), answer.name, answer.code))
    return found, lost


def course_text(course: Course, lab: str) -> LabText:
    """The lab's text as the course has it."""
    choice = course.policies.of(lab).choice
    return weighted(chosen(read_lab(lab), choice), choice)


def answer_cells(course: Course, lab: str) -> list[Cell]:
    """The cells of a lab that are answered in words."""
    return [cell for cell in course_text(course, lab).cells if cell.role == "answer"]


def _texts(course: Course, entry: Entry) -> dict[str, str] | None:
    """The texts of an autograded notebook by cell, or None where there is none."""
    path: Path = course.folder / "autograded" / entry.student / entry.lab / f"{entry.lab}.ipynb"
    try:
        return {cell.id: cell.source for cell in read_submission(path).cells}
    except SubmissionError:
        return None


def _code(secret: str, student: str, lab: str) -> str:
    """A code for a submission; whoever lacks the secret learns nothing from it."""
    made = hmac.new(secret.encode(), f"answers/{lab}/{student}".encode(), hashlib.sha256).digest()
    text = b32encode(made).decode()
    return f"{text[:4]}-{text[4:8]}"
