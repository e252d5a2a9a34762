"""Graders' CSVs taken in: points and comments go into the gradebook, and nothing is overwritten."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .course import Course
from .gradebook import opened, save_lateness, transaction
from .roster import read_table
from .scores import unguarded
from .wording import number
from .written import WrittenAnswer, WrittenError, written_answers


@dataclass(frozen=True)
class TakenIn:
    """What was taken in.

    Attributes:
        written: How many grades were written.
        unchanged: How many stood in the gradebook already.
        empty: How many rows have no points yet.
        replaced: What was replaced, one sentence each.
        refused: What was not written and why, one sentence each.
    """

    written: int
    unchanged: int
    empty: int
    replaced: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """One graded answer in a grader's file."""

    where: str
    answer: WrittenAnswer
    points: float
    comment: str
    version: str


def take_in(course: Course, files: Sequence[Path], replace: bool = False) -> TakenIn:
    """Enter what graders wrote.

    A grade that a person gave already and that differs is left as it is, unless it is to be
    replaced; so is an answer that has changed since, and one that two graders grade differently.
    Both are said.

    Args:
        course: The course.
        files: The graders' CSVs.
        replace: Whether grades by hand that stand in the gradebook are replaced.

    Raises:
        WrittenError: A file is malformed; then nothing is written.
        RosterError: A file cannot be read.
        GradebookError: The gradebook cannot be written.
    """
    answers, _ = written_answers(course)
    by_name = {(answer.code, answer.name): answer for answer in answers}
    rows: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    empty = 0
    for file in files:
        for row in _rows(file, by_name):
            if isinstance(row, _Row):
                rows[row.answer.code, row.answer.name].append(row)
            else:
                empty += 1
    good, replaced, refused, unchanged = [], [], [], 0
    for given in rows.values():
        row, reason = given[0], _conflict(given, replace)
        old = row.answer.grade
        same = old.manual == row.points and row.comment in ("", old.comment)
        if reason:
            refused.append(f"{row.where}: {reason}")
        elif same and not old.waiting:
            unchanged += 1
        else:
            good.append(row)
            if old.manual is not None and not same:
                replaced.append(
                    f"{row.where}: {number(old.manual)} points by hand became {number(row.points)}."
                )
    late = _enter(course, good)
    return TakenIn(len(good) - len(late), unchanged, empty, tuple(replaced), (*refused, *late))


def _rows(file: Path, by_name: dict[tuple[str, str], WrittenAnswer]) -> Iterable[_Row | None]:
    """The rows of a file; None where no points are given yet."""
    table = read_table(file)
    missing = [name for name in ("code", "answer", "points") if table and name not in table[0]]
    if missing or not table:
        raise WrittenError(
            f"{file} is no file of answers: it has no column {(missing or ['code'])[0]}."
        )
    for number_of, row in enumerate(table, start=2):
        where = f"{file.name}, row {number_of}"
        code, name = row["code"].strip(), row["answer"].strip()
        if not code and not row["points"].strip():
            continue
        answer = by_name.get((code, name))
        if answer is None:
            raise WrittenError(f"{where}: there is no answer {name!r} with the code {code!r}.")
        comment = unguarded(row.get("comment", "").strip())
        text = row["points"].strip().replace(",", ".")
        if not text:
            if comment and comment != answer.grade.comment:
                raise WrittenError(f"{where}: {code} has a comment and no points.")
            yield None
            continue
        try:
            points = float(text)
        except ValueError:
            raise WrittenError(f"{where}: points are a number, not {text!r}.") from None
        if not 0 <= points <= answer.grade.max_points:
            raise WrittenError(
                f"{where}: points are from 0 to {number(answer.grade.max_points)}, not {text}."
            )
        version = row.get("version", "").strip()
        yield _Row(f"{code} {name}", answer, points, comment, version)


def _conflict(given: list[_Row], replace: bool) -> str:
    """Why an answer's grade is not written, or `""`."""
    row, old = given[0], given[0].answer.grade
    if len({(entry.points, entry.comment) for entry in given}) > 1:
        points = " and ".join(number(entry.points) for entry in given)
        return f"graders disagree, {points} points; nothing was written."
    if row.version and row.version != row.answer.version:
        return "the answer has changed since it was handed out; hand it out again."
    if replace or old.manual is None:
        return ""
    if old.manual != row.points:
        return (
            f"{number(old.manual)} points were given by hand already; {number(row.points)} was not "
            "written (--replace does)."
        )
    if row.comment and old.comment and row.comment != old.comment:
        return "another comment was written already; this one was not (--replace does)."
    return ""


def _enter(course: Course, rows: list[_Row]) -> list[str]:
    """Write grades, one transaction a submission, and what they change about lateness.

    Returns:
        What somebody else graded meanwhile and was left alone.
    """
    refused: list[str] = []
    submissions: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        submissions[row.answer.student, row.answer.lab].append(row)
    if not rows:
        return []
    with opened(course.folder) as gradebook:
        for (student, lab), together in submissions.items():
            with transaction(gradebook):
                for row in together:
                    grade = gradebook.find_grade(row.answer.cell, lab, lab, student)
                    if grade.manual_score != row.answer.grade.manual:
                        refused.append(f"{row.where}: somebody graded it at the same moment.")
                        continue
                    grade.manual_score, grade.needs_manual_grade = row.points, False
                    if row.comment:
                        comment = gradebook.find_comment(row.answer.cell, lab, lab, student)
                        comment.manual_comment = row.comment
    save_lateness(course.folder, course.policies, {student for student, _ in submissions})
    return refused
