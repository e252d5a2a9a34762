"""Written answers handed out to graders: a CSV and a formgrader queue each, and the questions."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .catalogue import load_catalogue
from .course import Course
from .pages import render, write_atomically
from .scores import guarded
from .wording import number
from .written import WrittenAnswer, WrittenError, answer_cells, course_text, written_answers

COLUMNS = (
    "code",
    "lab",
    "answer",
    "points",
    "max_points",
    "comment",
    "text",
    "version",
    "formgrader",
)
FORMGRADER = "http://localhost:8888"


@dataclass(frozen=True)
class HandedOut:
    """What was handed out.

    Attributes:
        counts: For each grader, how many answers.
        files: What was written.
        notes: What the instructor should know.
    """

    counts: tuple[int, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def hand_out(
    course: Course,
    graders: int,
    out: Path,
    labs: Sequence[str] = (),
    everything: bool = False,
    formgrader: str = FORMGRADER,
) -> HandedOut:
    """Deal the written answers to graders: all of a submission to the same one, evenly many each.

    Args:
        course: The course.
        graders: How many there are.
        out: The folder to write `answers-K.csv`, `queue-K.html` and `questions.md` into.
        labs: The labs; by default all.
        everything: Whether answers that are graded already are handed out again.
        formgrader: The address of the server that formgrader runs on.

    Raises:
        WrittenError: There is no answer to grade.
    """
    answers, lost = written_answers(course, labs)
    wanted = [a for a in answers if a.grade.waiting or (everything and a.grade.manual is not None)]
    if not wanted:
        raise WrittenError(
            "No written answer waits to be graded; --all hands out those again that are graded."
        )
    notes = []
    if lost:
        notes.append(f"{lost} submissions have no autograded notebook: run `autograder grade`.")
    hands = _deal(wanted, graders)
    files = []
    for place, hand in enumerate(hands, start=1):
        files.append(out / f"answers-{place}.csv")
        write_atomically(files[-1], _as_csv(hand, formgrader))
        files.append(out / f"queue-{place}.html")
        queue = [
            (a.code, a.name, number(a.grade.max_points), _address(a, formgrader)) for a in hand
        ]
        write_atomically(files[-1], render("queue.html", grader=place, queue=queue))
    files.append(out / "questions.md")
    write_atomically(files[-1], _questions(course, list(dict.fromkeys(a.lab for a in wanted))))
    return HandedOut(tuple(map(len, hands)), tuple(files), tuple(notes))


def _deal(answers: list[WrittenAnswer], graders: int) -> list[list[WrittenAnswer]]:
    """Answers by grader: submissions are dealt in the order of their codes, which is by chance."""
    submissions: dict[tuple[str, str], list[WrittenAnswer]] = defaultdict(list)
    for answer in answers:
        submissions[answer.lab, answer.code].append(answer)
    hands: list[list[WrittenAnswer]] = [[] for _ in range(graders)]
    for _, together in sorted(submissions.items()):
        min(hands, key=len).extend(together)
    # A grader reads all answers to one question after each other.
    return [sorted(hand, key=lambda a: (a.lab, a.name, a.code)) for hand in hands]


def _as_csv(hand: list[WrittenAnswer], formgrader: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in hand:
        given = answer.grade.manual
        writer.writerow(
            (
                answer.code,
                answer.lab,
                answer.name,
                "" if given is None else number(given),
                number(answer.grade.max_points),
                guarded(answer.grade.comment),
                guarded(answer.text),
                answer.version,
                _address(answer, formgrader),
            )
        )
    # Excel takes a CSV for UTF-8 only with this mark.
    return "\ufeff" + text.getvalue()


def _address(answer: WrittenAnswer, formgrader: str) -> str:
    return f"{formgrader.rstrip('/')}/formgrader/submissions/{answer.submission}/"


def _questions(course: Course, labs: list[str]) -> str:
    """Each question with its rubric and our answer, for the graders."""
    parts = []
    for lab in labs:
        text, catalogue = course_text(course, lab), load_catalogue(lab)
        parts.append(f"# {text.title}")
        for cell in answer_cells(course, lab):
            place = text.cells.index(cell)
            question = next(c for c in reversed(text.cells[:place]) if c.role == "text")
            model = catalogue.answers.get(cell.name, "")
            parts.append(f"## {cell.name}: {number(cell.points)} points\n\n{question.source}")
            if model:
                parts.append(f"### A good answer\n\n{model}")
    return "\n\n".join(part.strip() for part in parts) + "\n"
