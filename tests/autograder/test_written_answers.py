"""Written answers: dealt to graders without names, taken in again, nothing overwritten silently."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from autograder.cli import main
from autograder.course import Course, load_course
from autograder.gradebook import database_url, read_entries
from autograder.roster import read_table
from autograder.written import WrittenError, written_answers
from autograder.written_in import take_in
from autograder.written_out import COLUMNS, hand_out
from tests.autograder.sample_course import LAB, enter, make_course, result, submitted_at

STUDENTS = ("ada", "alan", "barbara", "edsger", "grace")
ANSWER, CELL = "1.5-written", "1_5-written"
POLICIES = 'stages = ["1.3", "1.5"]'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five students with an answer each; that of a sixth is empty."""
    course = make_course(tmp_path_factory.mktemp("template") / "course", POLICIES)
    entries = [result(name, 0.5, course=course, answered=f"I am {name}'s.") for name in STUDENTS]
    enter(course, [*entries, result("nobody", course=course, answered=None)])
    return course.folder


@pytest.fixture
def course(template: Path, tmp_path: Path) -> Course:
    """A course of one's own."""
    return load_course(Path(shutil.copytree(template, tmp_path / "course")))


def out(course: Course) -> Path:
    return course.folder / "answers"


def fill(path: Path, points: dict[str, str], comment: str = "") -> None:
    """What a grader does: points and a comment to answers, by their text."""
    rows = read_table(path)
    for row in rows:
        for text, given in points.items():
            if text in row["text"]:
                row["points"], row["comment"] = given, comment
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def handed_to_one(course: Course) -> Path:
    hand_out(course, 1, out(course))
    return out(course) / "answers-1.csv"


def manual(course: Course, student: str) -> float | None:
    return read_entries(course.folder)[student, LAB].cells[CELL].manual


def in_formgrader(course: Course, student: str, points: float, said: str | None = None) -> None:
    with Gradebook(database_url(course.folder)) as gradebook:
        grade = gradebook.find_grade(CELL, LAB, LAB, student)
        grade.manual_score, grade.needs_manual_grade = points, False
        gradebook.find_comment(CELL, LAB, LAB, student).manual_comment = said
        gradebook.db.commit()


def test_answers_are_dealt_evenly_and_each_to_one_grader(course: Course) -> None:
    done = hand_out(course, 2, out(course))
    assert sorted(done.counts) == [2, 3]
    tables = [read_table(out(course) / f"answers-{place}.csv") for place in (1, 2)]
    codes = [row["code"] for table in tables for row in table]
    assert len(codes) == len(set(codes)) == 5, "an empty answer needs no grader"
    assert {row["text"] for table in tables for row in table} == {f"I am {n}'s." for n in STUDENTS}


def test_nothing_handed_out_names_a_student_or_gives_the_secret_away(tmp_path: Path) -> None:
    course = make_course(tmp_path, POLICIES)
    enter(course, [result(name, course=course, answered="x") for name in STUDENTS])
    done = hand_out(course, 2, out(course))
    for path in done.files:
        text = path.read_text(encoding="utf-8-sig")
        # As words: a code is drawn, and may have the letters of a name in it.
        assert not [name for name in STUDENTS if re.search(rf"\b{name}\b", text)], path
        assert course.secret not in text, path
    first, _ = written_answers(course)
    other, _ = written_answers(make_course(tmp_path, POLICIES))
    assert [answer.code for answer in first] == [answer.code for answer in other]


def test_graders_get_the_question_its_rubric_and_a_good_answer(course: Course) -> None:
    hand_out(course, 1, out(course))
    text = (out(course) / "questions.md").read_text(encoding="utf-8")
    assert "## 1.5-written: 2 points" in text and "| points | for |" in text
    assert "### A good answer" in text


def test_formgraders_queue_opens_the_submission(course: Course) -> None:
    hand_out(course, 1, out(course), formgrader="http://grading.example/")
    html = (out(course) / "queue-1.html").read_text(encoding="utf-8")
    for name in STUDENTS:
        entry = read_entries(course.folder)[name, LAB]
        assert f'href="http://grading.example/formgrader/submissions/{entry.id}/"' in html


def test_points_and_comments_come_into_the_gradebook(course: Course) -> None:
    path = handed_to_one(course)
    fill(path, {"ada": "1,5", "alan": "0"}, "Why?")
    taken = take_in(course, [path])
    assert (taken.written, taken.empty, taken.refused) == (2, 3, ())
    assert (manual(course, "ada"), manual(course, "alan")) == (1.5, 0.0)
    grade = read_entries(course.folder)["ada", LAB].cells[CELL]
    assert (grade.comment, grade.waiting) == ("Why?", False)
    with Gradebook(database_url(course.folder)) as gradebook:
        assert gradebook.find_submission(LAB, "barbara").needs_manual_grade
        assert not gradebook.find_submission(LAB, "ada").needs_manual_grade
    again = take_in(course, [path])
    assert (again.written, again.unchanged) == (0, 2)


