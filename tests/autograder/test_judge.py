"""Real kernels: what goes wrong in one costs the stage concerned, and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.utils import determine_grade

from autograder.answers import reference_source
from autograder.bench import Bench
from autograder.isolation import Server, method, server_for
from autograder.kernel import KernelSpec, Limits
from autograder.results import StageResult
from autograder.sample import fill
from tests.support.benches import with_seconds

pytestmark = pytest.mark.slow
SHORT = Limits(cell_seconds=4, own_cell_seconds=3)


@pytest.fixture
def perfect(bench: Bench) -> NotebookNode:
    """The released notebook with the reference in its attempt cells."""
    return fill(bench.original, bench.lab, {key: reference_source(key) for key in bench.lab.keys()})


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[Server]:
    """What starts the kernels, isolated as on this host."""
    with server_for(bench.spec.kit, method()) as started:
        yield started


@pytest.fixture
def grade(
    bench: Bench, server: Server
) -> Callable[[NotebookNode], tuple[dict[str, StageResult], NotebookNode]]:
    """Judges a notebook in a real kernel with short limits."""
    short = replace(with_seconds(bench, 1.0), spec=KernelSpec(bench.spec.kit, SHORT, server))

    def run(notebook: NotebookNode) -> tuple[dict[str, StageResult], NotebookNode]:
        prepared, stages, _ = short.judge(notebook)
        return {stage.stage: stage for stage in stages}, prepared.notebook

    return run


Grade = Callable[[NotebookNode], tuple[dict[str, StageResult], NotebookNode]]


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


def lost(stages: dict[str, StageResult]) -> set[str]:
    """The stages, written answers aside, that lack points."""
    return {s for s, r in stages.items() if r.status != "manual" and r.points < r.max_points} - {
        s for s, r in stages.items() if r.title.startswith("Written")
    }


def test_the_reference_gets_all_points_and_nbgrader_reads_them(
    perfect: NotebookNode, grade: Grade
) -> None:
    stages, notebook = grade(perfect)
    assert lost(stages) == set()
    for cell in notebook.cells:
        if cell.metadata.get("aisys", {}).get("role") == "check":
            stage = stages[cell.id.removesuffix("-check").replace("_", ".")]
            assert determine_grade(cell) == (stage.points, stage.max_points)


def test_a_check_that_the_student_rebinds_earns_nothing(bench: Bench, grade: Grade) -> None:
    notebook = fill(bench.original, bench.lab, {})
    forged = "check = lambda stage: 3\nimport aisys.course\naisys.course.check = check\n3"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(forged))
    stages, _ = grade(notebook)
    assert all(stage.points == 0 for stage in stages.values())


def test_a_hung_attempt_cell_costs_only_its_own_stage(perfect: NotebookNode, grade: Grade) -> None:
    cell_of(perfect, "1_3-im2col").source += "\nwhile True:\n    pass\n"
    stages, notebook = grade(perfect)
    assert lost(stages) == {"1.3"}
    message = stages["1.3"].message
    assert "`im2col`: a cell gave no result in 4 s" in message


def test_a_cell_that_ends_the_kernel_costs_only_its_own_stage(
    perfect: NotebookNode, grade: Grade
) -> None:
    cell_of(perfect, "1_3-im2col").source += "\nimport os\nos._exit(1)\n"
    stages, _ = grade(perfect)
    assert lost(stages) == {"1.3"}
    assert "the kernel died while a cell ran" in stages["1.3"].message


def test_an_attempt_that_ends_the_kernel_when_called_is_named(
    perfect: NotebookNode, grade: Grade
) -> None:
    cell = cell_of(perfect, "1_3-conv2d_loops")
    head, _, _ = cell.source.rpartition("return result")
    cell.source = head + "__import__('os')._exit(3)"
    stages, _ = grade(perfect)
    assert lost(stages) == {"1.3"}
    assert "`conv2d_loops`" in stages["1.3"].message
    assert "ended the kernel" in stages["1.3"].message


def test_an_attempt_that_swallows_the_time_limit_still_ends(
    perfect: NotebookNode, grade: Grade
) -> None:
    cell = cell_of(perfect, "1_3-conv2d_loops")
    head, _, _ = cell.source.rpartition("return result")
    cell.source = head + "while True:\n        try:\n            import time; time.sleep(99)\n"
    cell.source += "        except BaseException:\n            pass\n"
    stages, _ = grade(perfect)
    assert lost(stages) == {"1.3"}
    assert stages["1.3"].exercises[0].status == "timeout"


def test_an_own_cell_that_hangs_or_fails_costs_nothing(perfect: NotebookNode, grade: Grade) -> None:
    perfect.cells.insert(3, nbformat.v4.new_code_cell("while True:\n    pass"))
    perfect.cells.insert(3, nbformat.v4.new_code_cell("1 / 0"))
    perfect.cells.insert(3, nbformat.v4.new_code_cell("import os; os._exit(3)"))
    stages, _ = grade(perfect)
    assert lost(stages) == set()


def test_an_attempt_of_the_wrong_kind_or_signature_is_named(
    perfect: NotebookNode, grade: Grade
) -> None:
    cell_of(perfect, "1_3-im2col").source = '@attempt("1.3")\nclass im2col:\n    pass'
    cell_of(
        perfect, "1_3-conv2d_loops"
    ).source = '@attempt("1.3")\ndef conv2d_loops(x):\n    return x'
    stages, _ = grade(perfect)
    assert lost(stages) == {"1.3"}
    assert "1.3 im2col is a function; yours is a class." in stages["1.3"].message
    assert "`conv2d_loops` takes (x, weight, stride=1, padding=0); yours takes (x)." in (
        stages["1.3"].message
    )


def test_nothing_of_the_grader_is_in_the_kernels_environment_or_modules(
    perfect: NotebookNode, grade: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISYS_ATTEMPTS", "/nowhere.py")
    monkeypatch.setenv("COURSE_SECRET", "hidden")
    spy = "import os, sys\nprint(dict(os.environ), sorted(sys.modules))"
    perfect.cells.append(nbformat.v4.new_code_cell(spy))
    _, notebook = grade(perfect)
    (output,) = notebook.cells[-1].outputs
    assert "COURSE_SECRET" not in output.text and "AISYS_ATTEMPTS" not in output.text
    assert "autograder" not in output.text.replace("/autograder", "")


def test_experiments_are_not_run_and_keep_their_submitted_outputs(
    perfect: NotebookNode, grade: Grade
) -> None:
    experiment = next(c for c in perfect.cells if c.metadata["aisys"]["role"] == "experiment")
    experiment.source = "import os; os._exit(1)"
    experiment.outputs = [nbformat.v4.new_output("stream", text="my own measurement")]
    stages, notebook = grade(perfect)
    assert lost(stages) == set()
    assert cell_of(notebook, experiment.id).outputs == experiment.outputs


def test_a_flood_of_output_is_cut(perfect: NotebookNode, grade: Grade) -> None:
    perfect.cells.append(nbformat.v4.new_code_cell("print('x' * 3_000_000)"))
    _, notebook = grade(perfect)
    assert "was cut off" in notebook.cells[-1].outputs[-1].text
