"""The gradebook: one transaction a submission, locks waited for, manual grades left alone."""

import dataclasses
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook, InvalidEntry
from sqlalchemy import event

from autograder.course import Course, load_course
from autograder.gradebook import (
    GradebookError,
    database_url,
    gradebook_path,
    opened,
    read_entries,
    save_lab,
    save_lateness,
    save_results,
    transaction,
)
from autograder.grades import CellGrade, entries
from autograder.results import SubmissionResult
from tests.autograder.sample_course import (
    DEADLINE,
    LAB,
    enter,
    make_course,
    released,
    result,
    submitted_at,
)

ANSWER = "1_5-written"


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return make_course(tmp_path / "course")


def grade_by_hand(course: Course, student: str, cell: str, points: float, said: str = "") -> None:
    """What formgrader does when somebody types points."""
    with Gradebook(database_url(course.folder)) as gradebook:
        grade = gradebook.find_grade(cell, LAB, LAB, student)
        grade.manual_score, grade.needs_manual_grade = points, False
        if said:
            gradebook.find_comment(cell, LAB, LAB, student).manual_comment = said
        gradebook.db.commit()


def cells_of(course: Course, student: str) -> dict[str, CellGrade]:
    return read_entries(course.folder)[student, LAB].cells


def failing_after(course: Course, students: list[SubmissionResult], broken: str) -> None:
    """Enter results of which one cannot be entered."""
    bad = next(entry for entry in students if entry.student == broken)
    stages = (dataclasses.replace(bad.stages[0], points="many"), *bad.stages[1:])  # type: ignore[arg-type]
    results = [dataclasses.replace(e, stages=stages) if e is bad else e for e in students]
    save_results(course.folder, results)


def test_results_are_read_back_as_nbgrader_counts_them(course: Course) -> None:
    entered = enter(course, [result("ada", 0.5), result("alan", 1.0)])
    with Gradebook(database_url(course.folder)) as gradebook:
        for entry in entered:
            submission = gradebook.find_submission(LAB, entry.student)
            assert submission.score == pytest.approx(entry.points)
            assert submission.max_score == pytest.approx(entry.max_points)
    assert cells_of(course, "ada")[ANSWER].waiting
    assert not cells_of(course, "ada")["1_3-check"].waiting


def test_a_manual_grade_survives_a_regrade_and_counts(course: Course) -> None:
    enter(course, [result("ada", 0.5)])
    grade_by_hand(course, "ada", ANSWER, 1.5, "Good.")
    (entered,) = enter(course, [result("ada", 1.0)])
    grade = cells_of(course, "ada")[ANSWER]
    assert (grade.manual, grade.auto, grade.waiting) == (1.5, None, False)
    answer = next(stage for stage in entered.stages if stage.stage == "1.5-written")
    assert (answer.points, answer.status) == (1.5, "manual")
    assert answer.message == "Graded by hand: Good."
    assert cells_of(course, "ada")["1_3-check"].auto == cells_of(course, "ada")["1_3-check"].points


def test_a_graded_answer_that_changed_is_to_be_looked_at_again(course: Course) -> None:
    enter(course, [result("ada", answered="First.")])
    grade_by_hand(course, "ada", ANSWER, 1.5)
    enter(course, [result("ada", answered="Second.")])
    grade = cells_of(course, "ada")[ANSWER]
    assert (grade.manual, grade.waiting) == (1.5, True)
    enter(course, [result("ada", answered="Second.")])
    assert cells_of(course, "ada")[ANSWER].waiting, "until somebody has looked at it"


def test_points_by_hand_for_a_stage_go_before_the_graders(course: Course) -> None:
    enter(course, [result("ada", 0.0)])
    grade_by_hand(course, "ada", "1_3-check", 2.0)
    (same,) = enter(course, [result("ada", 0.0)])
    assert not cells_of(course, "ada")["1_3-check"].waiting
    stage = next(stage for stage in same.stages if stage.stage == "1.3")
    assert (stage.points, stage.status) == (2.0, "partial")
    enter(course, [result("ada", 0.25)])
    grade = cells_of(course, "ada")["1_3-check"]
    assert (grade.manual, grade.waiting) == (2.0, True)
    assert grade.auto is not None and grade.auto > 0


