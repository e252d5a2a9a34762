"""Notebooks are built from text and references: the same bytes every time, with no solution."""

import ast
from pathlib import Path

import nbformat
import pytest

from aisys.course.slots import TextSlot, slots
from autograder import build, text
from autograder.bench import Bench
from autograder.build import build_lab, stale, student_path, to_text
from autograder.marked import take_apart
from autograder.sources import BEGIN, END
from autograder.text import TextError, lab_names, read_lab

FRONT = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
aisys: {{lab: lab1_autodiff, title: "Lab 1"}}
---
# Lab 1

```{{code-cell}} ipython3
:role: imports
```

+++ {{"stage": "1.3", "kind": "core", "minutes": 60}}

{body}
"""
STAGE = """## 1.3 Convolution, twice

```{code-cell} ipython3
:exercise: 1.3 conv2d_loops
```

```{code-cell} ipython3
:exercise: 1.3 im2col
```

```{code-cell} ipython3
:exercise: 1.3 conv2d_im2col
```

```{code-cell} ipython3
:check: "1.3"
```
"""


@pytest.mark.parametrize("lab", lab_names())
def test_two_builds_give_the_same_bytes(lab: str) -> None:
    first, second = ([to_text(notebook) for notebook in build_lab(lab)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("lab", lab_names())
def test_the_committed_notebook_is_what_its_text_builds(lab: str) -> None:
    assert stale(lab) == ""


@pytest.mark.parametrize("lab", lab_names())
def test_no_line_of_a_solution_is_in_the_students_notebook(lab: str) -> None:
    source, student = build_lab(lab)
    shown = {line.strip() for cell in student.cells for line in cell.source.splitlines()}
    # Where the task is to find the bug, most lines of the faulty text are right.
    texts = [take_apart(slot.marked, slot.key) for slot in slots() if isinstance(slot, TextSlot)]
    shown -= {line.strip() for text in texts for line in text.start}
    solved = 0
    for cell in source.cells:
        inside = False
        for line in cell.source.splitlines():
            inside = BEGIN in line or (inside and END not in line)
            if inside and len(line.strip()) > 30 and not line.strip().startswith("#"):
                assert line.strip() not in shown, cell.id
                solved += 1
    assert solved > 20


@pytest.mark.parametrize("lab", lab_names())
def test_every_code_cell_of_the_source_parses_and_every_id_is_unique(lab: str) -> None:
    source, _ = build_lab(lab)
    for cell in source.cells:
        if cell.cell_type == "code" and not cell.source.startswith("%%"):
            ast.parse(cell.source)
    assert len({cell.id for cell in source.cells}) == len(source.cells)
    nbformat.validate(source)


def test_a_stale_notebook_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_names()[0]
    changed = tmp_path / f"{lab}.ipynb"
    monkeypatch.setattr(build, "student_path", lambda name: changed)
    monkeypatch.setattr(build, "REPOSITORY", tmp_path)
    assert "is missing" in stale(lab)
    good = student_path(lab).read_text(encoding="utf-8")
    changed.write_text(good.replace("Convolution", "Konvolution"), encoding="utf-8")
    assert "is not what its text builds" in stale(lab)
    solved = nbformat.reads(good, as_version=4)
    solved.cells[3].source += "\n### BEGIN SOLUTION"
    changed.write_text(to_text(solved), encoding="utf-8")
    assert "holds a solution" in stale(lab)
    run = nbformat.reads(good, as_version=4)
    code = next(cell for cell in run.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text="hello")]
    changed.write_text(to_text(run), encoding="utf-8")
    assert "holds outputs" in stale(lab)


@pytest.fixture
def lab_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: ANN201
    """Reads a lab whose first stage is the given text."""
    monkeypatch.setattr(text, "LABS_FOLDER", tmp_path)

    def read(body: str) -> text.LabText:
        path = tmp_path / "lab1_autodiff" / "lab1_autodiff.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FRONT.format(body=body), encoding="utf-8")
        return read_lab("lab1_autodiff")

    return read


def test_a_stage_is_text_exercises_and_one_check(lab_of) -> None:  # noqa: ANN001
    lab = lab_of(STAGE)
    assert [cell.role for cell in lab.cells[2:]] == ["text", *["exercise"] * 3, "check"]
    assert [cell.id for cell in lab.cells][-1] == "1_3-check"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (':check: "1.3"', ":check: 1.3", r"with quotes"),
        (':check: "1.3"', ':check: "1.4"', "check 1.4 stands in stage 1.3"),
        (":exercise: 1.3 im2col", ":exercise: 1.3 im2cool", "asks for the exercise '1.3 im2cool'"),
        (":exercise: 1.3 im2col", ":exercise: 1.4 run", "stands in stage 1.3"),
        (":exercise: 1.3 im2col", ":experiment: none", "asks once for each exercise"),
        ("## 1.3 Convolution", "## 1.4 Convolution", "begins with `## 1.3 TITLE`"),
        ('```{code-cell} ipython3\n:check: "1.3"\n```', "", "needs exactly one check cell"),
        ("## 1.3 Convolution, twice", "## 1.3 Convolution\n\n### BEGIN SOLUTION", "no solution"),
    ],
)
def test_a_faulty_text_is_said_in_one_sentence(
    old: str,
    new: str,
    sentence: str,
    lab_of,  # noqa: ANN001
) -> None:
    assert old in STAGE
    with pytest.raises(TextError, match=sentence):
        lab_of(STAGE.replace(old, new))


def test_an_unknown_lab_is_said_with_those_that_exist() -> None:
    with pytest.raises(
        TextError, match="There is no lab 'lab1_nothing'; the labs are lab1_autodiff"
    ):
        read_lab("lab1_nothing")


def test_the_bench_draws_the_same_cases_from_the_same_secret_and_others_from_another(
    bench: Bench,
) -> None:
    from autograder.answers import answer_key

    def drawn(secret: str) -> dict[str, list[object]]:
        key = answer_key(bench.lab, bench.key.catalogue, secret)
        return {name: [(c.case.name, c.case.seed) for c in cs] for name, cs in key.cases.items()}

    assert drawn("one secret") == drawn("one secret")
    assert drawn("one secret") != drawn("another secret")
