"""Attempts travel: what `export_attempts` writes, another process runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import aisys
from aisys.course import AttemptError, attempt, export_attempts
from aisys.course.attempts import load_attempts
from aisys.course.slots import find

from .conftest import SUPPORT

SOURCE = Path(aisys.__file__).parents[1]
PREPARE = "import sample99.exercises\nfrom aisys.course import attempt, export_attempts"


def elsewhere(code: str, attempts: Path | None = None) -> Any:
    """Run code in a fresh process that prints one JSON value; `attempts` by `AISYS_ATTEMPTS`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SUPPORT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if attempts is not None:
        environment["AISYS_ATTEMPTS"] = str(attempts)
    done = subprocess.run(
        [sys.executable, "-c", f"import aisys\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cells(shell: Any, *sources: str) -> None:
    for source in (PREPARE, *sources):
        result = shell.run_cell(source, store_history=True)
        assert result.success


def exported(shell: Any, tmp_path: Path, *sources: str) -> str:
    cells(shell, *sources)
    return export_attempts(tmp_path / "attempts.py").read_text(encoding="utf-8")


def test_a_notebooks_attempts_run_in_another_process(shell, lab, tmp_path) -> None:
    cells(
        shell,
        "import math\nimport numpy as np, json\nfrom collections import Counter as Tally",
        'FACTOR = 10\n\ndef helper(x):\n    return math.floor(x) * FACTOR\n\n@attempt("99.1")\n'
        "def scale(x, factor=2.0):\n    return helper(x)\n\nprint('done')",
        '@attempt("99.2")\nclass Box:\n    def total(self):\n        return self._tally()["a"]\n\n'
        "    def _tally(self):\n        return Tally(self.items)",
        "%%attempt 99.5 kernel\nmy 'text'\n\\n\n",
        '@attempt("99.4")\ndef pipeline(xs):\n'
        "    return np.array([sample99.exercises.scale(x) for x in xs]).tolist()",
    )
    path = export_attempts(tmp_path / "attempts.py")
    assert path == (tmp_path / "attempts.py").resolve()
    code = """
import json
import aisys
from sample99.exercises import Box, kernel, pipeline, scale, shift
print(json.dumps([scale(2.5), Box("aab").total(), kernel.text, pipeline([1.5, 2.5]), shift(1)]))
"""
    assert elsewhere(code, path) == [20, 2, "my 'text'\n\\n\n", [10, 20], 2.0]
    assert (
        elsewhere(code.replace('Box("aab")', "Box([1])").replace("pipeline([1.5, 2.5])", "0"))[0]
        == 5
    )


def test_whole_classes_travel(shell, load, tmp_path) -> None:
    records = load("records")
    cells(
        shell,
        "from __future__ import annotations\nimport sample99.records",
        "from dataclasses import dataclass, field\n\n@dataclass\nclass Part:\n    size: int\n\n"
        '@attempt("99.3")\n@dataclass(frozen=True)\nclass Setting:\n    rank: int\n'
        "    tags: list[str] = field(default_factory=list)\n\n    def label(self):\n"
        "        return Part(self.rank)",
        "from sample99.records import Shape",
        '@attempt("99.3")\nclass Rectangle(Shape):\n    def __init__(self, width, height):\n'
        "        super().__init__()\n        self.width = width\n\n    def area(self):\n"
        "        return 7 * self.width",
    )
    assert records.Rectangle(1, 1).twice() == 14
    path = export_attempts(tmp_path / "attempts.py")
    code = """
import json, pickle
from sample99.records import Rectangle, Setting
label = pickle.loads(pickle.dumps(Setting(3).label()))
print(json.dumps([label.size, Rectangle(2, 1).twice()]))
"""
    assert elsewhere(code, path) == [3, 28]


def test_attempts_in_a_file_travel_with_what_they_use(tmp_path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        '''"""My solutions."""
from __future__ import annotations

import math
import sys
from sample99 import exercises
from aisys.course import attempt, export_attempts

LIMIT: int = 3
if LIMIT > 2:
    EXTRA = 100
else:
    EXTRA = 0


def _helper(x):
    return math.ceil(x) + EXTRA


@attempt("99.1")
def scale(x, factor=2.0):
    return _helper(x)


@attempt("99.2")
class Box:
    def total(self):
        return LIMIT


def main():
    print("never in the other process")


if __name__ == "__main__":
    export_attempts(sys.argv[1])
    print('"written"')
'''
    )
    path = tmp_path / "attempts.py"
    code = f"import runpy, sys; sys.argv = ['mine.py', {str(path)!r}]\n"
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    assert elsewhere(code) == "written"
    assert "never in the other" not in path.read_text()
    code = "import json; from sample99.exercises import Box, scale\n"
    code += "print(json.dumps([scale(1.5), Box([]).total()]))"
    assert elsewhere(code, path) == [102, 3]


def test_attempts_travel_on_from_a_process_that_loaded_them(lab, shell, tmp_path) -> None:
    cells(
        shell,
        'def two():\n    return 2\n\n@attempt("99.1")\ndef scale(x, factor=2.0):\n    return two()',
    )
    first = export_attempts(tmp_path / "first.py")
    second = tmp_path / "second.py"
    code = "import json, sample99.exercises; from aisys.course import export_attempts\n"
    code += f"print(json.dumps(str(export_attempts({str(second)!r}))))"
    assert elsewhere(code, first) == str(second)
    code = "import json; from sample99.exercises import scale; print(json.dumps(scale(1)))"
    assert elsewhere(code, second) == 2


def test_experiments_and_unused_statements_stay_behind(shell, lab, tmp_path) -> None:
    text = exported(
        shell,
        tmp_path,
        "import json as unused\nimport math",
        "import heapq\nresults = [1]\nfor i in range(3):\n    results.append(i)\n\n"
        '@attempt("99.1")\n'
        "def scale(x, factor=2.0):\n    for i in (1,):\n        pass\n    return math.pi\n\n"
        "results = scale(1)\nscale(2)",
    )
    assert "math" in text
    for unused in ("json", "heapq", "results", "range(3)", "scale(2)", "export_attempts"):
        assert unused not in text.replace(PREPARE.splitlines()[1], "")


def test_an_import_that_failed_or_is_not_needed_does_no_harm(shell, lab, tmp_path) -> None:
    shell.run_cell("import no_such_module", store_history=True)
    shell.run_cell("this is no Python", store_history=True)
    text = exported(shell, tmp_path, '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return 1')
    assert "no_such_module" not in text


def test_statements_on_one_line_and_nested_names_are_understood(shell, lab, tmp_path) -> None:
    text = exported(
        shell,
        tmp_path,
        "import math; ONE = 1; UNUSED = 2\n\ndef make():\n    def inner():\n"
        "        return [ONE for _ in range(2)]\n    return inner\n\n"
        '@attempt("99.1")\ndef scale(x, factor=2.0):\n    return make()()',
    )
    assert "ONE = 1" in text.splitlines()
    assert "UNUSED" not in text and "math" not in text


def test_names_of_defaults_decorators_and_other_attempts_cells_come_along(
    shell, lab, tmp_path
) -> None:
    cells(
        shell,
        'import functools\nBY = 5\n\n@attempt("99.1")\ndef shift(x, *, by=BY):\n    return x + by',
        "def twice(function):\n    @functools.wraps(function)\n    def wrapper(*args):\n"
        "        return 2 * function(*args)\n    return wrapper\n\n"
        '@attempt("99.1")\n@twice\ndef scale(x, factor=2.0):\n    return BY',
    )
    path = export_attempts(tmp_path / "attempts.py")
    code = "import json; from sample99.exercises import scale, shift\n"
    code += "print(json.dumps([scale(1), shift(1)]))"
    assert elsewhere(code, path) == [10, 6]


def test_a_helper_of_two_cells_is_the_one_that_was_run_last(shell, lab, tmp_path) -> None:
    first = 'def helper():\n    return "first"\n\n@attempt("99.1")\ndef scale(x, factor=2.0):\n'
    second = 'def helper():\n    return "second"\n\n@attempt("99.1")\ndef shift(x, *, by=1.0):\n'
    body = "    return helper()"
    cells(shell, first + body, second + body, first + body)
    assert lab.shift(1) == "first"
    load_attempts(export_attempts(tmp_path / "attempts.py"))
    assert lab.shift(1) == lab.scale(1) == "first"


def test_annotations_that_are_never_evaluated_stay_so(shell, lab, tmp_path) -> None:
    cells(
        shell,
        "from __future__ import annotations",
        '@attempt("99.1")\ndef scale(x: Unknown, factor: Unknown = 2.0):\n    return 5',
    )
    load_attempts(export_attempts(tmp_path / "attempts.py"))
    assert lab.scale(1) == 5


def test_without_attempts_the_file_is_empty_but_loads(lab: ModuleType, tmp_path) -> None:
    path = export_attempts(tmp_path / "attempts.py")
    assert path.read_text() == "from aisys.course import attempt, attempt_text\n"
    load_attempts(path)


def test_an_attempt_whose_text_is_not_known_is_told(shell, lab, tmp_path) -> None:
    timed = '%%time\n@attempt("99.1")\ndef scale(x, factor=2.0):\n    return 1'
    shell.run_cell(PREPARE)
    shell.run_cell(timed)
    assert lab.scale(1) == 1
    with pytest.raises(AttemptError) as caught:
        export_attempts(tmp_path / "attempts.py")
    assert str(caught.value) == (
        "99.1 scale: the text that defines it is not known; write it at the beginning "
        "of a line, in a cell without `%%time` and the like."
    )


def test_an_attempt_that_is_not_at_the_top_of_its_text_is_told(lab: ModuleType, tmp_path) -> None:
    @attempt("99.1")
    def scale(x, factor=2.0):
        return 1

    assert find("99.1 scale").source
    with pytest.raises(AttemptError, match="write it at the beginning of a line"):
        export_attempts(tmp_path / "attempts.py")


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(AttemptError) as caught:
        load_attempts(tmp_path / "nothing.py")
    assert str(caught.value) == (
        f"AISYS_ATTEMPTS names {tmp_path / 'nothing.py'}, which cannot be read "
        "(No such file or directory); write it with export_attempts()."
    )