def test_a_failure_of_the_grader_is_never_zero(course: Course) -> None:
    enter(course, [result("ada", 1.0)])
    good = cells_of(course, "ada")["1_3-check"].auto
    lost = result("ada", 0.0)
    stages = tuple(dataclasses.replace(s, status="ungraded", points=0.0) for s in lost.stages)
    enter(course, [dataclasses.replace(lost, stages=stages)])
    grade = cells_of(course, "ada")["1_3-check"]
    assert (grade.auto, grade.waiting) == (good, True)


def test_a_submission_is_entered_whole_or_not_at_all(course: Course) -> None:
    save_lab(course.folder, LAB, released())
    with pytest.raises((InvalidEntry, GradebookError, ValueError, TypeError)):
        failing_after(course, [result("ada"), result("bob"), result("cyd")], "bob")
    known = read_entries(course.folder)
    assert ("ada", LAB) in known and ("bob", LAB) not in known
    with Gradebook(database_url(course.folder)) as gradebook:
        assert [student.id for student in gradebook.students] == ["ada"]


def test_nothing_of_a_transaction_that_fails_stays(course: Course) -> None:
    with opened(course.folder) as gradebook:
        with pytest.raises(RuntimeError), transaction(gradebook):
            gradebook.update_or_create_student("ada")
            raise RuntimeError
        assert gradebook.students == []
        with transaction(gradebook):
            gradebook.update_or_create_student("bob")
        assert [student.id for student in gradebook.students] == ["bob"]


def test_what_stands_there_already_is_not_written_again(course: Course) -> None:
    """So an unchanged grading needs no lock, and none of its thousand transactions."""
    same = [result("ada", 0.5), result("bob", 0.5)]
    enter(course, same)
    lock = sqlite3.connect(gradebook_path(course.folder), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    save_results(course.folder, same, course.policies, wait=0.1)
    with pytest.raises(GradebookError):
        save_results(course.folder, [result("ada", 0.25)], course.policies, wait=0.1)
    lock.close()


def test_a_locked_gradebook_is_waited_for(course: Course) -> None:
    save_lab(course.folder, LAB, released())
    lock = sqlite3.connect(
        gradebook_path(course.folder), isolation_level=None, check_same_thread=False
    )
    lock.execute("BEGIN EXCLUSIVE")
    waiting = threading.Timer(0.5, lambda: lock.execute("ROLLBACK"))
    waiting.start()
    save_results(course.folder, [result("ada")], wait=30)
    waiting.join()
    lock.close()
    assert ("ada", LAB) in read_entries(course.folder)


SAVING = """
import sys
from pathlib import Path
from autograder.course import load_course
from autograder.gradebook import save_results
from tests.autograder.sample_course import result

course = load_course(Path(sys.argv[1]))
results = [result(student, 0.5) for student in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.readline()
save_results(course.folder, results, course.policies)
"""


def test_two_processes_may_write_at_once(course: Course) -> None:
    save_lab(course.folder, LAB, released())
    groups = [[f"{name}{number}" for number in range(10)] for name in ("ada", "bob")]
    root, pipe = Path(__file__).parents[2], subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVING, str(course.folder), *group],
            cwd=root,
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for group in groups
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate() and process.returncode for process in processes] == [0, 0]
    known = read_entries(course.folder)
    assert set(known) == {(student, LAB) for group in groups for student in group}
    assert {entry.points for entry in known.values()} == {result("ada", 0.5).points}


BETWEEN = """
import sys
from pathlib import Path
from autograder.gradebook import GradebookError, save_results
from tests.autograder.sample_course import result

try:
    save_results(Path(sys.argv[1]), [result("bob", 0.5)], wait=0.1)
except GradebookError:
    print("waited")
"""


