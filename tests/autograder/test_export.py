"""Exports: what Canvas and Moodle read, and that manual grades and policies are in it."""

import csv
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from autograder.cli import main
from autograder.course import Course, load_course
from autograder.export import ExportError, export
from autograder.gradebook import database_url
from autograder.marks import MarksError, read_marks
from tests.autograder.sample_course import LAB, enter, make_course, released, result, submitted_at

POLICIES = 'deadline = 2026-10-14T22:00:00Z\nlate = { cost = 0.25 }\ncolumn = "Lab 1 (4711)"'
ROSTER = (
    "Student,ID,SIS User ID,SIS Login ID,Section\n"
    '"Lovelace, Ada",11,s11,ada,A\n"Turing, Alan",12,s12,alan,A\n"Hopper, Grace",13,s13,grace,B\n'
)


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """Ada in time and graded by hand, Alan two days late; Grace handed in nothing."""
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    made = make_course(folder, POLICIES, before='roster = "roster.csv"')
    enter(made, [result("ada", 1.0, submitted_at(-1)), result("alan", 1.0, submitted_at(40))])
    with Gradebook(database_url(folder)) as gradebook:
        for cell in written():
            grade = gradebook.find_grade(cell, LAB, LAB, "ada")
            grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    return made


def written() -> list[str]:
    cells = released().cells
    return [cell.id for cell in cells if cell.metadata["aisys"]["role"] == "answer"]


def of_ada() -> float:
    """What the machine gives and what was given by hand."""
    return result("ada").points + 1.5 * len(written())


def most() -> float:
    cells = [cell.metadata.get("nbgrader", {}) for cell in released().cells]
    return float(sum(cell["points"] for cell in cells if cell.get("grade")))


def by_machine() -> float:
    return result("ada").points


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_plain_csv_has_everything(course: Course, tmp_path: Path) -> None:
    notes = export(course, "csv", tmp_path / "out.csv")
    ada, alan = rows(tmp_path / "out.csv")
    assert float(ada["points"]) == float(ada["total"]) == of_ada()
    assert (ada["days_late"], ada["penalty"], ada["waiting"]) == ("0", "0", "0")
    assert (alan["days_late"], float(alan["penalty"])) == ("2", most() / 2)
    assert float(alan["total"]) == pytest.approx(by_machine() - most() / 2)
    assert alan["name"] == "Turing, Alan"
    assert notes == [f"{len(written())} answers wait to be graded or looked at by hand, of alan."]


def test_canvas_gets_its_columns_and_a_row_of_points_possible(
    course: Course, tmp_path: Path
) -> None:
    export(course, "canvas", tmp_path / "out.csv")
    possible, ada, alan, grace = rows(tmp_path / "out.csv")
    assert list(ada)[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert possible["Student"].strip() == "Points Possible"
    assert float(possible["Lab 1 (4711)"]) == most()
    assert (ada["ID"], ada["SIS Login ID"], ada["Section"]) == ("11", "ada", "A")
    assert float(ada["Lab 1 (4711)"]) == of_ada()
    assert float(alan["Lab 1 (4711)"]) == pytest.approx(by_machine() - most() / 2, abs=0.01)
    assert grace["Lab 1 (4711)"] == "", "an empty cell changes nothing in Canvas"


def test_whom_canvas_cannot_know_is_said(tmp_path: Path) -> None:
    course = make_course(tmp_path / "c")
    enter(course, [result("ada")])
    notes = export(course, "canvas", tmp_path / "out.csv")
    assert any("Canvas's number of ada is not known" in note for note in notes)


def test_moodle_gets_a_table_that_its_import_reads(course: Course, tmp_path: Path) -> None:
    export(course, "moodle", tmp_path / "out.csv")
    ada, _, grace = rows(tmp_path / "out.csv")
    assert (ada["Username"], float(ada["Lab 1 (4711)"])) == ("ada", of_ada())
    assert grace["Lab 1 (4711)"] == ""


def test_moodles_worksheet_is_filled_in_and_nothing_else_of_it_changes(
    course: Course, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        "Identifier,Full name,Email address,Grade,Maximum grade,Feedback comments\n"
        'Participant 77,Ada Lovelace,x@uni.example,,10.00,"a, b"\n'
        "Participant 78,Nobody Known,y@uni.example,3.5,10.00,\n",
        encoding="utf-8",
    )
    make_course(
        course.folder, POLICIES.replace('column = "Lab 1 (4711)"', ""), 'roster = "roster.csv"'
    )
    notes = export(load_course(course.folder), "moodle", tmp_path / "out.csv", onto=sheet)
    ada, nobody = rows(tmp_path / "out.csv")
    assert (float(ada["Grade"]), ada["Feedback comments"]) == (of_ada(), "a, b")
    assert (nobody["Grade"], nobody["Identifier"]) == ("3.5", "Participant 78")
    assert any("set the assignment's maximum" in note for note in notes)
    assert any("does not name alan" in note for note in notes)


def test_canvas_own_export_is_filled_in(course: Course, tmp_path: Path) -> None:
    onto = tmp_path / "canvas.csv"
    onto.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Essay (1),Lab 1 (4711),Final Score\n"
        "    Points Possible,,,,,5,20,(read only)\n"
        '"Lovelace, Ada",11,s11,ada,A,4,,80\n"Turing, Alan",12,s12,alan,A,3,1,70\n',
        encoding="utf-8",
    )
    export(course, "canvas", tmp_path / "out.csv", onto=onto)
    possible, ada, _ = rows(tmp_path / "out.csv")
    assert (possible["Lab 1 (4711)"], ada["Essay (1)"], ada["Final Score"]) == ("20", "4", "80")
    assert float(ada["Lab 1 (4711)"]) == of_ada()


def test_a_file_without_the_labs_column_is_refused(course: Course, tmp_path: Path) -> None:
    onto = tmp_path / "canvas.csv"
    onto.write_text("Student,ID,Essay (1)\nAda,11,4\n", encoding="utf-8")
    with pytest.raises(ExportError, match="no column for lab1_autodiff: write its name into"):
        export(course, "canvas", tmp_path / "out.csv", onto=onto)
    with pytest.raises(ExportError, match="--format canvas or moodle"):
        export(course, "csv", tmp_path / "out.csv", onto=onto)


def test_policies_are_applied_as_they_are_now(course: Course, tmp_path: Path) -> None:
    """A deadline that was moved after grading needs no grading."""
    before = read_marks(course).of["alan", LAB]
    make_course(
        course.folder, POLICIES.replace("2026-10-14", "2026-10-15"), 'roster = "roster.csv"'
    )
    assert main(["export", "--course", str(course.folder), "--out", str(tmp_path / "o.csv")]) == 0
    _, alan = rows(tmp_path / "o.csv")
    assert float(alan["penalty"]) == before.penalty / 2


def test_a_name_is_no_formula_in_the_plain_csv(tmp_path: Path) -> None:
    course = make_course(tmp_path / "c")
    enter(course, [result("=cmd()")])
    export(course, "csv", tmp_path / "out.csv")
    assert rows(tmp_path / "out.csv")[0]["student"] == "'=cmd()"


def test_without_grades_there_is_nothing_to_export(tmp_path: Path) -> None:
    course = make_course(tmp_path / "c")
    with pytest.raises(MarksError, match="has no submission"):
        export(course, "csv", tmp_path / "out.csv")
    enter(course, [result("ada")])
    with pytest.raises(MarksError, match="has no submission of lab2_operators"):
        export(course, "csv", tmp_path / "out.csv", ["lab2_operators"])
