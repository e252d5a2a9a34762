import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aisys.course.slots as registry
from aisys.course.attempts import clear_attempts
from aisys.course.slots import find, load_lab, slots
from autograder.clear import replace_solutions
from autograder.marked import take_apart
from autograder.sources import (
    SourceError,
    cell_source,
    import_lines,
    plain_source,
    stub_of,
    without_markers,
)

HEADER = "import numpy as np\nfrom aisys.course import exercise, text_exercise\n\n"

Define = Callable[..., str]


@pytest.fixture
def define(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Define]:
    """Makes a module of a package of its own from a text; gives the module's name."""
    package = f"sample_{abs(hash(request.node.nodeid))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_slots", dict(registry._slots))

    def make(text: str, name: str = "sample", **files: str) -> str:
        folder = tmp_path / package
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_text(textwrap.dedent(content).lstrip("\n"))
        (folder / f"{name}.py").write_text(HEADER + textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.{name}").__name__

    yield make
    for loaded in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[loaded]


def student_cell(keys: list[str]) -> str:
    source = cell_source(keys)
    stubs = [stub_of(find_slot(key)) for key in keys]
    return replace_solutions(source, stubs * source.count("BEGIN SOLUTION"))


def find_slot(key: str) -> registry.Slot:
    return next(slot for slot in slots() if slot.key == key)


def test_a_cell_holds_signature_docstring_and_the_solution_between_markers(define: Define) -> None:
    define('''
        @exercise("90.1", points=1)
        def double(
            x: np.ndarray,  # any shape
            factor: float = 2,
        ) -> np.ndarray:
            """Twice the array.

            Args:
                x: Any shape.
            """

            # The factor comes first.
            return factor * x
            # Nothing follows.


        OTHER = 1
    ''')
    assert cell_source(["90.1 double"]) == textwrap.dedent('''\
        @attempt("90.1")
        def double(
            x: np.ndarray,  # any shape
            factor: float = 2,
        ) -> np.ndarray:
            """Twice the array.

            Args:
                x: Any shape.
            """
            ### BEGIN SOLUTION
            # The factor comes first.
            return factor * x
            # Nothing follows.
            ### END SOLUTION
    ''')


def test_decorators_below_the_mark_belong_to_the_attempt_and_those_above_do_not(
    define: Define,
) -> None:
    define('''
        import contextlib

        def register(function):
            return function

        @register
        @exercise("90.1", points=1)
        @contextlib.contextmanager
        def opened():
            """A context."""
            yield 1

        class Pair:
            @staticmethod
            @exercise("90.1", points=1)
            def make(left, right):
                """A pair."""
                return left, right
    ''')
    assert "@contextlib.contextmanager\ndef opened" in cell_source(["90.1 opened"])
    assert "register" not in cell_source(["90.1 opened"])
    assert "    @staticmethod\n    def make" in cell_source(["90.1 Pair.make"])
    assert "import contextlib" in import_lines(["90.1 opened"])


def test_the_methods_of_one_class_become_one_cell(define: Define) -> None:
    define('''
        class Pair:
            @exercise("90.2", points=1)
            def first(self):
                """The first."""
                return self[0]

            def given(self):
                return 1

            @exercise("90.2", points=1)
            def second(self):
                """The second."""
                return self[1]
    ''')
    assert student_cell(["90.2 Pair.first", "90.2 Pair.second"]).count("class Pair:") == 1
    assert without_markers(cell_source(["90.2 Pair.first", "90.2 Pair.second"])) == textwrap.dedent(
        '''\
        @attempt("90.2")
        class Pair:
            def first(self):
                """The first."""
                return self[0]

            def second(self):
                """The second."""
                return self[1]
        '''
    )


CLASS = '''
    from dataclasses import dataclass

    @exercise("90.3", points=1)
    @dataclass
    class Counter:
        """Counts."""

        start: int = 0

        # Helps.
        @property
        def _next(self):
            return self.start + 1_000_000

        def __post_init__(self):
            self.count = self._next

        def up(self, by: int) -> int:
            """Count up."""
            return self.count + by
'''


def test_private_helpers_of_a_class_are_part_of_its_solution(define: Define) -> None:
    define(CLASS)
    cell, student = cell_source(["90.3 Counter"]), student_cell(["90.3 Counter"])
    assert "_next" in cell and "1_000_000" in cell and "@dataclass\nclass Counter" in cell
    assert "_next" not in student and "Helps" not in student
    assert "    start: int = 0\n" in student and "def up(self, by: int) -> int:" in student
    compile(student, "student", "exec")
    names: dict[str, object] = {"attempt": lambda stage: lambda thing: thing}
    exec("\n".join(import_lines(["90.3 Counter"])) + "\n" + without_markers(cell), names)
    assert names["Counter"](3).up(1) == 1_000_004  # type: ignore[operator]


def test_what_stands_behind_the_first_method_of_a_class_is_refused(define: Define) -> None:
    define(CLASS + "\n        alias = up\n")
    with pytest.raises(SourceError, match="attributes stand before it"):
        cell_source(["90.3 Counter"])


def test_a_solution_without_docstring_or_body_is_refused(define: Define) -> None:
    define('''
        @exercise("90.4", points=1)
        def bare(x):
            return x

        @exercise("90.4", points=1)
        def empty(x):
            """Nothing."""
    ''')
    with pytest.raises(SourceError, match="no docstring"):
        cell_source(["90.4 bare"])
    with pytest.raises(SourceError, match="no body"):
        cell_source(["90.4 empty"])


TEXT = """
    // before
    void f() {
        // BEGIN START
        first();
            wrong();
        // END START
        // BEGIN SOLUTION
        right();
        // END SOLUTION
    }
"""


def test_a_text_cell_begins_with_the_start_text_as_it_is_indented(define: Define) -> None:
    define('text_exercise("90.5", "f", "f.cpp", points=1, language="cpp")', f_cpp=TEXT)
    cell = cell_source(["90.5 f"])
    assert cell.startswith("%%attempt 90.5 f\n// before\n") and "wrong" not in cell
    assert "    // ### BEGIN SOLUTION\n    right();\n    // ### END SOLUTION\n" in cell
    assert student_cell(["90.5 f"]).splitlines()[1:] == [
        "// before",
        "void f() {",
        "    first();",
        "        wrong();",
        "}",
    ]


def test_a_text_without_start_begins_with_a_comment(define: Define) -> None:
    text = "a: 1\n# BEGIN SOLUTION\nb: 2\n# END SOLUTION\n"
    define('text_exercise("90.6", "m", "m.yaml", points=1, language="yaml")', m_yaml=text)
    assert student_cell(["90.6 m"]) == "%%attempt 90.6 m\na: 1\n# YOUR CODE HERE"
    assert without_markers(cell_source(["90.6 m"])) == "%%attempt 90.6 m\na: 1\nb: 2\n"


@pytest.mark.parametrize(
    "text",
    [
        "no marker",
        "# BEGIN SOLUTION\na",
        "# END SOLUTION\n# BEGIN SOLUTION",
        "# BEGIN SOLUTION\n# END SOLUTION\n" * 2,
        "# BEGIN SOLUTION\n# BEGIN START\n# END START\n# END SOLUTION",
        "# BEGIN START\n# BEGIN SOLUTION\n# END SOLUTION",
    ],
)
def test_a_text_whose_solution_is_not_marked_once_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"3\.3 text"):
        take_apart(text, "3.3 text")


