"""`autograder report`: what was graded is read back, compared, and written as pages."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from autograder.attempt_texts import OWN_CELLS, attempts_in, exercise_cells
from autograder.class_report import write_class_report
from autograder.cli import main
from autograder.course import Course
from autograder.gradebook import opened
from autograder.kept_results import GRADED, keep_results, kept_results
from autograder.results import SubmissionResult
from tests.autograder.html_elements import Elements, dangers
from tests.autograder.sample_course import LAB, enter, make_course, released, result
from tests.autograder.test_similarity import BELLMAN_FORD, DIJKSTRA, renamed

CELL = next(cell for cell, name in exercise_cells(LAB).items() if name == "1.3 im2col")


def graded(course: Course, attempts: dict[str, str]) -> Path:
    """A folder as `autograder grade` leaves it: these attempts at one exercise, all judged."""
    results = [result(student, course=course) for student in attempts]
    enter(course, results)
    for student, text in attempts.items():
        notebook = nbformat.reads(nbformat.writes(released()), as_version=4)
        next(cell for cell in notebook.cells if cell.id == CELL).source += text
        path = course.folder / "autograded" / student / LAB / f"{LAB}.ipynb"
        nbformat.write(notebook, path)
    out = course.folder / "out"
    keep_results(out / ".autograder" / GRADED, results)
    return out


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return make_course(tmp_path / "course")


@pytest.fixture
def out(course: Course) -> Path:
    return graded(course, {"ada": DIJKSTRA, "bob": renamed(DIJKSTRA), "cyd": BELLMAN_FORD})


def text_of(page: Path) -> str:
    body = page.read_text(encoding="utf-8").split("<body", 1)[1]
    return " ".join(Elements(body).text.split())


def test_near_copies_are_found_in_what_was_graded(
    course: Course, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(out), "--course", str(course.folder)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "report.html")]
    assert "ada, bob 1.3 im2col 100 %" in text_of(out / "report.html")
    assert "cyd 1.3 im2col" not in text_of(out / "report.html")
    assert dangers((out / "report.html").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("layout", ["", "submitted", "autograded"])
def test_an_earlier_years_folder_is_compared(course: Course, out: Path, layout: str) -> None:
    earlier = course.folder.parent / "last"
    shutil.copytree(course.folder / "autograded" / "ada", earlier / layout / "old-student")
    write_class_report(out, course, earlier)
    text = text_of(out / "report.html")
    assert re.search(r"bob old-student 1\.3 im2col \d+ %", text)
    assert "cyd old-student" not in text


def test_points_given_by_hand_since_the_grading_count(course: Course, out: Path) -> None:
    before = _mean(write_class_report(out, course).pages[0])
    with opened(course.folder) as gradebook:
        for student in ("ada", "bob", "cyd"):
            grade = gradebook.find_grade("1_5-written", LAB, LAB, student)
            grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    assert _mean(write_class_report(out, course).pages[0]) == pytest.approx(before + 1.5)


def _mean(page: Path) -> float:
    match = re.search(r"([\d.]+)\s*mean, of", text_of(page))
    assert match
    return float(match[1])


def test_a_course_with_chosen_stages_has_only_those(tmp_path: Path) -> None:
    course = make_course(tmp_path, 'stages = ["1.3"]\nweights = { "1.3" = 2 }')
    page = write_class_report(graded(course, {"ada": DIJKSTRA}), course).pages[0]
    assert "1.3" in text_of(page) and "1.5" not in text_of(page)


def test_results_are_kept_without_their_notebooks_and_are_the_same_otherwise(
    tmp_path: Path,
) -> None:
    made = [result("ada", 0.5), result("bob")]
    keep_results(tmp_path, made)
    back = kept_results(tmp_path)

    def without(results: list[SubmissionResult]) -> list[SubmissionResult]:
        return [replace(entry, notebook=None) for entry in results]

    assert without(back) == without(made)
    assert (tmp_path / f"{LAB}.jsonl").stat().st_size < 100_000


def test_what_cannot_be_reported_is_one_sentence(
    course: Course, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: object, status: int = 1) -> str:
        assert main(["report", *map(str, arguments)]) == status
        text = capsys.readouterr().err
        assert text.startswith("autograder: ") and text.count("\n") == 1
        return text

    about = ["--course", course.folder]
    assert "is no folder" in said(tmp_path / "none", *about)
    assert "has no results: run `autograder grade SUBMITTED" in said(tmp_path, *about)
    assert "name the course that it was graded for" in said(out)
    assert "none is no folder" in said(out, *about, "--earlier", tmp_path / "none")
    assert f"holds no submission of {LAB}" in said(out, *about, "--earlier", out)
    kept = out / ".autograder" / GRADED / f"{LAB}.jsonl"
    kept.write_text('{"student": 3}\n')
    assert "of another version: run `autograder grade` again" in said(out, *about)


def test_a_report_needs_its_folder() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["report"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"cells": 3}', '{"cells": [3, {"cell_type": "code"}]}',
                '{"cells": [{"cell_type": "code", "id": 7, "metadata": 3, "source": [1, null]}]}'],
)  # fmt: skip
def test_a_malformed_notebook_of_an_earlier_year_stops_nothing(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "old" / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert set(attempts_in(tmp_path, LAB, ["old", "absent"]).get("old", {})) <= {OWN_CELLS}


def test_attempts_are_told_by_the_cells_of_the_released_notebook(tmp_path: Path) -> None:
    notebook = nbformat.reads(nbformat.writes(released()), as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("mine = 1"))
    exercise = next(cell for cell in notebook.cells if cell.id == CELL)
    exercise.id = "renamed-by-an-editor"
    path = tmp_path / "ada" / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    texts = attempts_in(tmp_path, LAB, ["ada"])["ada"]
    assert texts["1.3 im2col"] == exercise.source
    assert texts[OWN_CELLS] == "mine = 1"
    assert not any("check(" in text for text in texts.values())
