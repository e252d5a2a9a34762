"""nbgrader's gradebook, written through nbgrader's own API.

A submission is one transaction, and only one process writes at a time: a gradebook that something
else has locked is waited for. A manual grade is never touched. What stands in the gradebook already
is not written again.
"""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.api import Gradebook, InvalidEntry, SubmittedAssignment
from nbgrader.preprocessors import SaveCells
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, SAWarning

from .answer_texts import TEXTS, AnswerTexts
from .grades import CellGrade, Entries, Entry, cell_of, entries
from .lateness import due, moment_of
from .policies import LabPolicy, Policies
from .results import StageResult, SubmissionResult
from .roster import Person
from .settle import penalty_of, with_hand_grades, with_lateness

WAIT_SECONDS = 60
"""So long a locked gradebook is waited for."""


class GradebookError(Exception):
    """The gradebook cannot be read or written; the message says why and what to do."""


def gradebook_path(folder: Path) -> Path:
    """Where a folder's gradebook is."""
    return folder.resolve() / "gradebook.db"


def database_url(folder: Path, wait: float = WAIT_SECONDS) -> str:
    """The address of a folder's gradebook, for whoever waits `wait` seconds where it is locked."""
    path, query = str(gradebook_path(folder)), {"timeout": str(wait)}
    return URL.create("sqlite", database=path, query=query).render_as_string()


@contextmanager
def opened(folder: Path, wait: float = WAIT_SECONDS) -> Iterator[Gradebook]:
    """A folder's gradebook, made where there is none; raises GradebookError where it cannot be."""
    with _explained(folder, wait), warnings.catch_warnings():
        # nbgrader's own queries make SQLAlchemy 2 warn of objects that it adds a moment later.
        warnings.simplefilter("ignore", SAWarning)
        with Gradebook(database_url(folder, wait)) as gradebook:
            yield gradebook


@contextmanager
def transaction(gradebook: Gradebook) -> Iterator[None]:
    """Everything that is done in the block, or nothing of it, and nobody else writes meanwhile.

    nbgrader's methods commit by themselves; in the block their commits are held back.
    """
    with gradebook.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        usual, raw.isolation_level = raw.isolation_level, None
        gradebook.db.remove()
        try:
            # The lock comes first: one that is asked for later may be refused at once.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            gradebook.db.configure(
                bind=connection, join_transaction_mode="rollback_only", expire_on_commit=False
            )
            yield
            gradebook.db.flush()
            connection.commit()
        finally:
            gradebook.db.remove()
            gradebook.db.configure(bind=gradebook.engine, expire_on_commit=True)
            connection.rollback()
            raw.isolation_level = usual


def read_entries(folder: Path, wait: float = WAIT_SECONDS) -> Entries:
    """Everything in a folder's gradebook; nothing where there is none yet."""
    if not gradebook_path(folder).exists():
        return {}
    with opened(folder, wait) as gradebook:
        return entries(gradebook)


def save_lab(
    folder: Path, name: str, original: NotebookNode, deadline: datetime | None = None
) -> None:
    """Enter a lab and its cells, as `nbgrader generate_assignment` does.

    Manual grades of a cell that is worth something else from now on are marked for another look.
    """
    with opened(folder) as gradebook, transaction(gradebook):
        about = {"duedate": _naive(deadline)} if deadline else {}
        gradebook.update_or_create_assignment(name, **about)
        before = _worth(gradebook, name)
        try:
            _SaveCells().enter(gradebook, name, original)
        except RuntimeError:
            raise GradebookError(
                f"{gradebook_path(folder)} has submissions of {name} with other cells: stages are "
                "chosen before the first submission is graded. Waive a stage instead, or move the "
                "gradebook away to begin a new one."
            ) from None
        after = _worth(gradebook, name)
        changed = {cell for cell, worth in before.items() if after.get(cell) != worth}
        for entry in entries(gradebook).values() if changed else ():
            given = {cell for cell, grade in entry.cells.items() if grade.manual is not None}
            for cell in given & changed if entry.lab == name else ():
                grade = gradebook.find_grade(cell, name, name, entry.student)
                grade.needs_manual_grade = True


class _SaveCells(SaveCells):
    """nbgrader's `SaveCells`, in a gradebook that is open already and in its transaction."""

    def enter(self, gradebook: Gradebook, name: str, original: NotebookNode) -> None:
        """Enter the cells of a lab."""
        self.gradebook = gradebook
        self.notebook_id = self.assignment_id = name
        self.new_grade_cells: dict[str, Any] = {}
        self.new_solution_cells: dict[str, Any] = {}
        self.new_task_cells: dict[str, Any] = {}
        self.new_source_cells: dict[str, Any] = {}
        for place, cell in enumerate(original.cells):
            self.preprocess_cell(cell, ResourcesDict(), place)
        self._create_notebook(original)


