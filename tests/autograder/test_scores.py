"""scores.csv and the table in the terminal."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from autograder import pages
from autograder.results import SubmissionResult
from autograder.scores import ScoresError, read_scores, scores_of, table, write_scores
from autograder.wording import went_wrong
from tests.autograder.sample_results import (
    absent,
    answer,
    hostile,
    hung,
    partial,
    perfect,
    sample_class,
    untouched,
)


def lines_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def printed(results: list[SubmissionResult], width: int = 100) -> str:
    console = Console(width=width, no_color=True, file=io.StringIO(), force_terminal=False)
    console.print(table(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_there_is_one_row_a_stage_and_written_answer(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", [partial()])
    header, *rows = lines_of(tmp_path / "scores.csv")
    assert ",".join(header) == "student,lab,stage,points,max_points,status,message,flags"
    assert [row[:6] for row in rows] == [
        ["grace", "lab1_autodiff", "1.3", "1.5", "3", "partial"],
        ["grace", "lab1_autodiff", "1.3-written", "0", "2", "manual"],
        ["grace", "lab1_autodiff", "1.4", "2.17", "3", "partial"],
        ["grace", "lab1_autodiff", "1.5", "0", "4", "missing"],
    ]


def test_flags_are_joined_and_those_of_the_submission_stand_in_its_first_row() -> None:
    first, *others = scores_of([partial()])
    submission, stage = partial().flags[0], partial().stages[0].flags[0]
    assert first.flags == f"{submission}; {stage}"
    assert not any(score.flags for score in others)


def test_rows_are_sorted_by_student_and_lab_with_stages_in_order() -> None:
    other_lab = replace(perfect(), lab="lab0_first")
    rows = scores_of([hung(), perfect(), other_lab])
    names = list(dict.fromkeys((row.student, row.lab) for row in rows))
    assert names == [("ada", "lab0_first"), ("ada", "lab1_autodiff"), ("kurt", "lab1_autodiff")]
    assert [row.stage for row in rows][:4] == ["1.3", "1.3-written", "1.4", "1.5"]


def test_the_file_is_the_same_whatever_order_the_results_come_in(tmp_path: Path) -> None:
    write_scores(tmp_path / "a.csv", sample_class())
    write_scores(tmp_path / "b.csv", reversed(sample_class()))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\n=", "'="])
def test_no_field_becomes_a_formula(tmp_path: Path, start: str) -> None:
    text = f"{start}HYPERLINK(1)"
    stage = replace(perfect().stages[0], message=text, stage=text)
    result = replace(perfect(), student=text, lab=text, stages=(stage,), flags=(text,))
    write_scores(tmp_path / "scores.csv", [result])
    for field in lines_of(tmp_path / "scores.csv")[1]:
        assert not field.lstrip().startswith(("=", "+", "-", "@"))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    odd = replace(perfect(), student="'=1+1", flags=("'quoted'", "=2", 'a "b", c'))
    results = [*sample_class(), odd]
    write_scores(tmp_path / "scores.csv", results)
    assert read_scores(tmp_path / "scores.csv") == scores_of(results)


def test_a_row_is_one_line_whatever_a_message_holds(tmp_path: Path) -> None:
    stage = replace(perfect().stages[0], message="a\r\nb\x00c\x1b[31m\ud800 d")
    write_scores(tmp_path / "scores.csv", [replace(perfect(), stages=(stage,))])
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8").count("\n") == 2
    assert read_scores(tmp_path / "scores.csv")[0].message == "a b c [31m d"


def test_a_submission_without_stages_still_has_a_row() -> None:
    rows = scores_of([SubmissionResult("emmy", "lab1_autodiff", "ungraded", "no disk.", ())])
    assert [(r.student, r.status, r.message) for r in rows] == [("emmy", "ungraded", "no disk.")]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scores(tmp_path / "scores.csv", [perfect()])
    before = (tmp_path / "scores.csv").read_bytes()

    def fail(path: Path, data: bytes) -> int:
        path.open("wb").close()
        raise OSError("no space left on device")

    monkeypatch.setattr(pages.Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        write_scores(tmp_path / "scores.csv", [hung()])
    assert (tmp_path / "scores.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize(
    "text", ["", "name,points\n", "student,lab,stage,points,max_points,status,message,flags\na,b\n"]
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ScoresError, match=r"scores\.csv"):
        read_scores(tmp_path / "scores.csv")


def test_the_table_fits_100_columns_and_says_everything_without_colour() -> None:
    text = printed(sample_class())
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if line.lstrip().startswith("kurt"))
    assert all(cell in row for cell in ("✓ 3", "◐ 0.5", "◷ 0", "3.5"))
    words = " ".join(text.split())
    assert all(w in words for w in ("1.3 padding forgotten", "not submitted", "◷ timeout"))


def test_unanswered_questions_are_named_by_their_stages() -> None:
    missing = [answer("missing"), replace(answer("missing"), stage="1.5-written")]
    result = replace(perfect(), stages=(*perfect().stages[:1], *missing))
    assert went_wrong(result) == ["1.3, 1.5 unanswered"]


def test_the_table_has_the_mean_of_what_was_submitted_and_graded() -> None:
    text = printed([perfect(), untouched(), absent()])
    mean = next(line for line in text.splitlines() if line.lstrip().startswith("mean"))
    assert mean.split() == ["mean", "1.5", "1.5", "2", "5"]


def test_the_table_shows_markup_and_control_characters_as_text() -> None:
    bad = replace(hostile(), student="[red]x[/red][/]\x1b[2J")
    text = printed([bad])
    assert "[red]x[/red][/]" in "".join(text.split())
    assert "\x1b" not in text


def test_several_labs_have_a_table_each() -> None:
    text = printed([perfect(), replace(hung(), lab="lab2_operators", notebook=None)])
    assert "Lab 1: an end-to-end example" in text
    assert "Lab 2: an operator of your own" in text


def test_no_results_make_an_empty_table() -> None:
    assert printed([]).strip() == ""
