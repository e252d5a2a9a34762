"""What is kept of a submission: its result, and apart from it its executed notebook."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autograder.cache import Cache
from autograder.graded import Graded, Submission, Task, executed_notebook, finish, look_up
from autograder.results import SubmissionResult
from tests.autograder.sample_course import LAB, result

BENCH: Any = SimpleNamespace(whole="everything that results depend on")


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "results")


@pytest.fixture
def entry(tmp_path: Path) -> Submission:
    path = tmp_path / "submitted" / "ada" / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    return Submission("ada", LAB, path)


def graded(entry: Submission, kept: Cache) -> tuple[SubmissionResult, Graded]:
    """A result as it was judged, and what is left of it in memory."""
    task = look_up(entry, BENCH, kept)
    assert isinstance(task, Task)
    judged = result("ada", 0.5)
    return judged, finish(task, judged, {"cell": {"answer": "1"}}, kept)


def files(kept: Cache, tmp_path: Path) -> list[Path]:
    """The kept files, the smallest first."""
    return sorted((tmp_path / "results").rglob("*.json"), key=lambda path: path.stat().st_size)


def test_the_executed_notebook_stays_on_disk(entry: Submission, kept: Cache) -> None:
    judged, one = graded(entry, kept)
    assert one.result.notebook is not None and judged.notebook is not None
    roles = {cell["metadata"]["aisys"]["role"] for cell in one.result.notebook["cells"]}
    assert roles == {"answer"}
    assert replace(one.result, notebook=None) == replace(judged, notebook=None)
    assert executed_notebook(one, kept) == judged.notebook


def test_an_unchanged_submission_is_known(entry: Submission, kept: Cache) -> None:
    judged, one = graded(entry, kept)
    again = look_up(entry, BENCH, kept)
    assert isinstance(again, Graded) and again.unchanged
    assert again.result == one.result
    assert executed_notebook(again, kept) == judged.notebook


def test_a_changed_submission_is_run_with_what_is_known(entry: Submission, kept: Cache) -> None:
    graded(entry, kept)
    entry.path.write_text("[]", encoding="utf-8")
    task = look_up(entry, BENCH, kept)
    assert isinstance(task, Task) and task.known == {"cell": {"answer": "1"}}


def test_where_nothing_can_be_kept_the_notebook_stays_in_memory(entry: Submission) -> None:
    judged, one = graded(entry, Cache(None))
    assert one.result == judged
    assert executed_notebook(one, Cache(None)) == judged.notebook


def test_a_notebook_that_was_cut_off_is_executed_again(
    entry: Submission, kept: Cache, tmp_path: Path
) -> None:
    graded(entry, kept)
    largest = files(kept, tmp_path)[-1]
    largest.write_bytes(largest.read_bytes()[:-1])
    assert isinstance(look_up(entry, BENCH, kept), Task)


def test_a_notebook_found_damaged_is_executed_by_the_next_grading(
    entry: Submission, kept: Cache, tmp_path: Path
) -> None:
    _, one = graded(entry, kept)
    largest = files(kept, tmp_path)[-1]
    largest.write_bytes(b"?" * largest.stat().st_size)
    assert isinstance(look_up(entry, BENCH, kept), Graded), "a look at its size is quick"
    assert executed_notebook(one, kept) is None
    assert isinstance(look_up(entry, BENCH, kept), Task)
