import compileall
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import aisys
import aisys.course.slots as registry
from aisys.course.plain import unpack
from aisys.course.slots import LABS, load_lab, slots
from autograder.bench import Bench
from autograder.definitions import SourceError
from autograder.holes import SOURCE, write_tree
from tests.support.leaks import leaks

ASK_EVERY_HOLE = """
import inspect, json, sys
import aisys
from aisys.course.slots import load_lab, slots


def call(function):
    places, names = [], {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            names[name] = None
        elif parameter.kind is not parameter.VAR_KEYWORD:
            places.append(None)
    try:
        function(*places, **names)
        return "ran"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def answer(slot):
    if slot.kind == "text":
        return call(lambda: slot.text)
    if slot.kind == "class":
        members = [getattr(m, "__func__", m) for m in slot.reference.values()]
        return " ".join({call(m) for m in members if inspect.isfunction(m)})
    return call(slot.current)


for lab in map(int, sys.argv[1:]):
    load_lab(lab)
print(json.dumps([aisys.__file__, {slot.key: answer(slot) for slot in slots()}]))
"""


def ask(tree: Path, *labs: str) -> tuple[Path, dict[str, str]]:
    """Call every exercise of a tree in a process of its own: where it ran, what each answers."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK_EVERY_HOLE, *labs],
        env=environment,
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    file, answers = json.loads(done.stdout)
    return Path(file), answers


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A reference package of three small labs with the real `aisys.course`."""
    root = tmp_path / "reference"
    package = root / "aisys"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE / "aisys" / "course", package / "course", ignore=ignored)
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    first = '''
        from aisys.course import exercise

        @exercise("1.1", points=1)
        def one(x: int) -> int:
            """One more."""
            return x + 1 + len("what only the first lab's solution says")
    '''
    second = '''
        from aisys.autodiff.work import one
        from aisys.course import exercise, text_exercise

        text_exercise("2.3", "kernel", "kernel.cu", points=1, language="cuda")
        text_exercise("2.4", "manifest", "manifest.yaml", points=1, language="yaml")

        @exercise("2.1", points=1)
        class Counter:
            """Counts."""

            step: int = 1

            # What the secret helper is for.
            def _secret(self):
                return "what the helper of the solution says"

            def __init__(self, start):
                self.start = start

            @staticmethod
            def up(
                by: int,
            ) -> int:
                """Up."""
                return one(by)
                # A secret behind the last statement.

        @exercise("2.2", points=1)
        def two(x: int) -> int:
            """Two more."""

            # A secret before the first statement.
            def inner():
                return 2

            return x + inner()

            # A secret behind the return.


        @exercise("2.2", points=1)
        def three(x: int) -> int:
            """Three more."""
            return x + 3
    '''
    third = '''
        from aisys.course import exercise

        @exercise("3.1", points=1)
        def four(x: int) -> int:
            """Four more."""
            return x + 4
    '''
    for number, text in enumerate((first, second, third), 1):
        folder = package / LABS[number]
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "__pycache__" / "work.pyc").write_bytes(b"solution")
        (folder / "__init__.py").write_text("")
        (folder / "work.py").write_text(textwrap.dedent(text).lstrip())
        (folder / "checks.py").write_text(f"import aisys.{LABS[number]}.work\n")
    (package / LABS[2] / "kernel.cu").write_text(
        "// BEGIN START\nwrong();\n// END START\n// BEGIN SOLUTION\nright();\n// END SOLUTION\n"
    )
    (package / LABS[2] / "manifest.yaml").write_text(
        "a: 1\n  # BEGIN SOLUTION\n  right: 2\n  # END SOLUTION\n"
    )
    return root


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    """Stand-ins for recorded outcomes, which are only copied."""
    folder = tmp_path / "outcomes"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"lab{number}_{LABS[number]}.msgpack").write_bytes(b"outcomes %d" % number)
    return folder


