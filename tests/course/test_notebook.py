"""The course inside an IPython shell, as in a notebook's kernel."""

import html
import os
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from aisys.course import clear_attempts, resume
from aisys.course.resuming import is_attempt
from aisys.course.slots import find, slots

IMPORTS = "from aisys.course import attempt, check, resume\nfrom sample99.exercises import scale"
SCALE = '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return x * factor'


def run(shell: Any, capsys: pytest.CaptureFixture[str], source: str) -> str:
    """Run a cell and give back everything that it showed."""
    capsys.readouterr()
    shell.run_cell(source, store_history=True)
    return capsys.readouterr().out


def displayed(shell: Any, source: str) -> dict[str, str]:
    """Run a cell and give back what it displayed, by kind."""
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        shell.run_cell(source, store_history=True)
    (output,) = captured.outputs
    return output.data


def test_an_attempt_in_a_cell_is_in_place_with_the_cells_text(shell, lab, capsys) -> None:
    run(shell, capsys, IMPORTS)
    cell = f"FACTOR = 1\n\n{SCALE}\n"
    assert run(shell, capsys, cell) == ""
    assert find("99.1 scale").source == cell
    assert shell.user_ns["scale"] is lab.scale


def test_every_kind_of_class_keeps_its_cells_text(shell, load, capsys) -> None:
    load("records")
    cell = (
        "from dataclasses import dataclass, field\nfrom aisys.course import attempt\n"
        '@attempt("99.3")\n@dataclass(frozen=True)\nclass Setting:\n'
        "    rank: int\n    tags: list[str] = field(default_factory=list)\n"
    )
    assert run(shell, capsys, cell) == ""
    assert find("99.3 Setting").source == cell


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (
            '@attempt("99.1")\ndef scale(x):\n    return x',
            "AttemptError: `scale` takes (x, factor=2.0); yours takes (x).",
        ),
        ("check(1.5)", 'AttemptError: A stage is written like "1.5"; this is 1.5.'),
        (
            "from aisys.course.errors import Hole\nraise Hole('99.1 scale')",
            "Hole: 99.1 scale is an exercise and has no code here yet: "
            "write it in stage 99.1 of the notebook and run that cell.",
        ),
    ],
)
def test_an_error_of_the_courses_is_one_sentence_without_a_traceback(
    shell, lab, capsys, cell: str, sentence: str
) -> None:
    run(shell, capsys, IMPORTS)
    assert run(shell, capsys, cell).strip() == sentence


def test_the_attempt_magic_takes_the_cell_as_it_is(shell, lab: ModuleType, capsys) -> None:
    text = '// !ls %time "quotes"\n__global__ void fill() {}\n'
    assert run(shell, capsys, f"%%attempt 99.5 kernel\n{text}") == ""
    assert lab.kernel.text == text
    shown = run(shell, capsys, f"%%attempt 99.1 scale\n{text}")
    assert shown.strip() == (
        "AttemptError: 99.1 scale is Python: write it below `@attempt('99.1')`."
    )


def test_a_check_shows_html_in_a_notebook_and_returns_nothing(shell, checks, capsys) -> None:
    run(shell, capsys, IMPORTS)
    run(shell, capsys, SCALE.replace("x * factor", "x / factor"))
    data = displayed(shell, "result = check('99.1')")
    assert shell.user_ns["result"] is None
    rows = html.unescape(re.sub("<style>.*</style>|<[^>]*>", " ", data["text/html"]))
    assert "Stage 99.1: 0 of 2 exercises pass their visible cases" in rows
    assert "Multiply, do not divide." in rows
    assert "not attempted in this kernel: run its cell" in rows
    assert data["text/plain"].startswith("Stage 99.1: 0 of 2")


def test_the_html_of_a_check_escapes_what_the_student_made(shell, checks, capsys) -> None:
    run(shell, capsys, IMPORTS)
    run(shell, capsys, SCALE.replace("x * factor", "'<script>alert(1)</script>'"))
    rich = displayed(shell, "check('99.1')")["text/html"]
    assert "<script" not in rich
    assert "&lt;script&gt;" in rich


def test_the_html_of_a_long_result_has_what_differs_open_and_the_rest_folded(
    shell, checks, capsys
) -> None:
    run(shell, capsys, IMPORTS)
    returned = "[{'<b>': str(i), 'y': [x.size] * 30} for i in range(20)]"
    run(shell, capsys, SCALE.replace("x * factor", returned))
    rich = displayed(shell, "check('99.1')")["text/html"]
    head = "<tr><th>where</th><th>got</th><th>expected</th></tr>"
    before, _, table = rich.partition(f'<table class="apart">{head}')
    table, _, after = table.partition("</table>")
    assert "<code>[&#x27;y&#x27;]</code>" in table and "<details>" not in before + table
    folded = re.findall(r"<details><summary>.*?</summary><pre>(.*?)</pre></details>", after, re.S)
    assert len(folded) == 1 and folded[0].startswith("y: [0] &lt;b&gt;")
    assert "<b>'" not in rich


def test_a_failure_shows_only_the_students_frames(shell, checks, capsys) -> None:
    run(shell, capsys, IMPORTS)
    cell = (
        "import numpy as np\n\ndef helper(x):\n    return np.linalg.inv(x)\n\n"
        '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return helper(x)\n'
    )
    run(shell, capsys, cell)
    plain = displayed(shell, "check('99.1')")["text/plain"]
    code = plain.partition("in your code: ")[2].splitlines()[:2]
    assert [line.strip() for line in code] == [
        "Cell In[2], line 8, in scale: return helper(x)",
        "Cell In[2], line 4, in helper: return np.linalg.inv(x)",
    ]
    assert "aisys" not in plain
    assert "LinAlgError: " in plain


