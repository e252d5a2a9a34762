"""Faults of the grader: killed at random, disk full, corrupt results; the scores stay right."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from autograder import kernel
from autograder.cli import main
from autograder.sample import write_sample_class

LAB = "lab1_autodiff"
STUDENTS = ("ada-perfect", "grace-mistaken", "hal-crashes", "nobody-skeleton", "zoe-no-notebook")
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(3, 20))]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with five submissions that are not graded yet."""
    folder = tmp_path_factory.mktemp("faults") / "course"
    assert main(["init", str(folder), "--lab", LAB]) == 0
    write_sample_class(folder / "submitted", [LAB])
    for student in (folder / "submitted").iterdir():
        if student.name not in STUDENTS:
            shutil.rmtree(student)
    return folder


@pytest.fixture(scope="module")
def undisturbed(course: Path) -> str:
    """The scores of a grading that nothing happened to, on a copy of the course."""
    copy = course.with_name("undisturbed")
    shutil.copytree(course, copy)
    assert grade(copy).wait() == 0
    return (copy / "out" / "scores.csv").read_text(encoding="utf-8")


def grade(course: Path, out: Path | None = None) -> "subprocess.Popen[str]":
    """Start grading a course's submissions."""
    command = [sys.executable, "-u", "-m", "autograder.cli", "grade", str(course / "submitted")]
    command += ["--out", str(out or course / "out"), "--course", str(course), "--jobs", "2"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def left_over(course: Path) -> list[str]:
    """Processes that belong to a grading of this course and are still there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(course) in words and process.pid != os.getpid():
            found.append(words)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_grading_goes_on_and_gives_the_same_scores(
    seed: int, course: Path, undisturbed: str, tmp_path: Path
) -> None:
    copy = tmp_path / "course"
    shutil.copytree(course, copy)
    dice = random.Random(seed)
    for _ in range(2):
        process = grade(copy)
        assert process.stdout is not None
        for _ in range(dice.randint(0, len(STUDENTS) - 1)):
            process.stdout.readline()
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(below, timeout=30)
        assert alive == []
    assert grade(copy).wait() == 0
    assert (copy / "out" / "scores.csv").read_text(encoding="utf-8") == undisturbed
    assert left_over(copy) == []


def test_corrupt_results_are_run_again(course: Path, undisturbed: str, tmp_path: Path) -> None:
    copy = tmp_path / "course"
    shutil.copytree(course, copy)
    assert grade(copy).wait() == 0
    entries = sorted((copy / ".autograder" / "results").rglob("*.json"))
    assert entries
    for number, entry in enumerate(entries):
        content = entry.read_bytes()
        entry.write_bytes([b"", content[: len(content) // 2], b"[1, 2]", b"\xff\x00"][number % 4])
    assert grade(copy).wait() == 0
    assert (copy / "out" / "scores.csv").read_text(encoding="utf-8") == undisturbed


def test_what_the_grader_failed_to_grade_is_run_again_alone(
    course: Path, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "course"
    shutil.copytree(course, copy)
    failures, usual = (
        [RuntimeError("a kernel did not start") for _ in range(2)],
        kernel.start_kernel,
    )

    def failing(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return usual(*given)

    monkeypatch.setattr(kernel, "start_kernel", failing)
    command = ["grade", str(copy / "submitted"), "--out", str(copy / "out"), "--quiet"]
    assert main([*command, "--course", str(copy)]) == 0
    assert not failures
    assert (copy / "out" / "scores.csv").read_text(encoding="utf-8") == undisturbed


def test_a_full_disk_is_said_in_one_line_and_loses_nothing(
    course: Path, undisturbed: str, tmp_path: Path
) -> None:
    """The output folder is a file system of 64 kB; afterwards the grading goes on elsewhere."""
    copy, small = tmp_path / "course", tmp_path / "small"
    shutil.copytree(course, copy)
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=64k none "$1" && shift && '
        '"$@"; status=$?; ls "$OUT" > "$LISTING"; exit $status'
    )
    command = [sys.executable, "-m", "autograder.cli", "grade", str(copy / "submitted")]
    command += ["--out", str(small), "--course", str(copy), "--quiet"]
    environment = os.environ | {"OUT": str(small), "LISTING": str(tmp_path / "listing")}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        + [str(small), *command],
        capture_output=True,
        text=True,
        env=environment,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this host mounts no small file system: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert grade(copy).wait() == 0
    assert (copy / "out" / "scores.csv").read_text(encoding="utf-8") == undisturbed


LOCKING = """
import sqlite3, sys
lock = sqlite3.connect(sys.argv[1], isolation_level=None)
lock.execute("BEGIN EXCLUSIVE" if sys.argv[2] == "all" else "BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
IMPATIENT = """
import sys
from autograder import cli, gradebook
usual = gradebook.database_url
gradebook.database_url = lambda folder, wait=0: usual(folder, 0.2)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("what", ["writing", "all"])
def test_a_gradebook_that_another_process_has_locked_is_said_and_loses_nothing(
    what: str, course: Path, undisturbed: str, tmp_path: Path
) -> None:
    """The grading does not wait as long as usual here; afterwards it goes on."""
    copy = tmp_path / "course"
    shutil.copytree(course.with_name("undisturbed"), copy)
    best, mistaken = (
        copy / "submitted" / student / LAB / f"{LAB}.ipynb" for student in STUDENTS[:2]
    )
    mistaken.write_bytes(best.read_bytes())
    arguments = ["grade", str(copy / "submitted"), "--out", str(copy / "out")]
    arguments += ["--course", str(copy), "--quiet"]
    locking = [sys.executable, "-c", LOCKING, str(copy / "gradebook.db"), what]
    pipe = subprocess.PIPE
    with subprocess.Popen(locking, stdin=pipe, stdout=pipe, text=True) as lock:
        assert lock.stdout is not None and lock.stdout.readline() == "locked\n"
        command = [sys.executable, "-c", IMPATIENT, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert lock.stdin is not None
        lock.stdin.close()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "gradebook.db was locked by another program" in done.stderr
    assert (copy / "out" / "scores.csv").read_text(encoding="utf-8") == undisturbed
    assert main([*arguments]) == 0
    before = {line for line in undisturbed.splitlines() if STUDENTS[1] not in line}
    after = (copy / "out" / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert {line for line in after if STUDENTS[1] not in line} == before
    points = {line.split(",", 4)[2]: line.split(",", 4)[3] for line in after if STUDENTS[0] in line}
    mended = {line.split(",", 4)[2]: line.split(",", 4)[3] for line in after if STUDENTS[1] in line}
    assert points == mended
