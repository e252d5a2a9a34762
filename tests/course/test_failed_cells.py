"""After a cell that did not run, `check` says that the version before it was tested."""

from collections.abc import Callable
from typing import Any

import pytest

from aisys.course import attempt
from aisys.course.failed_cells import (
    error_after_attempt,
    error_of_latest_cell,
    exercises_in,
)
from aisys.course.slots import find

IMPORTS = "from aisys.course import attempt, check"
RIGHT = '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return x * factor'
BROKEN = RIGHT.replace("x * factor", "x * * factor")
INVALID = "SyntaxError in line 3: invalid syntax"
OLDER = "      Its latest cell did not run ({}); what was tested is the last version that did."

Cells = Callable[..., list[str]]


@pytest.fixture
def cells(shell: Any, checks: Any, capsys: pytest.CaptureFixture[str]) -> Cells:
    """Runs cells, then `check("99.1")`; gives its lines."""
    shell.run_cell(IMPORTS, store_history=True)

    def run(*sources: str) -> list[str]:
        for source in sources:
            shell.run_cell(source, store_history=True)
        capsys.readouterr()
        shell.run_cell("check('99.1')", store_history=True)
        return capsys.readouterr().out.splitlines()

    return run


def test_after_a_syntax_error_check_says_that_an_older_version_was_tested(cells: Cells) -> None:
    shift = '@attempt("99.1")\ndef shift(x, *, by=1.0):\n    return x + by'
    assert cells(shift, RIGHT, BROKEN) == [
        "Stage 99.1: all visible cases pass, but of an older version",
        "  ✓ scale: 2 of 2 cases",
        OLDER.format(INVALID),
        "  ✓ shift: 1 of 1 cases",
    ]
    assert cells(RIGHT) == [
        "Stage 99.1: all visible cases pass",
        "  ✓ scale: 2 of 2 cases",
        "  ✓ shift: 1 of 1 cases",
    ]


def test_a_cell_that_never_ran_is_not_attempted_and_its_error_is_said(cells: Cells) -> None:
    assert f"  – scale: not attempted: its cell did not run ({INVALID})" in cells(BROKEN)
    assert "  – shift: not attempted in this kernel: run its cell" in cells(BROKEN)


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("nothing\n" + RIGHT, "NameError: name 'nothing' is not defined"),
        (RIGHT.replace("def ", "def ("), "SyntaxError in line 2: invalid syntax"),
        (RIGHT.replace('99.1")', '99.1"'), "SyntaxError in line 1: '(' was never closed"),
        (RIGHT.replace("factor=2.0", "rate"),
         "AttemptError: `scale` takes (x, factor=2.0); yours takes (x, rate)"),
        (RIGHT.replace("    return", " return").replace("x * factor", "x\n   y"),
         "IndentationError in line 4: unexpected indent"),
        ("x = 1\nimport aisys.course\n" + BROKEN.replace("@", "@aisys.course."),
         "SyntaxError in line 5: invalid syntax"),
    ],
)  # fmt: skip
def test_whatever_keeps_a_cell_from_running_is_said(cells: Cells, cell: str, error: str) -> None:
    assert OLDER.format(error) in cells(RIGHT, cell)


def test_what_fails_after_the_exercise_is_defined_is_no_older_version(cells: Cells) -> None:
    assert not any("did not run" in line for line in cells(RIGHT, f"{RIGHT}\n\nscale('x', 'y')"))


def test_an_error_after_the_attempt_was_taken_is_said(cells: Cells) -> None:
    error = "ZeroDivisionError: division by zero"
    said = f"      Its cell ended with {error}, after the attempt was taken."
    lines = cells(f"{RIGHT}\n\n1 / 0")
    assert lines[lines.index(said) - 1] == "  ✓ scale: 2 of 2 cases"
    assert said not in cells(RIGHT)


def test_an_error_after_the_attempt_was_taken_is_kept_until_the_next_version(
    cells: Cells,
) -> None:
    scale, shift = find("99.1 scale"), find("99.1 shift")
    cells(f"{RIGHT}\n\nprint(undefined_helper)")
    assert error_after_attempt(scale) == "NameError: name 'undefined_helper' is not defined"
    assert error_of_latest_cell(scale) == ""
    assert error_after_attempt(shift) == ""
    cells(BROKEN)
    assert error_after_attempt(scale) == ""
    assert error_of_latest_cell(scale) == INVALID
    cells(f"{RIGHT}\n\n1 / 0")
    assert error_after_attempt(scale) == "ZeroDivisionError: division by zero"
    cells(RIGHT)
    assert error_after_attempt(scale) == ""


def test_a_method_that_a_class_only_calls_is_not_to_be_defined_by_its_cell(cells: Cells) -> None:
    box = '@attempt("99.2")\nclass Box:\n    def total(self):\n        return self.size()'
    cells(f"{box}\n\nprint(undefined_helper)")
    error = "NameError: name 'undefined_helper' is not defined"
    assert error_after_attempt(find("99.2 Box.total")) == error
    assert error_of_latest_cell(find("99.2 Box.size")) == ""


def test_an_exercise_below_the_error_did_not_run_though_the_one_above_was_taken(
    cells: Cells,
) -> None:
    shift = '@attempt("99.1")\ndef shift(x, *, by=1.0):\n    return x + by'
    cells(shift, f"{RIGHT}\n\n1 / 0\n\n{shift}")
    error = "ZeroDivisionError: division by zero"
    assert error_after_attempt(find("99.1 scale")) == error
    assert error_of_latest_cell(find("99.1 shift")) == error


def test_a_failing_cell_without_an_attempt_is_none_of_the_exercises(cells: Cells) -> None:
    later = ["scale(", "1 / 0", "# @attempt('99.1')\n def scale(", "'''\n@attempt\n'''; scale("]
    assert not any("did not run" in line for line in cells(RIGHT, *later))


def test_whatever_else_puts_a_version_in_place_ends_the_remark(cells: Cells) -> None:
    cells(RIGHT, BROKEN)
    assert error_of_latest_cell(find("99.1 scale")) == INVALID

    @attempt("99.1")
    def scale(x, factor=2.0):
        return x * factor

    assert error_of_latest_cell(find("99.1 scale")) == ""


def test_a_text_that_is_refused_is_told_too(cells: Cells) -> None:
    cells("%%attempt 99.5 kernel\nmy text", "%%attempt 99.5 kernel\n\n")
    assert error_of_latest_cell(find("99.5 kernel")) == (
        "AttemptError: 99.5 kernel: the cell is empty; write the text below its first line"
    )


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ('@attempt("99.2")\nclass Box:\n    def total(self:', ["Box.total"]),
        ('@attempt("99.2")\nclass Box(:', ["Box.total", "Box.__add__", "Box.unit", "Box.size"]),
        ("@attempt('99.1')\ndef shift(\n@attempt('99.1')\ndef scale(", ["shift", "scale"]),
        ('@attempt("99.1")\n@decorated\ndef scale(', ["scale"]),
        ('@attempt("99.1")\ndef scael(', []),
        ('@attempt("77.1")\ndef scale(', []),
        ("%%attempt 99.5 kernel\n@attempt('99.1')\nscale", ["kernel"]),
        ("%%attempt 99.5\nkernel", []),
    ],
)
def test_which_exercises_a_cell_was_to_define(checks: Any, source: str, keys: list[str]) -> None:
    assert [slot.name for slot in exercises_in(source)] == keys
