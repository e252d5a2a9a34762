"""`progress` says how far the student is, `whole_system` whose code ran."""

from types import ModuleType

import pytest

from aisys.course import CourseError, attempt, progress, whole_system


def attempt_right_scale() -> None:
    @attempt("99.1")
    def scale(x, factor=2.0):
        return x * factor


def attempt_shift_skeleton() -> None:
    @attempt("99.1")
    def shift(x, *, by=1.0):
        raise NotImplementedError("99.1 shift is not written yet")


def test_progress_counts_what_passes_and_what_is_attempted(checks, capsys) -> None:
    attempt_right_scale()
    attempt_shift_skeleton()
    progress(99)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Progress", "  99.1: 1 of 2 pass, 1 attempted, 3 points – to do: shift"]
    assert lines[2] == (
        "  99.2: 0 of 4 pass, 0 attempted, 4 points"
        " – to do: Box.total, Box.__add__, Box.unit, Box.size"
    )
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "99.1", "99.2", "99.4", "99.5", "99.6",
    ]  # fmt: skip


OLDER = "but of an older version"
CELLS = {
    "scale": '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return x * factor',
    "shift": '@attempt("99.1")\ndef shift(x, *, by=1.0):\n    return x + by',
    "scale, wrong": '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return x - factor',
    "scale, broken": '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return x * * factor',
}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["scale", "shift", "scale, broken"], f"2 of 2 pass, {OLDER}, 2 attempted, 3 points"),
        (["scale", "scale, broken"], f"1 of 2 pass, {OLDER}, 1 attempted, 3 points"),
        (["scale", "shift", "scale, broken", "scale"], "2 of 2 pass, 2 attempted, 3 points"),
        (["shift", "scale, wrong", "scale, broken"], "1 of 2 pass, 2 attempted, 3 points"),
        (["shift", "scale, broken"], "1 of 2 pass, 1 attempted, 3 points"),
    ],
)
def test_progress_says_as_check_does_when_what_passes_is_an_older_version(
    checks, shell, capsys, names: list[str], words: str
) -> None:
    shell.run_cell("from aisys.course import attempt, check, progress", store_history=True)
    for name in names:
        shell.run_cell(CELLS[name], store_history=True)
    capsys.readouterr()
    shell.run_cell("progress(99)", store_history=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("  99.1: ")]
    assert line.removeprefix("  99.1: ").partition(" – ")[0] == words
    shell.run_cell("check('99.1')", store_history=True)
    title = capsys.readouterr().out.partition("\n")[0]
    assert title.endswith(f"all visible cases pass, {OLDER}") == (
        OLDER in words and words.startswith("2")
    )


def test_progress_leaves_out_what_came_open(checks, capsys, as_kit) -> None:
    as_kit("99.1 scale", "99.1 shift", "99.4 pipeline")
    attempt_right_scale()
    progress(99)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["99.1", "99.2", "99.5", "99.6"]


def test_progress_of_a_lab_that_is_not_there_is_refused(lab: ModuleType) -> None:
    with pytest.raises(CourseError, match=r"^Lab 98 has no exercise of yours here\.$"):
        progress(98)


def test_progress_where_nothing_is_loaded_asks_for_a_lab(monkeypatch) -> None:
    monkeypatch.setattr("aisys.course.slots._slots", {})
    with pytest.raises(CourseError, match=r"name one, as in progress\(1\)"):
        progress()


def test_a_whole_system_says_whose_code_ran(lab: ModuleType, capsys) -> None:
    attempt_right_scale()

    @attempt("99.2")
    class Box:
        def total(self):
            return 0

    with whole_system("a test") as calls:
        lab.pipeline([1])
        lab.Box([1]).describe()
        lab.Box.unit()
    assert capsys.readouterr().out.splitlines() == [
        "A test ran on",
        "  your code: 99.1 scale, 99.2 Box.total",
        "  the reference: 99.1 shift, 99.2 Box.unit, 99.4 pipeline",
    ]
    assert calls["99.2 Box.total"] is True


def test_a_whole_system_names_texts_and_classes(load, lab: ModuleType, capsys) -> None:
    records = load("records")
    lab.kernel.fill("mine", "mine")
    with whole_system("a test"):
        assert lab.kernel.text == "mine"
        records.Setting(1)
    assert capsys.readouterr().out.splitlines() == [
        "A test ran on",
        "  your code: 99.5 kernel",
        "  the reference: 99.3 Setting",
    ]


def test_a_whole_system_that_used_nothing_of_the_course_says_so(lab: ModuleType, capsys) -> None:
    with whole_system("a test"):
        pass
    assert capsys.readouterr().out.splitlines() == ["A test ran on", "  no exercise of this course"]


def test_a_whole_system_that_fails_says_whose_code_ran_and_fails(lab: ModuleType, capsys) -> None:
    with pytest.raises(ZeroDivisionError), whole_system("a test"):
        lab.scale(1 / lab.shift(-1))
    assert capsys.readouterr().out.splitlines() == [
        "A test ran on",
        "  the reference: 99.1 shift",
    ]
    with whole_system("another"):
        lab.scale(1)
    assert "  the reference: 99.1 scale" in capsys.readouterr().out


def test_the_title_of_a_whole_system_is_escaped_in_html(lab: ModuleType, shell, capsys) -> None:
    from IPython.utils.capture import capture_output

    with capture_output() as captured, whole_system("a <b> & c"):
        lab.scale(1)
    (output,) = captured.outputs
    assert "A &lt;b&gt; &amp; c ran on" in output.data["text/html"]