def save_results(
    folder: Path,
    results: Iterable[SubmissionResult],
    policies: Policies | None = None,
    wait: float = WAIT_SECONDS,
) -> list[SubmissionResult]:
    """Enter what was judged and settled, one transaction a submission.

    Args:
        folder: The folder that holds the gradebook.
        results: One result for each student and lab, policies applied.
        policies: The course's, for deadlines and lateness.
        wait: How many seconds a locked gradebook is waited for.

    Returns:
        The results as they stand in the gradebook: points by hand and lateness included.

    Raises:
        GradebookError: The gradebook cannot be written; earlier submissions are in it.
    """
    results = list(results)
    policies = policies or Policies()
    texts = AnswerTexts(folder / TEXTS)
    final = []
    with opened(folder, wait) as gradebook:
        known = entries(gradebook)
        times: dict[str, dict[str, datetime | None]] = defaultdict(dict)
        for entry in known.values():
            times[entry.student][entry.lab] = entry.submitted
        for result in results:
            times[result.student][result.lab] = moment_of(result.version)
        for result in results:
            old = known.get((result.student, result.lab))
            by_hand = with_hand_grades(result, old)
            counted = with_lateness(policies, by_hand, times[result.student])
            wanted = _wanted(result, counted, old, texts, policies.of(result.lab))
            if _differs(wanted, old):
                with transaction(gradebook):
                    _enter(gradebook, wanted)
            texts.keep(result)
            final.append(counted)
    texts.write()
    return final


def save_people(folder: Path, people: Collection[Person]) -> None:
    """Enter names, addresses and Canvas's numbers, so that formgrader and exports know them."""
    if not people:
        return
    with opened(folder) as gradebook, transaction(gradebook):
        for person in people:
            last, _, first = person.name.partition(", ")
            if not first:
                first, _, last = person.name.rpartition(" ")
            about = {"first_name": first, "last_name": last, "email": person.email}
            about["lms_user_id"] = person.canvas_id
            known = {name: value for name, value in about.items() if value}
            gradebook.update_or_create_student(person.student, **known)


def save_lateness(folder: Path, policies: Policies, students: Collection[str]) -> None:
    """Enter what lateness costs some students, after points of theirs have changed."""
    with opened(folder) as gradebook:
        known = entries(gradebook)
        for entry in [entry for entry in known.values() if entry.student in students]:
            taken = penalty_of(policies, entry, known)
            if taken != entry.penalty:
                with transaction(gradebook):
                    notebook = gradebook.find_submission_notebook_by_id(entry.id)
                    notebook.late_submission_penalty = taken or None


def _wanted(
    result: SubmissionResult,
    counted: SubmissionResult,
    old: Entry | None,
    texts: AnswerTexts,
    policy: LabPolicy,
) -> Entry:
    """What is to stand in the gradebook for a result."""
    submitted = moment_of(result.version) or (old.submitted if old else None)
    extension = _extension(policy, result.student)
    wanted = Entry(result.student, result.lab, "", submitted, counted.penalty, extension)
    for stage in result.stages:
        cell = cell_of(stage.stage)
        earlier = old.cells.get(cell) if old is not None else None
        wanted.cells[cell] = _grade(stage, earlier, texts.same(result, cell))
    return wanted


def _grade(stage: StageResult, old: CellGrade | None, same_text: bool) -> CellGrade:
    """The grade of a stage; one given by hand stays settled as long as it is about the same."""
    manual = old.manual if old else None
    extra = old.extra if old else 0.0
    if stage.status == "ungraded":
        return CellGrade(old.auto if old else None, manual, extra, stage.max_points, True)
    auto = None if stage.status == "manual" else stage.points
    if manual is None:
        waiting = auto is None
    else:
        same = same_text if auto is None else old is not None and old.auto == auto
        waiting = not same or (old is not None and old.waiting)
    return CellGrade(auto, manual, extra, stage.max_points, waiting)


def _differs(wanted: Entry, old: Entry | None) -> bool:
    if old is None:
        return True
    about = [(e.submitted, e.penalty, e.extension) for e in (wanted, old)]
    return about[0] != about[1] or any(
        cell not in old.cells
        or (grade.auto, grade.waiting) != (old.cells[cell].auto, old.cells[cell].waiting)
        for cell, grade in wanted.cells.items()
    )


def _enter(gradebook: Gradebook, wanted: Entry) -> None:
    gradebook.update_or_create_student(wanted.student)
    submission: SubmittedAssignment = gradebook.update_or_create_submission(
        wanted.lab,
        wanted.student,
        timestamp=_naive(wanted.submitted),
        extension=wanted.extension,
    )
    for notebook in submission.notebooks:
        notebook.late_submission_penalty = wanted.penalty or None
        for grade in notebook.grades:
            new = wanted.cells.get(grade.cell.name)
            if new is not None:
                grade.auto_score, grade.needs_manual_grade = new.auto, new.waiting


def _extension(policy: LabPolicy, student: str) -> timedelta | None:
    until = due(policy, student)
    if until is None or policy.deadline is None or until == policy.deadline:
        return None
    return until - policy.deadline


def _worth(gradebook: Gradebook, lab: str) -> dict[str, float]:
    notebooks = gradebook.find_assignment(lab).notebooks
    return {cell.name: cell.max_score for notebook in notebooks for cell in notebook.grade_cells}


def _naive(moment: datetime | None) -> datetime | None:
    """A time as nbgrader keeps it: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


@contextmanager
def _explained(folder: Path, wait: float) -> Iterator[None]:
    """Turns what SQLite says into a sentence for the instructor."""
    path = gradebook_path(folder)
    try:
        yield
    except (DatabaseError, InvalidEntry) as error:
        reason = str(getattr(error, "orig", None) or error)
        if "locked" in reason:
            raise GradebookError(
                f"{path} was locked by another program for {wait:g} seconds: wait until it is done "
                "or end it, and run the command again. Submissions entered before are in it."
            ) from None
        if isinstance(error, InvalidEntry):
            raise
        raise GradebookError(f"{path} cannot be used: {reason}.") from None
