"""An instructor in nbgrader's formgrader: the judged scores are there, written ones are given."""

import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from playwright.sync_api import Page, expect

from autograder.answers import mistake_source, reference_source
from autograder.build import build_lab
from autograder.catalogue import load_catalogue
from autograder.choice import Choice, chosen
from autograder.cli import main
from autograder.course import load_course
from autograder.gradebook import database_url
from autograder.sample import answered, fill
from autograder.scores import read_scores
from autograder.text import read_lab
from tests.browser.servers import running

LAB = "lab1_autodiff"
STUDENT = "grace"
MISTAKEN = "1.3 im2col"
SERVER = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
pytestmark = pytest.mark.slow


def results(course: Path) -> Path:
    """The folder of the scores and pages of a course's grading."""
    return course.with_name("results")


def choice(course: Path) -> Choice:
    """What a course takes of the lab."""
    return load_course(course).policies.of(LAB).choice


def grade(course: Path) -> None:
    """Grade what was submitted; scores and pages go beside the course."""
    arguments = ["grade", str(course / "submitted"), "--out", str(results(course))]
    assert main([*arguments, "--course", str(course), "--quiet"]) == 0


def submit(course: Path, mistakes: tuple[str, ...]) -> None:
    """Hand in a notebook with a catalogued mistake in some exercises and all else solved."""
    lab, catalogue = chosen(read_lab(LAB), choice(course)), load_catalogue(LAB)
    attempts = {key: reference_source(key) for key in lab.keys()}
    attempts |= {key: mistake_source(catalogue.mistakes_of(key)[0]) for key in mistakes}
    notebook = fill(build_lab(LAB, choice(course))[1], lab, attempts)
    path = course / "submitted" / STUDENT / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(answered(notebook, catalogue), path)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A graded course of two stages: one submission, with a mistake and a written answer."""
    folder = tmp_path / "course"
    assert main(["init", str(folder), "--lab", LAB]) == 0
    file = folder / "course.toml"
    file.write_text(file.read_text().replace("# stages = [", "stages = ["))
    assert choice(folder).stages == ("1.3", "1.5")
    submit(folder, mistakes=(MISTAKEN,))
    grade(folder)
    return folder


@pytest.fixture
def formgrader(course: Path, tmp_path: Path) -> Iterator[str]:
    """The address of formgrader on the course; `PATH` is to be put in."""
    with running(SERVER, course, tmp_path / "home") as address:
        front, _, token = address.partition("?")
        yield f"{front.partition('/lab')[0]}/formgrader/PATH?{token}"


def test_judged_scores_are_shown_and_a_score_by_hand_outlives_a_regrade(
    course: Path, formgrader: str, page: Page
) -> None:
    scores = {row.stage: row for row in read_scores(results(course) / "scores.csv")}
    assert 0 < scores["1.3"].points < scores["1.3"].max_points

    page.goto(formgrader.replace("PATH", "manage_assignments"))
    row = page.get_by_role("row").filter(has_text=LAB)
    row.get_by_role("link", name="1", exact=True).click()
    row = page.get_by_role("row").filter(has_text=STUDENT)
    expect(row).to_contain_text("needs manual grading")

    page.goto(formgrader.replace("PATH", f"gradebook/{LAB}/{LAB}"))
    page.get_by_role("link", name="Submission #1").click()
    for stage in choice(course).stages:
        score = page.locator(f"[id='{stage.replace('.', '_')}-check']")
        expect(score).to_have_attribute("placeholder", f"{scores[stage].points:g}")
    expect(page.get_by_text(f"{MISTAKEN.split()[1]}`: ")).to_be_visible()
    with page.expect_response(lambda said: said.request.method == "PUT") as saved:
        page.locator("[id='1_5-written']").fill("1.5")
        page.keyboard.press("Tab")
    assert saved.value.ok

    submit(course, mistakes=())
    grade(course)
    with Gradebook(database_url(course)) as gradebook:
        judged = gradebook.find_grade("1_3-check", LAB, LAB, STUDENT)
        assert judged.score == scores["1.3"].max_points
        written = gradebook.find_grade("1_5-written", LAB, LAB, STUDENT)
        assert (written.manual_score, written.score) == (1.5, 1.5)
    page.reload()
    expect(page.locator("[id='1_5-written']")).to_have_value("1.5")