def test_only_what_waits_is_handed_out_again(course: Course) -> None:
    in_formgrader(course, "ada", 2.0, "Right.")
    assert hand_out(course, 1, out(course)).counts == (4,)
    hand_out(course, 1, out(course), everything=True)
    rows = {row["text"]: row for row in read_table(out(course) / "answers-1.csv")}
    assert rows["I am ada's."]["points"] == "2"
    assert rows["I am ada's."]["comment"] == "Right."


def test_a_manual_grade_is_never_overwritten_silently(course: Course) -> None:
    path = handed_to_one(course)
    fill(path, {"ada": "1", "alan": "1"})
    in_formgrader(course, "ada", 2.0, "Right.")
    taken = take_in(course, [path])
    assert (manual(course, "ada"), manual(course, "alan")) == (2.0, 1.0)
    (refused,) = taken.refused
    assert "2 points were given by hand already; 1 was not written" in refused
    replaced = take_in(course, [path], replace=True)
    assert manual(course, "ada") == 1.0
    assert len(replaced.replaced) == 1 and "2 points by hand became 1" in replaced.replaced[0]


def test_a_comment_is_never_overwritten_silently(course: Course) -> None:
    path = handed_to_one(course)
    fill(path, {"ada": "2"}, "Wrong.")
    in_formgrader(course, "ada", 2.0, "Right.")
    assert "another comment was written already" in take_in(course, [path]).refused[0]
    assert read_entries(course.folder)["ada", LAB].cells[CELL].comment == "Right."


def test_graders_who_disagree_are_told(course: Course) -> None:
    path = handed_to_one(course)
    other = path.with_name("copy.csv")
    other.write_bytes(path.read_bytes())
    fill(path, {"ada": "1", "alan": "1"})
    fill(other, {"ada": "2", "alan": "1"})
    taken = take_in(course, [path, other])
    assert (manual(course, "ada"), manual(course, "alan")) == (None, 1.0)
    assert "graders disagree, 1 and 2 points" in taken.refused[0]


def test_an_answer_that_changed_since_is_not_graded_unread(course: Course) -> None:
    path = handed_to_one(course)
    fill(path, {"ada": "1"})
    enter(course, [result("ada", 0.5, course=course, answered="Something else.")])
    assert "has changed since it was handed out" in take_in(course, [path]).refused[0]
    assert manual(course, "ada") is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (",1,2,", ",3,2,", "points are from 0 to 2, not 3"),
        (",1,2,", ",good,2,", "points are a number, not 'good'"),
        (",1,2,", ",nan,2,", "points are from 0 to 2, not nan"),
        ("1.5-written,1,", "1.6-written,1,", "there is no answer '1.6-written' with the code"),
        ("code,lab", "kode,lab", "is no file of answers: it has no column code"),
    ],
)
def test_a_malformed_file_changes_nothing(
    old: str, new: str, sentence: str, course: Course
) -> None:
    path = handed_to_one(course)
    fill(path, dict.fromkeys(STUDENTS, "1"))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(WrittenError, match=sentence):
        take_in(course, [path])
    assert [manual(course, name) for name in STUDENTS] == [None] * 5


def test_a_spreadsheet_may_save_with_semicolons_and_its_own_encoding(course: Course) -> None:
    path = handed_to_one(course)
    fill(path, {"ada": "1,5"}, "Schön.")
    rows = read_table(path)
    with path.open("w", encoding="cp1252", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    take_in(course, [path])
    grade = read_entries(course.folder)["ada", LAB].cells[CELL]
    assert (grade.manual, grade.comment) == (1.5, "Schön.")


def test_an_answer_is_no_formula(course: Course) -> None:
    enter(course, [result("ada", course=course, answered='=HYPERLINK("http://evil.example")')])
    assert "'=HYPERLINK" in handed_to_one(course).read_text(encoding="utf-8-sig")


def test_what_graders_give_changes_what_lateness_takes(tmp_path: Path) -> None:
    course = make_course(
        tmp_path, POLICIES + "\ndeadline = 2026-10-14T22:00:00Z\nlate = { cap = 0.0 }"
    )
    enter(course, [result("ada", 0.5, submitted_at(1), course)])
    path = handed_to_one(course)
    fill(path, {"Because": "2"})
    take_in(course, [path])
    entry = read_entries(course.folder)["ada", LAB]
    assert entry.penalty == entry.points


def test_the_command_hands_out_and_takes_in(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ["--course", str(course.folder)]
    assert main(["answers", "--split", "2", *of]) == 0
    assert "Answers for each grader: " in capsys.readouterr().out
    files = [out(course) / f"answers-{place}.csv" for place in (1, 2)]
    for path in files:
        fill(path, dict.fromkeys(STUDENTS, "1"))
    assert main(["answers", "--collect", *map(str, files), *of]) == 0
    assert "5 grades were written" in capsys.readouterr().out
    assert main(["answers", "--split", "2", *of]) == 1
    assert "No written answer waits to be graded" in capsys.readouterr().err
    for path in files:
        fill(path, dict.fromkeys(STUDENTS, "2"))
    assert main(["answers", "--collect", *map(str, files), *of]) == 1
    assert [manual(course, name) for name in STUDENTS] == [1.0] * 5