def files_of(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def about(tree: Path) -> dict[str, Any]:
    return json.loads((tree / "aisys" / "kit.json").read_text())


def test_no_line_of_a_solution_of_lab_1_remains(bench: Bench) -> None:
    def is_closed(key: str) -> bool:
        return key.startswith("1.")

    assert leaks(SOURCE, SOURCE / "aisys", is_closed), "the search finds the reference itself"
    assert leaks(bench.spec.kit, SOURCE / "aisys", is_closed) == []


def test_recorded_outcomes_quote_no_code(bench: Bench) -> None:
    record = bench.spec.kit / "aisys" / "outcomes" / "lab1_autodiff.msgpack"
    cases = unpack(record.read_bytes())["cases"].values()
    made = [outcome for case in cases for _, outcome in case["mistakes"]]
    assert any(outcome["status"] == "raised" for outcome in made)
    assert not any(outcome["frames"] for outcome in made)


def test_every_exercise_of_lab_1_raises_the_hole_that_names_it(bench: Bench) -> None:
    load_lab(1)
    file, answers = ask(bench.spec.kit, "1")
    assert file == bench.spec.kit / "aisys" / "__init__.py"
    keys = [slot.key for slot in slots() if slot.key.startswith("1.")]
    assert sorted(answers) == sorted(keys) and len(keys) > 10
    for key, answer in answers.items():
        assert answer == (
            f"Hole: {key} is an exercise and has no code here yet: "
            f"write it in stage {key.split()[0]} of the notebook and run that cell."
        )


def test_every_module_of_lab_1_compiles(bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(bench.spec.kit, tmp_path / "copy")
    assert compileall.compile_dir(tmp_path / "copy", quiet=1)


def test_signatures_docstrings_and_marks_stay(source: Path, outcomes: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)
    text = (tmp_path / "kit" / "aisys" / "operators" / "work.py").read_text()
    assert (
        textwrap.dedent('''\
        @exercise("2.1", points=1)
        class Counter:
            """Counts."""

            step: int = 1

            def __init__(self, start):
                from aisys.course.errors import Hole

                raise Hole("2.1 Counter")

            @staticmethod
            def up(
                by: int,
            ) -> int:
                """Up."""
                from aisys.course.errors import Hole

                raise Hole("2.1 Counter")

        @exercise("2.2", points=1)
        def two(x: int) -> int:
            """Two more."""

            from aisys.course.errors import Hole

            raise Hole("2.2 two")


        @exercise("2.2", points=1)
        def three(x: int) -> int:
    ''')
        in text
    )
    assert "ecret" not in text


def test_every_kind_of_exercise_is_a_hole(source: Path, outcomes: Path, tmp_path: Path) -> None:
    kit = write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)
    _, answers = ask(kit, "2")
    keys = ["2.1 Counter", "2.2 two", "2.2 three", "2.3 kernel", "2.4 manifest"]
    assert {key: answers[key].partition(" is ")[0] for key in keys} == {
        key: f"Hole: {key}" for key in keys
    }


def test_a_text_begins_with_its_start_text_or_a_comment(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    kit = write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)
    lab = kit / "aisys" / "operators"
    assert (lab / "kernel.cu").read_text() == "wrong();\n"
    assert (lab / "manifest.yaml").read_text() == "a: 1\n  # YOUR CODE HERE\n"


def test_earlier_labs_come_open_and_later_ones_not_at_all(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    kit = write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)
    names = {path.name for path in (kit / "aisys").iterdir()}
    assert names == {"__init__.py", "autodiff", "course", "kit.json", "operators", "outcomes"}
    assert {path.name for path in (kit / "aisys" / "outcomes").iterdir()} == {
        "lab1_autodiff.msgpack",
        "lab2_operators.msgpack",
    }
    assert "first lab's solution" in (kit / "aisys" / "autodiff" / "work.py").read_text()
    assert about(kit) == {
        "version": aisys.__version__,
        "labs": ["lab2_operators"],
        "open": ["1.1 one"],
    }
    assert ask(kit, "1", "2")[1]["1.1 one"].startswith("TypeError")


def test_a_kit_of_several_labs_has_holes_in_each(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    labs = ["lab3_cuda", "lab1_autodiff"]
    kit = write_tree(tmp_path / "kit", labs, source=source, outcomes=outcomes)
    assert about(kit)["labs"] == ["lab1_autodiff", "lab3_cuda"]
    assert about(kit)["open"] == []
    answers = ask(kit, "1", "2", "3")[1]
    assert len(answers) == 7
    assert all(answer.startswith("Hole: ") for answer in answers.values())


def test_opened_exercises_keep_their_references(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    opened = frozenset({"2.2 two", "2.1 Counter", "2.3 kernel", "3.1 four"})
    kit = write_tree(tmp_path / "kit", ["lab2_operators"], opened, source=source, outcomes=outcomes)
    answers = ask(kit, "2")[1]
    closed = {key for key, answer in answers.items() if answer.startswith("Hole: ")}
    assert closed == {"2.2 three", "2.4 manifest"}
    assert answers["2.3 kernel"] == "ran"
    assert about(kit)["open"] == ["1.1 one", "2.1 Counter", "2.2 two", "2.3 kernel"]


def test_nothing_generated_comes_along(source: Path, outcomes: Path, tmp_path: Path) -> None:
    (source / "aisys" / ".hidden").write_text("solution")
    kit = write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)
    names = [path for path in files_of(kit) if "__pycache__" in path or ".hidden" in path]
    assert names == []


def test_the_same_sources_give_the_same_bytes_and_are_not_written_again(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    labs = ["lab2_operators", "lab1_autodiff"]
    kit = write_tree(tmp_path / "one", labs, source=source, outcomes=outcomes)
    other = write_tree(tmp_path / "two", labs[::-1], source=source, outcomes=outcomes)
    assert files_of(kit) == files_of(other)
    folder = (kit / "aisys").stat().st_ino
    assert write_tree(kit, labs, source=source, outcomes=outcomes) == kit
    assert (kit / "aisys").stat().st_ino == folder
    write_tree(kit, ["lab1_autodiff"], source=source, outcomes=outcomes)
    assert not (kit / "aisys" / "operators").exists()
    assert [path.name for path in kit.iterdir()] == ["aisys"]


def test_what_is_missing_or_unknown_is_said(source: Path, outcomes: Path, tmp_path: Path) -> None:
    def write(labs: list[str], opened: frozenset[str] = frozenset()) -> None:
        write_tree(tmp_path / "kit", labs, opened, source=source, outcomes=outcomes)

    with pytest.raises(SourceError, match="at least one lab"):
        write([])
    with pytest.raises(SourceError, match="lab4_allreduce has no package"):
        write(["lab4_allreduce"])
    with pytest.raises(SourceError, match="no exercise '2.2 twoo' to open"):
        write(["lab2_operators"], frozenset({"2.2 twoo"}))
    with pytest.raises(SourceError, match="begins with its stage"):
        write(["lab2_operators"], frozenset({"two"}))
    (outcomes / "lab2_operators.msgpack").unlink()
    with pytest.raises(SourceError, match=r"lab2_operators\.msgpack is missing: run"):
        write(["lab2_operators"])
    (source / "aisys" / "operators" / "kernel.cu").unlink()
    with pytest.raises(SourceError, match=r"there is no operators/kernel\.cu"):
        write(["lab2_operators"])
    assert not (tmp_path / "kit").exists()


def test_an_unmarked_solution_of_a_text_is_refused(
    source: Path, outcomes: Path, tmp_path: Path
) -> None:
    (source / "aisys" / "operators" / "kernel.cu").write_text("right();\n")
    with pytest.raises(SourceError, match=r"2\.3 kernel"):
        write_tree(tmp_path / "kit", ["lab2_operators"], source=source, outcomes=outcomes)


def test_an_exercise_that_the_text_does_not_show_is_refused(
    outcomes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_lab(1)
    # As left by `from aisys.course import exercise as task`.
    monkeypatch.setattr(registry, "_slots", dict(registry._slots))
    registry.Slot("1.3", "renamed", "function", 1, "aisys.autodiff.convolution")
    with pytest.raises(SourceError, match=r"1\.3 renamed was not found"):
        write_tree(tmp_path / "kit", ["lab1_autodiff"], outcomes=outcomes)
