"""What needs no result is prepared while submissions run, and its failure loses no result."""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import pytest

from autograder import grade as grading
from autograder.bench import Bench
from autograder.cache import Cache
from autograder.grade import grade_class
from autograder.gradebook import GradebookError, gradebook_path
from autograder.graded import Graded, Submission, ungraded
from autograder.scores import read_scores

LAB = "lab1_autodiff"
WAIT_SECONDS = 120


class Slow:
    """An engine that gives no result before something has happened, and then grades nothing."""

    def __init__(self, happened: threading.Event) -> None:
        self.happened = happened
        self.given = 0

    def grade(
        self,
        found: Sequence[Submission],
        benches: Mapping[str, Bench],
        known: Cache,
        kept: Cache,
    ) -> Generator[Graded, None, None]:
        """See `Engine.grade`."""
        assert self.happened.wait(WAIT_SECONDS), "nothing was prepared beside the submissions"
        for entry in found:
            self.given += 1
            yield Graded(entry, ungraded(entry, benches[entry.lab], "It is left."), "")


@pytest.fixture
def submitted(tmp_path: Path) -> Path:
    """Two submissions."""
    for student in ("ada", "alan"):
        path = tmp_path / "submitted" / student / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text("{}", encoding="utf-8")
    return tmp_path / "submitted"


def watched(prepare: Callable[..., None], happened: threading.Event) -> Callable[..., None]:
    """A preparation that says when it is over, also where it fails."""

    def prepare_and_say(*arguments: object) -> None:
        try:
            prepare(*arguments)
        finally:
            happened.set()

    return prepare_and_say


def test_the_gradebook_is_made_before_the_first_submission_is_done(
    submitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Slow(threading.Event())
    monkeypatch.setattr(grading, "prepare", watched(grading.prepare, engine.happened))
    out = tmp_path / "out"
    grade_class(submitted, out, engine=engine)
    assert gradebook_path(out).exists()
    assert {row.student for row in read_scores(out / "scores.csv")} == {"ada", "alan"}


def test_a_gradebook_that_cannot_be_prepared_is_said_after_the_last_submission(
    submitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Slow(threading.Event())
    monkeypatch.setattr(grading, "prepare", watched(grading.prepare, engine.happened))
    out = tmp_path / "out"
    out.mkdir()
    gradebook_path(out).write_bytes(b"This is no database, and long enough to be seen as none." * 9)
    with pytest.raises(GradebookError, match="cannot be used"):
        grade_class(submitted, out, engine=engine)
    assert engine.given == 2
    assert not (out / "scores.csv").exists()
