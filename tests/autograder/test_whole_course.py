"""A course from the kit to the grades: stages chosen, collected, graded, waived, exported."""

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from autograder.answers import mistake_source, reference_source
from autograder.build import build_lab, to_text
from autograder.catalogue import load_catalogue
from autograder.cli import main
from autograder.course import Course, load_course
from autograder.grade import grade_class
from autograder.gradebook import read_entries
from autograder.sample import fill
from autograder.scores import read_scores
from autograder.text import read_lab

LAB = "lab1_autodiff"
STAGE, KEY = "1.5", "1.5 gradients"
POLICIES = f"""
late_days = 0
[labs.{LAB}]
stages = ["{STAGE}"]
weights = {{ "{STAGE}" = 2 }}
deadline = 2026-10-14T22:00:00Z
submissions = "best"
late = {{ cost = 0.25 }}
"""
pytestmark = pytest.mark.slow


def submission(course: Course, wrong: int = 0) -> bytes:
    """A notebook of the course with the references of its stage, `wrong` of them mistaken."""
    original = build_lab(LAB, course.policies.of(LAB).choice)[1]
    keys = [key for key in read_lab(LAB).keys() if key.startswith(f"{STAGE} ")]
    attempts = {key: reference_source(key) for key in keys}
    catalogue = load_catalogue(LAB)
    for key in keys[:wrong]:
        attempts[key] = mistake_source(catalogue.mistakes_of(key)[0])
    return to_text(fill(original, read_lab(LAB), attempts)).encode()


def pack(path: Path, files: dict[str, bytes], day: int) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name, (2026, 10, day, 12, 0, 0)), data)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course that has collected three downloads of Moodle, graded."""
    folder = tmp_path_factory.mktemp("whole") / "course"
    assert main(["init", str(folder), "--lab", LAB]) == 0
    path = folder / "course.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.startswith(("name", "secret"))]
    path.write_text("\n".join(kept) + POLICIES, encoding="utf-8")
    made = load_course(folder)
    assert main(["build", "--lab", LAB, "--course", str(folder)]) == 0
    ada, bob = (f"{name}_1_assignsubmission_file_/{LAB}.ipynb" for name in ("Ada", "Bob"))
    for day, files in (
        (13, {ada: submission(made, 1), bob: submission(made, 2)}),
        (14, {ada: submission(made, 9), bob: submission(made, 9)}),
        (16, {ada: submission(made), bob: b"not a notebook"}),
    ):
        pack(folder / f"{day}.zip", {**files}, day)
        assert main(["collect", str(folder / f"{day}.zip"), "--course", str(folder)]) == 0
    grade(made)
    return made


def grade(course: Course) -> None:
    arguments = ["grade", str(course.folder / "submitted"), "--out", str(course.folder)]
    assert main([*arguments, "--course", str(course.folder), "--quiet"]) == 0


def test_a_stage_that_was_not_chosen_is_given_and_the_chosen_one_is_judged(course: Course) -> None:
    rows = {(row.student, row.stage): row for row in read_scores(course.folder / "scores.csv")}
    assert {stage for _, stage in rows} == {STAGE, f"{STAGE}-written"}
    worth = 2 * read_lab(LAB).points(STAGE)
    ada, bob = rows["ada", STAGE], rows["bob", STAGE]
    assert ada.max_points == worth
    # Ada's perfect version is two days late, and the one before the deadline loses less.
    assert 0.75 * worth < ada.points < worth
    assert "The best of 3 submissions counts, number 1." in ada.flags
    assert 0 < bob.points < ada.points


def test_the_gradebook_and_formgraders_notebooks_are_the_versions_that_count(
    course: Course,
) -> None:
    entry = read_entries(course.folder)["ada", LAB]
    assert entry.submitted is not None and entry.submitted.day == 13
    path = course.folder / "autograded" / "ada" / LAB / f"{LAB}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "1_5-check")
    score = float(cell.outputs[0].data["text/plain"])
    assert score == entry.cells["1_5-check"].auto
    assert cell.metadata["nbgrader"]["points"] == entry.cells["1_5-check"].max_points


def test_stock_nbgrader_gives_the_same_points(course: Course) -> None:
    command = [str(Path(sys.executable).with_name("nbgrader"))]
    for arguments in (
        ["generate_assignment", LAB, "--force"],
        ["autograde", LAB, "--student", "ada", "--force"],
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=course.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    entry = read_entries(course.folder)["ada", LAB]
    # Stock nbgrader grades what lies in submitted/, the latest: perfect, and two days late.
    assert entry.cells["1_5-check"].auto == 2 * read_lab(LAB).points(STAGE)
    assert entry.penalty == pytest.approx(entry.max_points / 2)
    grade(course)
    assert read_entries(course.folder)["ada", LAB].penalty == 0


def test_the_kit_has_the_courses_stages(course: Course, tmp_path: Path) -> None:
    kit = tmp_path / "kit.zip"
    assert main(["kit", str(kit), "--course", str(course.folder)]) == 0
    with zipfile.ZipFile(kit) as packed:
        notebook = nbformat.reads(packed.read(f"labs/{LAB}/{LAB}.ipynb").decode(), as_version=4)
        wheel = next(name for name in packed.namelist() if name.endswith(".whl"))
        inside = zipfile.ZipFile(io.BytesIO(packed.read(wheel)))
    checks = [cell.source for cell in notebook.cells if cell.source.startswith("check(")]
    assert checks == [f'check("{STAGE}")']
    assert b"Hole(" not in inside.read("aisys/autodiff/convolution.py")
    assert b"Hole(" in inside.read("aisys/autodiff/gradients.py")


def test_the_grades_are_exported(course: Course, tmp_path: Path) -> None:
    out = tmp_path / "grades.csv"
    arguments = ["export", "--format", "canvas", "--out", str(out), "--course"]
    assert main([*arguments, str(course.folder)]) == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["SIS Login ID"]: row for row in csv.DictReader(file)}
    title = read_lab(LAB).title
    entry = read_entries(course.folder)["ada", LAB]
    assert float(rows["ada"][title]) == entry.points


def test_a_waiver_takes_effect_at_the_next_grading_without_running_anything(
    course: Course, tmp_path: Path
) -> None:
    """The last test here: it leaves the waiver in the course."""
    kept = {path: path.read_bytes() for path in (course.folder / ".autograder").rglob("*.json")}
    path = course.folder / "course.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + f'waive = [{{ stage = "{STAGE}", reason = "x" }}]\n', encoding="utf-8")
    submitted = course.folder / "submitted"
    for result in grade_class(submitted, tmp_path, secret=course.secret, course=course.folder):
        stage = next(stage for stage in result.stages if stage.stage == STAGE)
        assert stage.points == stage.max_points
        assert f"{STAGE} is waived: x" in stage.flags
    # What had been judged was not judged again: every kept result is as it was.
    results = {path for path in kept if "results" in path.parts}
    assert results and all(path.read_bytes() == kept[path] for path in results)
