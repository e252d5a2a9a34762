"""The command line: exit statuses, one clear sentence for every failure, and the whole path."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.cli import main
from autograder.sample import write_sample_class
from autograder.scores import read_scores
from autograder.text import lab_names

LAB = "lab1_autodiff"


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["grad"],
        ["grade"],
        ["grade", "x", "--out", "y", "--jobs", "0"],
        ["lab", "-1"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    assert main([]) == 2
    assert "expected a whole number from 1, got '0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["grade", "{tmp}/none", "--out", "{tmp}/out"],
            "is no folder; expected STUDENT/LAB/LAB.ipynb",
        ),
        (["grade", "{tmp}", "--out", "{tmp}/out"], "holds no submissions"),
        (["grade", "{tmp}", "--out", "{tmp}/out", "--lab", "lab0_x"], "There is no lab 'lab0_x'"),
        (
            ["grade", "{tmp}", "--out", "{tmp}/o", "--course", "{tmp}"],
            "is no course: it has no course",
        ),
        (["build", "--lab", "lab1_no"], "There is no lab 'lab1_no'"),
        (["lab", "99"], "There is no lab 99 yet"),
        (
            ["kit", "{tmp}/kit.zip", "--open", "1.99"],
            "--open 1.99: expected a stage or an exercise",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exits_with_1(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=tmp_path) for word in arguments]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "is no valid TOML"),
        ('secret = "short"', "at least 16 characters"),
        (f'secret = "{"x" * 32}"\nlabs = "all"', "`labs` is a list of names"),
    ],
)
def test_a_faulty_course_file_is_said(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "course.toml").write_text(text, encoding="utf-8")
    assert main(["grade", str(tmp_path), "--out", str(tmp_path), "--course", str(tmp_path)]) == 1
    assert sentence in capsys.readouterr().err


def test_init_makes_a_course_once_and_keeps_its_secret_private(tmp_path: Path) -> None:
    folder = tmp_path / "course"
    assert main(["init", str(folder), "--lab", LAB]) == 0
    assert (folder / "course.toml").stat().st_mode & 0o077 == 0
    assert (folder / "source" / LAB / f"{LAB}.ipynb").exists()
    assert main(["init", str(folder)]) == 1


def test_help_needs_nothing_heavy() -> None:
    """`autograder --help` answers without importing the notebook machinery."""
    code = "import sys; from autograder.cli import main\ntry: main(['--help'])\n"
    code += "except SystemExit: pass\n"
    code += "print(any(name in sys.modules for name in ('nbgrader', 'nbclient', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "lab",
    [lab if lab == LAB else pytest.param(lab, marks=pytest.mark.thorough) for lab in lab_names()],
)
def test_the_sample_class_goes_all_the_way(
    lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `make demo` does: every kind of student gets what they deserve."""
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--lab", lab]) == 0
    printed = capsys.readouterr().out
    rows = read_scores(out / "scores.csv")
    students = {row.student for row in rows}
    assert len(students) == 9
    by_machine = [row for row in rows if not row.stage.endswith("written")]
    total = sum(row.max_points for row in by_machine if row.student == "ada-perfect")

    def points(student: str) -> float:
        return sum(row.points for row in by_machine if row.student == student)

    full = ("ada-perfect", "alan-differently")
    assert [r for r in by_machine if r.student in full and r.points < r.max_points] == []
    assert points("ada-perfect") == points("alan-differently") == total > 0
    assert points("nobody-skeleton") == points("zoe-no-notebook") == 0
    for student in ("grace-mistaken", "edsger-mistaken", "barbara-mistaken"):
        assert 0 < points(student) < total
        assert student in printed
    for student, word in (("hal-crashes", "ended the kernel"), ("ivan-hangs", "took too long")):
        lost = [row for row in by_machine if row.student == student and row.points < row.max_points]
        assert lost and word in lost[0].message
        assert points(student) > total / 2
    unread = next(row for row in rows if row.student == "zoe-no-notebook")
    assert "the file is not JSON" in unread.message
    assert "zoe-no-notebook" in printed
    for student in students:
        assert (out / "feedback" / student / f"{lab}.html").exists()
    assert (out / "report.html").exists()
    assert (out / "gradebook.db").exists()


def test_a_demo_of_a_lab_that_does_not_exist_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--lab", "lab0_nothing"]) == 1
    assert "There is no lab 'lab0_nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bad_submission_does_not_change_the_exit_status_or_its_neighbour(tmp_path: Path) -> None:
    folder = tmp_path / "submitted"
    write_sample_class(folder, [LAB])
    for student in folder.iterdir():
        if student.name not in ("ada-perfect", "zoe-no-notebook"):
            for path in sorted(student.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            student.rmdir()
    (folder / "nothing-handed-in").mkdir()
    out = tmp_path / "out"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "autograder.cli",
            "grade",
            str(folder),
            "--out",
            str(out),
            "--quiet",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = read_scores(out / "scores.csv")
    status = {(row.student, row.stage): row.status for row in rows}
    assert status["ada-perfect", "1.3"] == "passed"
    assert status["zoe-no-notebook", "1.3"] == "error"
    assert status["nothing-handed-in", "1.3"] == "missing"
    notebook = json.loads((out / "autograded" / "ada-perfect" / LAB / f"{LAB}.ipynb").read_text())
    assert notebook["nbformat"] == 4