def test_imports_are_those_that_the_cells_need_merged_and_sorted(define: Define) -> None:
    module = define('''
        import functools
        import os.path
        from collections import deque
        from collections.abc import Callable, Sequence

        LIMIT = 3

        def helper():
            import json
            return json

        @exercise("90.7", points=1)
        def one(values: Sequence[int], call: Callable[[], int], limit: int = LIMIT) -> int:
            """One."""
            import math
            inner = [math.floor(v) for v in values]
            def own(deep):
                return deep + len(inner)
            return own(helper()) + os.path.sep.count("a")

        @exercise("90.7", points=1)
        def two(values: "Queue") -> int:
            """Two."""
            return one(deque(values), two)
    ''')
    assert import_lines(["90.7 one", "90.7 two"]) == [
        "import os.path",
        "from collections import deque",
        "from collections.abc import Callable, Sequence",
        f"from {module} import LIMIT, helper, one",
    ]


def test_a_long_import_has_one_name_a_line() -> None:
    names = [f"a_rather_long_name_{letter}" for letter in "dcbae"]
    text = "\n".join(import_lines([], {"somewhere": names}))
    assert text.splitlines()[:2] == ["from somewhere import (", "    a_rather_long_name_a,"]
    compile(text, "imports", "exec")


def test_a_name_that_may_not_be_importable_comes_from_its_module(define: Define) -> None:
    module = define('''
        try:
            import no_such_library
        except ImportError:
            no_such_library = None

        @exercise("90.8", points=1)
        def has() -> bool:
            """Whether it is there."""
            return no_such_library is not None
    ''')
    assert import_lines(["90.8 has"]) == [f"from {module} import no_such_library"]


def test_a_name_that_a_student_could_not_import_is_refused(define: Define) -> None:
    define('''
        def _hidden():
            return 1

        @exercise("90.9", points=1)
        def private() -> int:
            """One."""
            return _hidden()

        @exercise("90.9", points=1)
        def unknown() -> int:
            """One."""
            return nowhere_defined
    ''')
    with pytest.raises(SourceError, match="`_hidden`, which is private"):
        import_lines(["90.9 private"])
    with pytest.raises(SourceError, match="`nowhere_defined`"):
        import_lines(["90.9 unknown"])


def test_a_name_that_means_two_things_is_refused(define: Define) -> None:
    text = '''
        size = {value}

        @exercise("90.10", points=1)
        def {name}() -> int:
            """The size."""
            return size
    '''
    define(text.format(value=1, name="one"), "first")
    define(text.format(value=2, name="two"), "second")
    with pytest.raises(SourceError, match="give one of them another name"):
        import_lines(["90.10 one", "90.10 two"])


def test_an_edit_names_text_that_occurs_exactly_once(define: Define) -> None:
    define('''
        @exercise("90.11", points=1)
        def add(x):
            """Add."""
            y = x + 1
            return y + 1
    ''')
    edited = plain_source("90.11 add", {"x + 1": "x - 1"})
    assert edited.endswith("    y = x - 1\n    return y + 1\n")
    with pytest.raises(SourceError, match="occurs 2 times"):
        plain_source("90.11 add", {" + 1": " - 1"})
    with pytest.raises(SourceError, match="occurs 0 times"):
        plain_source("90.11 add", {"nothing": ""})


def test_every_reference_of_lab_1_runs_as_the_cell_of_a_student() -> None:
    load_lab(1)
    keys = [slot.key for slot in slots() if slot.stage.startswith("1.")]
    names: dict[str, object] = {}
    exec("\n".join(import_lines(keys, {"aisys.course": ["attempt"]})), names)
    try:
        for key in keys:
            assert 'NotImplementedError("' + key in student_cell([key])
            exec(compile(student_cell([key]), f"<{key}, student>", "exec"), names)
            exec(compile(without_markers(cell_source([key])), f"<{key}>", "exec"), names)
            assert find(key).attempt is not None
    finally:
        clear_attempts()