def test_what_is_read_is_of_one_moment(course: Course) -> None:
    """Another process enters a submission after the first query, if it can."""
    save_lab(course.folder, LAB, released())
    save_results(course.folder, [result("ada", 0.5)])
    said: list[str] = []

    def write(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if said or "manual_comment" not in statement:
            return
        command = [sys.executable, "-c", BETWEEN, str(course.folder)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, text=True, stdout=subprocess.PIPE, check=True)
        said.append(done.stdout)

    with opened(course.folder) as gradebook:
        event.listen(gradebook.engine, "before_cursor_execute", write)
        found = entries(gradebook)
    assert set(found) == {("ada", LAB)} and found["ada", LAB].points > 0
    assert said == ["waited\n"]
    save_results(course.folder, [result("bob", 0.5)])
    assert ("bob", LAB) in read_entries(course.folder)


def test_a_gradebook_that_stays_locked_is_said(course: Course) -> None:
    save_lab(course.folder, LAB, released())
    lock = sqlite3.connect(gradebook_path(course.folder), isolation_level=None)
    for mode in ("IMMEDIATE", "EXCLUSIVE"):
        lock.execute(f"BEGIN {mode}")
        with pytest.raises(GradebookError, match="was locked by another program for 0.1 seconds"):
            save_results(course.folder, [result("ada")], wait=0.1)
        lock.execute("ROLLBACK")
    lock.close()
    assert read_entries(course.folder) == {}


def test_a_file_that_is_no_gradebook_is_said(tmp_path: Path) -> None:
    gradebook_path(tmp_path).write_bytes(b"This is not a database." * 100)
    with pytest.raises(GradebookError, match="gradebook.db cannot be used: file is not a database"):
        save_results(tmp_path, [result("ada")])


def test_times_deadlines_and_penalties_are_in_nbgraders_gradebook(tmp_path: Path) -> None:
    course = make_course(
        tmp_path,
        "deadline = 2026-10-14T22:00:00Z\nextensions = { alan = 2 }\nlate = { cost = 0.25 }",
    )
    enter(course, [result(name, version=submitted_at(30)) for name in ("ada", "alan")])
    with Gradebook(database_url(course.folder)) as gradebook:
        ada, alan = (gradebook.find_submission(LAB, name) for name in ("ada", "alan"))
        assert ada.assignment.duedate == DEADLINE.replace(tzinfo=None)
        assert (ada.total_seconds_late, alan.total_seconds_late) == (30 * 3600, 0)
        assert alan.extension == timedelta(days=2)
        assert ada.late_submission_penalty == ada.max_score / 2
        assert alan.late_submission_penalty == 0


def test_a_changed_policy_takes_effect_without_running_anything(tmp_path: Path) -> None:
    course = make_course(tmp_path, "deadline = 2026-10-14T22:00:00Z")
    judged = [result("ada", 0.5, submitted_at(1))]
    (before,) = enter(course, judged)
    course = make_course(
        tmp_path,
        'deadline = 2026-10-14T22:00:00Z\nlate = { cost = 0.1 }\nwaive = [{ stage = "1.3" }]',
    )
    (after,) = enter(course, judged)
    assert after.penalty > 0 == before.penalty
    worth = {stage.stage: stage.max_points for stage in after.stages}
    assert cells_of(course, "ada")["1_3-check"].auto == worth["1.3"]
    assert cells_of(course, "ada")["1_4-check"].auto == worth["1.4"] / 2


def test_points_by_hand_change_what_lateness_may_take(tmp_path: Path) -> None:
    course = make_course(tmp_path, "deadline = 2026-10-14T22:00:00Z\nlate = { cap = 0.0 }")
    enter(course, [result("ada", 0.5, submitted_at(1))])
    first = read_entries(course.folder)["ada", LAB]
    grade_by_hand(course, "ada", ANSWER, 2.0)
    save_lateness(course.folder, course.policies, {"ada"})
    second = read_entries(course.folder)["ada", LAB]
    assert (first.penalty, second.penalty) == (first.points, first.points + 2.0)


def test_a_manual_grade_of_a_cell_that_is_worth_something_else_is_marked(course: Course) -> None:
    enter(course, [result("ada"), result("alan")])
    grade_by_hand(course, "ada", ANSWER, 2.0)
    weighed = make_course(course.folder, 'weights = { "1.5-written" = 3 }')
    enter(weighed, [result("ada"), result("alan")])
    grade = cells_of(course, "ada")[ANSWER]
    assert (grade.manual, grade.max_points, grade.waiting) == (2.0, 6.0, True)
    assert not cells_of(course, "alan")["1_3-check"].waiting


def test_stages_cannot_change_under_submissions(course: Course) -> None:
    enter(course, [result("ada")])
    fewer = make_course(course.folder, 'stages = ["1.3"]')
    assert load_course(course.folder) == fewer
    with pytest.raises(GradebookError, match="stages are chosen before the first submission"):
        enter(fewer, [result("ada", course=fewer)])


def test_a_course_with_chosen_stages_has_only_those_in_its_gradebook(tmp_path: Path) -> None:
    course = make_course(tmp_path, 'stages = ["1.3", "1.5"]\nweights = { "1.3" = 2 }')
    enter(course, [result("ada", 0.5, course=course)])
    cells = cells_of(course, "ada")
    assert set(cells) == {"1_3-check", "1_5-check", ANSWER}
    assert cells["1_3-check"].auto == cells["1_3-check"].max_points / 2
