"""nbgrader's gradebook: what grading found, written through nbgrader's own API.

A manual grade is never touched: only `auto_score` and `needs_manual_grade` are written.
"""

import warnings
from pathlib import Path

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import SaveCells
from sqlalchemy.exc import SAWarning

from .results import SubmissionResult
from .text import answer_id


def database_url(folder: Path) -> str:
    """The address of a folder's gradebook."""
    return f"sqlite:///{folder.resolve() / 'gradebook.db'}"


def save_lab(folder: Path, name: str, original: NotebookNode) -> None:
    """Enter a lab and its cells, as `nbgrader generate_assignment` does."""
    url = database_url(folder)
    with Gradebook(url) as gradebook:
        gradebook.update_or_create_assignment(name)
    about = {"notebook": name, "assignment": name, "db_url": url}
    SaveCells().preprocess(original, ResourcesDict(nbgrader=about))


def save_results(folder: Path, results: list[SubmissionResult], ids: dict[str, list[str]]) -> None:
    """Enter the scores of submissions, one transaction each.

    Args:
        folder: The folder that holds the gradebook.
        results: What grading found.
        ids: For each lab, the ids of its graded cells in the order of a result's stages.
    """
    with Gradebook(database_url(folder)) as gradebook, warnings.catch_warnings():
        # nbgrader's own queries make SQLAlchemy 2 warn of objects that it adds a moment later.
        warnings.simplefilter("ignore", SAWarning)
        for result in results:
            gradebook.update_or_create_student(result.student)
            gradebook.update_or_create_submission(result.lab, result.student)
            for stage in result.stages:
                cell = _cell_of(stage.stage, ids[result.lab])
                grade = gradebook.find_grade(cell, result.lab, result.lab, result.student)
                by_hand = stage.status == "manual"
                if stage.status == "ungraded":
                    grade.needs_manual_grade = True
                    continue
                grade.auto_score = None if by_hand else stage.points
                grade.needs_manual_grade = by_hand or grade.manual_score is not None
            gradebook.db.commit()


def _cell_of(stage: str, ids: list[str]) -> str:
    """The graded cell of a stage or of a written answer."""
    check = f"{stage.replace('.', '_')}-check"
    return check if check in ids else answer_id(stage)
