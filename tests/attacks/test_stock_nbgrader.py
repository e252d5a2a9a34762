"""The main attacks on stock `nbgrader autograde`, which runs the course's judge by its config."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from autograder.cli import main
from autograder.gradebook import database_url
from tests.attacks.arena import CHECK, KEY, LAB, STAGE, Arena
from tests.attacks.test_forging import HOLD, WRONG
from tests.attacks.test_html import BEACON, EXPERIMENT, Active
from tests.support.hostile_html import poisoned

FORGED = """
import numpy as np
claim = {"status": "returned", "value": np.zeros((2, 2)), "error": "", "message": "", "frames": []}
claimed = repr(base64.b64encode(pack(claim)).decode())
def change(stream, what, content, parent, more):
    if what == "execute_reply" and content.get("user_expressions"):
        content["user_expressions"] = {
            "answer": {"status": "ok", "data": {"text/plain": claimed}, "metadata": {}}
        }
    return usual(stream, what, content, parent, **more)
sending(change)
"""
pytestmark = pytest.mark.slow


def nbgrader(course: Path, *arguments: str) -> str:
    """Run stock nbgrader in a course's folder, as an instructor does."""
    command = [str(Path(sys.executable).with_name("nbgrader")), *arguments]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_forged_replies_a_copied_check_and_a_script_gain_nothing(
    place: Arena, tmp_path: Path
) -> None:
    """They want points by a forged answer or a graded cell of their own, and a reader's page."""
    copied = place.notebook(solved=False)
    about = {"grade": True, "solution": False, "locked": False, "schema_version": 3}
    about |= {"grade_id": CHECK, "points": 100, "cell_type": "code", "task": False}
    cell = nbformat.v4.new_code_cell("100.0", metadata={"nbgrader": about})
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "100.0"})]
    copied.cells.insert(1, cell)
    submissions = {
        "honest": place.notebook(),
        "forger": place.notebook(attempts={KEY: WRONG}, own=HOLD + FORGED),
        "copier": copied,
        "poisoner": poisoned(place.notebook(), BEACON, "", EXPERIMENT),
    }
    course = tmp_path / "course"
    assert main(["init", str(course), "--lab", LAB]) == 0
    file = course / "course.toml"
    file.write_text(f'name = "c"\nsecret = "{"x" * 32}"\n[labs.{LAB}]\nstages = ["{STAGE}"]\n')
    for student, notebook in submissions.items():
        folder = course / "submitted" / student / LAB
        folder.mkdir(parents=True)
        place.write(folder, notebook)
    nbgrader(course, "generate_assignment", LAB)
    said = nbgrader(course, "autograde", LAB)
    nbgrader(course, "generate_feedback", LAB)
    with Gradebook(database_url(course)) as gradebook:
        scores = {
            student: gradebook.find_submission_notebook(LAB, LAB, student).score
            for student in submissions
        }
    assert scores == {"honest": place.most, "forger": 0, "copier": 0, "poisoner": place.most}
    assert "hooks into the notebook's kernel" in said
    pages = {
        student: (course / "feedback" / student / LAB / f"{LAB}.html").read_text(encoding="utf-8")
        for student in ("honest", "poisoner")
    }
    assert Active(pages["poisoner"]).found == Active(pages["honest"]).found