def test_a_probe_leaves_no_prints_displays_or_warnings(shell, checks, capsys) -> None:
    run(shell, capsys, IMPORTS)
    cell = (
        "import sys, warnings, logging\nfrom IPython.display import display\n\n"
        '@attempt("99.1")\ndef scale(x, factor=2.0):\n'
        "    print('noise'); print('noise', file=sys.stderr); display('noise')\n"
        "    warnings.warn('noise'); logging.warning('noise')\n    return x * factor\n"
    )
    run(shell, capsys, cell)
    capsys.readouterr()
    data = displayed(shell, "check('99.1')")
    captured = capsys.readouterr()
    assert "noise" not in data["text/plain"] + captured.out + captured.err
    assert "✓ scale: 2 of 2 cases" in data["text/plain"]
    assert run(shell, capsys, "print('still here')") == "still here\n"


def notebook(tmp_path: Path, name: str = "lab99.ipynb") -> Path:
    def cell(source: str, **about: str) -> Any:
        made = nbformat.v4.new_code_cell(source)
        made.metadata["aisys"] = about
        return made

    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_markdown_cell('@attempt("99.1")\nis how a cell begins.'),
        cell(IMPORTS, role="imports"),
        cell("GIVEN = 5", role="code"),
        cell(SCALE.replace("x * factor", "x * GIVEN"), role="exercise", exercise="99.1 scale"),
        cell("%%attempt 99.5 kernel\nmy text\n", role="exercise", exercise="99.5 kernel"),
        cell("check('99.1')\nran = 'check'", role="check"),
        cell("text = '''\n@attempt(\n'''\nran = 'experiment'", role="experiment"),
        cell("ran = 'a cell of the student'"),
        cell(
            'import aisys\n@aisys.course.attempt("99.1")\n'
            'def shift(x, *, by=1.0):\n    return "mine"'
        ),
        cell('@attempt("99.4")\ndef pipeline(ys):\n    pass', exercise="99.4 pipeline"),
    ]
    path = tmp_path / name
    nbformat.write(made, path)
    return path


def test_resume_puts_the_attempts_back_and_runs_no_experiment(shell, lab, tmp_path, capsys) -> None:
    path = notebook(tmp_path)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    run(shell, capsys, IMPORTS)
    shown = run(shell, capsys, f"resume({str(path)!r})")
    assert lab.scale(2) == 10
    assert lab.kernel.text == "my text\n"
    assert lab.shift(1) == "mine"
    assert "ran" not in shell.user_ns
    assert [slot.name for slot in slots() if slot.attempt is not None] == [
        "scale",
        "shift",
        "kernel",
    ]
    assert shown.splitlines() == [
        "AttemptError: `pipeline` takes (xs); yours takes (ys).",
        f"lab99.ipynb, as saved at {time.strftime('%H:%M', time.localtime(an_hour_ago))}, "
        "60 minutes ago: 3 attempt cells are back in place.",
        "These raised an error: 99.4 pipeline.",
    ]
    assert run(shell, capsys, "1 + 1").strip().endswith("2")


def test_resume_says_how_many_cells_are_not_written_yet(shell, lab, tmp_path, capsys) -> None:
    path = notebook(tmp_path)
    made = nbformat.read(path, as_version=4)
    made.cells[3].source += "\n    # YOUR CODE HERE"
    nbformat.write(made, path)
    run(shell, capsys, IMPORTS)
    shown = run(shell, capsys, f"resume({str(path)!r})")
    assert "3 attempt cells are back in place (1 of them is not written yet)." in shown


def test_resume_finds_the_kernels_own_notebook(shell, lab, tmp_path, monkeypatch, capsys) -> None:
    notebook(tmp_path, "one.ipynb")
    monkeypatch.chdir(tmp_path)
    resume()
    assert lab.scale(2) == 10
    clear_attempts()
    path = notebook(tmp_path, "two.ipynb")
    capsys.readouterr()
    run(shell, capsys, IMPORTS)
    assert run(shell, capsys, "resume()").strip() == (
        "CourseError: The notebook of this kernel cannot be told from its folder: "
        'name it, as in resume("lab1_autodiff.ipynb").'
    )
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert "just now: 3 attempt cells" in run(shell, capsys, "resume()")
    assert lab.scale(2) == 10


def test_resume_says_what_it_cannot_read(shell, lab, tmp_path, capsys) -> None:
    (tmp_path / "broken.ipynb").write_text("{")
    run(shell, capsys, IMPORTS)
    for name in ("broken.ipynb", "missing.ipynb"):
        shown = run(shell, capsys, f"resume({str(tmp_path / name)!r})")
        assert "Traceback" not in shown
        assert f"{name} cannot be read as a notebook" in shown


def test_resume_outside_a_kernel_is_one_sentence(lab: ModuleType) -> None:
    with pytest.raises(Exception, match="call it in a notebook's kernel"):
        resume()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('@attempt("1.3")\ndef f(): ...', True),
        ('import x\n\n@course.attempt("1.3")\ndef f(): ...', True),
        ("%%attempt 3.3 kernel\ntext", True),
        ("\n%%attempt 3.3 kernel\ntext", True),
        ("attempt('1.3')", False),
        ("x = 1\n# @attempt('1.3')", False),
        ("@attempted('1.3')\ndef f(): ...", False),
        ("%%time\nx", False),
    ],
)
def test_an_attempt_cell_is_known_by_its_decorator_or_magic(source: str, expected: bool) -> None:
    assert is_attempt(source) is expected
