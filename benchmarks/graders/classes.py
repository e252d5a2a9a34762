"""A class of submissions, laid out for this harness, for stock nbgrader, and for otter-grader.

All three execute the same cells of the same notebooks and run the same hidden cases: the harness by
its probes and outside verdicts, the other two in the notebook, as ordinary asserts that compare
with the reference's outcome within the same tolerance.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from aisys.course.outcomes import outcome_to_plain
from aisys.course.plain import pack
from autograder.answers import AnswerKey, answer_key, mistake_source, reference_source
from autograder.build import build_lab, write_notebook
from autograder.catalogue import load_catalogue
from autograder.choice import catalogue_of, chosen
from autograder.course import init_course, load_course
from autograder.sample import fill
from autograder.text import LabText, read_lab

LAB = "lab1_autodiff"
MISTAKEN = 4
"""One student in so many makes a catalogued mistake."""
TESTS = """
from importlib import import_module
from pathlib import Path
from aisys.course.outcomes import outcome_from_plain
from aisys.course.plain import unpack
from aisys.course.probes import Case, find_probe, judge, run_case

for module, name, case, expected, compared in unpack(Path({path!r}).read_bytes()):
    import_module(module)
    expected = outcome_from_plain(expected)
    got = run_case(find_probe(name), Case(*case))
    assert got.status == expected.status, got
    assert not compared or judge(find_probe(name), got, expected) is None
"""


@dataclass(frozen=True)
class Class:
    """A class of submissions on disk.

    Attributes:
        course: The course of this harness, with its `submitted/`.
        released: What of it there is before the first grading.
        stock: The course of stock nbgrader, with the same notebooks.
        otter: The notebooks and the tests for otter-grader.
        students: The students' names.
    """

    course: Path
    released: Path
    stock: Path
    otter: Path
    students: tuple[str, ...]


def make_class(
    folder: Path, size: int, stages: Sequence[str] = (), experiments: bool = False
) -> Class:
    """Write a class of `size` students into an empty folder.

    Args:
        folder: The folder.
        size: How many students.
        stages: The stages that the course chose; all where there are none.
        experiments: Whether the notebooks have the lab's experiments.
    """
    course, stock, otter = (folder / name for name in ("course", "stock", "otter"))
    init_course(course, "benchmark", [LAB])
    if stages:
        table = f"[labs.{LAB}]\n"
        text = (course / "course.toml").read_text(encoding="utf-8")
        text = text.replace(table, f"{table}stages = {json.dumps(list(stages))}\n")
        (course / "course.toml").write_text(text, encoding="utf-8")
    choice = load_course(course).policies.of(LAB).choice
    lab = chosen(read_lab(LAB), choice)
    key = answer_key(lab, catalogue_of(lab, load_catalogue(LAB)), load_course(course).secret)
    source, original = build_lab(LAB, choice)
    students = tuple(f"student{number:04}" for number in range(size))
    tests = {
        stage.stage: _tests_of(stage.stage, key, lab, folder / "cases") for stage in lab.stages
    }
    tested = with_tests(source, tests, experiments)
    write_notebook(stock / "source" / LAB / f"{LAB}.ipynb", tested)
    for number, student in enumerate(students):
        notebook = attempt_of(number, original, lab, key)
        notebook.cells = [c for c in notebook.cells if experiments or not _is_experiment(c)]
        name = f"{student}/{LAB}/{LAB}.ipynb"
        write_notebook(course / "submitted" / name, notebook)
        write_notebook(stock / "submitted" / name, notebook)
        write_notebook(otter / f"{student}.ipynb", with_checks(notebook))
    for stage, text in tests.items():
        _write_otter_test(otter / "tests", stage, text, lab.points(stage))
    return Class(course, folder / "released", stock, otter, students)


def attempt_of(number: int, original: NotebookNode, lab: LabText, key: AnswerKey) -> NotebookNode:
    """The notebook of a student: the references, with a mistake in every fourth."""
    attempts = {name: reference_source(name) for name in lab.keys()}
    mistakes = key.catalogue.mistakes
    if number % MISTAKEN == MISTAKEN - 1:
        mistake = mistakes[number // MISTAKEN % len(mistakes)]
        attempts[mistake.key] = mistake_source(mistake)
    notebook = fill(original, lab, attempts)
    first = next(c for c in notebook.cells if c.metadata["aisys"]["role"] == "exercise")
    first.source += f"\n\n# Handed in by student {number}."
    return notebook


def touch(submitted: Path, student: str, word: str) -> None:
    """Change a submission a little: a comment in its first exercise."""
    path = submitted / student / LAB / f"{LAB}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    first = next(c for c in notebook.cells if c.metadata["aisys"]["role"] == "exercise")
    first.source += f"\n# {word}"
    write_notebook(path, notebook)


def with_tests(source: NotebookNode, tests: Mapping[str, str], experiments: bool) -> NotebookNode:
    """The source notebook of stock nbgrader: checks give way to hidden tests in the cells."""
    notebook = nbformat.from_dict({**source, "cells": []})
    for cell in source.cells:
        if _is_experiment(cell) and not experiments:
            continue
        copy = nbformat.from_dict(cell)
        if cell.metadata["aisys"]["role"] == "check":
            stage = cell.id.removesuffix("-check").replace("_", ".")
            copy.source = f"### BEGIN HIDDEN TESTS{tests[stage]}### END HIDDEN TESTS"
        notebook.cells.append(copy)
    return notebook


def with_checks(notebook: NotebookNode) -> NotebookNode:
    """A notebook as otter-grader expects it: without the checks, which it runs at the end."""
    copy = nbformat.from_dict({**notebook})
    copy.cells = [c for c in notebook.cells if c.metadata["aisys"]["role"] != "check"]
    return copy


def _tests_of(stage: str, key: AnswerKey, lab: LabText, folder: Path) -> str:
    """The hidden cases of a stage as asserts; their data lies in a file, which is read quickly.

    Where the catalogue has a verdict of its own, only that a result comes back is asserted.
    """
    cases = [
        [
            entry.probe.function.__module__,
            entry.probe.name,
            [entry.case.name, entry.case.inputs, entry.case.seed],
            outcome_to_plain(entry.expected),
            entry.probe.name not in key.catalogue.verdicts,
        ]
        for name in lab.keys(stage)
        for entry in key.cases[name]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.msgpack"
    path.write_bytes(pack(cases))
    return TESTS.format(path=str(path))


def _write_otter_test(folder: Path, stage: str, tests: str, points: float) -> None:
    indented = "\n".join(f"    {line}" for line in tests.strip().splitlines())
    text = (
        "from otter.test_files import test_case\n\n"
        f'OK_FORMAT = False\nname = "{stage}"\npoints = {points:g}\n\n'
        f"@test_case(points={points:g}, hidden=True)\ndef test_hidden(env):\n{indented}\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"q{stage.replace('.', '_')}.py").write_text(text, encoding="utf-8")


def _is_experiment(cell: NotebookNode) -> bool:
    return bool(cell.metadata["aisys"]["role"] == "experiment")
