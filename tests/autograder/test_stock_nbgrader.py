"""Stock nbgrader with the course's config gives the same points as `autograder grade`."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from autograder.answers import mistake_source, reference_source
from autograder.bench import Bench
from autograder.cli import main
from autograder.gradebook import database_url
from autograder.sample import answered, fill
from autograder.scores import read_scores

LAB = "lab1_autodiff"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def course(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with three submissions: perfect, mistaken, and one that rebinds `check`."""
    folder = tmp_path_factory.mktemp("course")
    assert main(["init", str(folder), "--lab", LAB]) == 0
    perfect = {key: reference_source(key) for key in bench.lab.keys()}
    wrong = {m.key: mistake_source(m) for m in bench.key.catalogue.mistakes}
    forger = fill(bench.original, bench.lab, {})
    forger.cells.insert(2, nbformat.v4.new_code_cell("check = lambda stage: 3"))
    for cell in forger.cells:
        if cell.source.startswith("check("):
            cell.source = "3"
    submissions = {
        "perfect": fill(bench.original, bench.lab, perfect),
        "mistaken": fill(bench.original, bench.lab, perfect | wrong),
        "forger": forger,
    }
    for student, notebook in submissions.items():
        path = folder / "submitted" / student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    return folder


def nbgrader(course: Path, *arguments: str) -> str:
    """Run stock nbgrader in a course's folder, as an instructor does."""
    command = [str(Path(sys.executable).with_name("nbgrader")), *arguments]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def auto_scores(folder: Path, student: str) -> dict[str, float | None]:
    """The automatic scores in a gradebook, by graded cell."""
    with Gradebook(database_url(folder)) as gradebook:
        submission = gradebook.find_submission_notebook(LAB, LAB, student)
        return {grade.name: grade.auto_score for grade in submission.grades}


def test_generate_autograde_and_feedback_give_the_points_of_autograder_grade(
    course: Path, tmp_path: Path, bench: Bench
) -> None:
    nbgrader(course, "generate_assignment", LAB)
    released = nbformat.read(course / "release" / LAB / f"{LAB}.ipynb", as_version=4)
    assert [c.source for c in released.cells] == [c.source for c in bench.original.cells]
    assert [c.id for c in released.cells] == [c.id for c in bench.original.cells]
    nbgrader(course, "autograde", LAB)
    nbgrader(course, "generate_feedback", LAB)
    out = tmp_path / "out"
    arguments = ["grade", str(course / "submitted"), "--out", str(out), "--quiet"]
    stock = {student: auto_scores(course, student) for student in ("perfect", "mistaken", "forger")}
    assert main([*arguments, "--course", str(course)]) == 0
    for student, scores in stock.items():
        assert auto_scores(course, student) == scores
        assert (course / "feedback" / student / LAB / f"{LAB}.html").exists()
    points = {
        (score.student, score.stage): score.points for score in read_scores(out / "scores.csv")
    }
    for stage in bench.lab.stages:
        cell = f"{stage.stage.replace('.', '_')}-check"
        assert stock["perfect"][cell] == bench.lab.points(stage.stage)
        assert 0 <= points["mistaken", stage.stage] == stock["mistaken"][cell]
        assert points["mistaken", stage.stage] < points["perfect", stage.stage]
        assert stock["forger"][cell] == 0


def test_a_check_cell_raises_under_an_autograde_without_the_judge(
    course: Path, tmp_path: Path, bench: Bench
) -> None:
    """Without the course's config nothing scores: a check cell that runs raises."""
    other = tmp_path / "plain"
    for name in ("source", "submitted"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).symlink_to(course / name)
    nbgrader(other, "generate_assignment", LAB)
    nbgrader(other, "autograde", LAB, "--student", "perfect")
    assert set(auto_scores(other, "perfect").values()) <= {0.0, None}


def test_validate_passes_on_the_reference_and_fails_on_the_skeleton(
    course: Path, tmp_path: Path, bench: Bench
) -> None:
    command = [str(Path(sys.executable).with_name("nbgrader")), "validate"]
    said = {}
    for name, attempts in (
        ("perfect", {key: reference_source(key) for key in bench.lab.keys()}),
        ("skeleton", {}),
    ):
        notebook = answered(fill(bench.original, bench.lab, attempts), bench.key.catalogue)
        skipped = {c.id for c in notebook.cells if c.metadata["aisys"]["role"] == "experiment"}
        notebook.cells = [cell for cell in notebook.cells if cell.id not in skipped]
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(notebook, path)
        done = subprocess.run([*command, str(path)], capture_output=True, text=True)
        said[name] = done.stdout + done.stderr
    assert "Success" in said["perfect"], said["perfect"][-2000:]
    assert "CheckFailed" in said["skeleton"], said["skeleton"][-2000:]
