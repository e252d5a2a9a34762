"""What grading shows while it runs: a live bar in a terminal, plain lines elsewhere, or nothing."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.console import Progress
from autograder.results import StageResult, SubmissionResult
from tests.autograder.sample_course import result

SHOWS = """
from autograder.console import Progress
from tests.autograder.sample_course import result
from tests.autograder.test_console import broken
with Progress() as progress:
    progress.step(result("ada"), 1, 3)
    progress.step(broken("ben", "timeout"), 2, 3)
    progress.note("A worker [was] lost.")
    progress.step(result("cem", 0.5), 3, 3)
"""
ROOT = Path(__file__).resolve().parents[2]


def broken(student: str, status: str) -> SubmissionResult:
    """A submission with one stage that ended like this."""
    whole = "unreadable" if status == "unreadable" else "graded"
    stage = StageResult("1.3", "Title", 0.0, 1.0, status, "")
    return SubmissionResult(student, "lab1_autodiff", whole, "", (stage,))


def in_a_terminal(code: str) -> str:
    """What a program writes to a terminal of 100 columns."""
    above, below = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=below, stdout=below, env=environment, cwd=ROOT
    )
    os.close(below)
    written = b""
    while True:
        try:
            piece = os.read(above, 65536)
        except OSError:  # nobody has the terminal open any more
            break
        if not piece:
            break
        written += piece
    os.close(above)
    assert process.wait() == 0
    return written.decode()


def test_a_terminal_gets_one_bar_with_done_failed_rate_and_time() -> None:
    written = in_a_terminal(SHOWS)
    assert "\x1b[?25l" in written  # the cursor is hidden while the bar is drawn anew
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).splitlines()]
    bar = next(line for line in reversed(lines) if line.startswith("grading"))
    assert re.fullmatch(r"grading ━+ 3/3 1 failed [0-9.e+]+/min left [0-9:-]+", bar), bar
    assert "A worker [was] lost." in lines
    assert not any(line.startswith("[1/3]") for line in lines)


def test_elsewhere_there_is_a_plain_line_a_submission(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.step(result("ada"), 1, 2)
        progress.note("A worker was lost.")
        progress.step(broken("ben", "timeout"), 2, 2)
    first, note, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[1/2\] ada lab1_autodiff: \d+ of \d+ in 0\.0 s", first)
    assert note == "A worker was lost."
    assert second == "[2/2] ben lab1_autodiff: 0 of 1 in 0.0 s; 1 failed so far"


def test_quiet_shows_nothing_in_a_terminal_and_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert in_a_terminal(SHOWS.replace("Progress()", "Progress(quiet=True)")) == ""
    with Progress(quiet=True) as progress:
        progress.step(result("ada"), 1, 1)
        progress.note("A worker was lost.")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("status", ["error", "timeout", "ungraded", "unreadable"])
def test_what_did_not_run_to_its_end_counts_as_failed(
    status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        progress.step(broken("ada", status), 1, 1)
    assert "1 failed so far" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["passed", "partial", "failed", "missing", "manual"])
def test_a_wrong_answer_is_no_failure_of_the_run(
    status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        progress.step(broken("ada", status), 1, 1)
    assert "failed" not in capsys.readouterr().out
