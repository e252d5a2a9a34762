"""Text exercises: judged from the notebook's file, each in a sandbox of its own."""

from collections.abc import Callable, Iterator

import nbformat
import pytest
from nbformat import NotebookNode

from autograder.answers import reference_source
from autograder.bench import Bench
from autograder.isolation import server_for
from autograder.judge import judge_notebook
from autograder.kernel import Session
from autograder.remembering import Memory, RememberingSession
from autograder.results import ExerciseResult
from autograder.sample import fill
from autograder.submission import prepare
from autograder.texts import texts_of
from tests.support.benches import with_seconds
from tests.support.forked import WarmProcess

LAB = "lab2_operators"
ROWS, SUMS, PRODUCT = "2.7 gelu_rows", "2.7 scale_and_sum", "2.7 blocked_product"
FIRST = "    std::fill("

BenchOf = Callable[[str], Bench]


@pytest.fixture(scope="module")
def cpp_bench(bench_of: BenchOf) -> Bench:
    return bench_of(LAB)


@pytest.fixture(scope="module")
def sandboxed(cpp_bench: Bench) -> Iterator[Bench]:
    with server_for(cpp_bench.spec.kit, "sandbox") as server:
        yield cpp_bench.started_by(server)


def notebook_with(bench: Bench, **changed: str) -> NotebookNode:
    """A notebook with the three short texts of 2.7, some of them changed; and nothing else."""
    texts = {key: reference_source(key) for key in (ROWS, SUMS, PRODUCT)}
    return fill(bench.original, bench.lab, texts | changed)


def judged(
    bench: Bench, notebook: NotebookNode, open_session: Callable = Session, stage: str = "2.7"
) -> dict[str, ExerciseResult]:
    """The results of a stage by exercise."""
    prepared = prepare(notebook, bench.original)
    wanted = {"run": True, "judge": False}
    prepared.steps = [
        s for s in prepared.steps if wanted.get(s.action) or (s.action, s.stage) == ("judge", stage)
    ]
    results = judge_notebook(
        prepared, bench.original, bench.lab, bench.key, bench.spec, open_session
    )
    return {exercise.key: exercise for result in results for exercise in result.exercises}


def spoiled(statement: str) -> str:
    """The text of scale_and_sum with a statement before its first one."""
    return reference_source(SUMS).replace(FIRST, f"    {statement}\n{FIRST}")


def test_the_texts_are_those_of_the_file(cpp_bench: Bench) -> None:
    notebook = notebook_with(cpp_bench)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["2_7-gelu_rows"].source = "\n%%attempt  2.7   gelu_rows\nint x;\n"
    texts = texts_of(prepare(notebook, cpp_bench.original), cpp_bench.original)
    assert texts[ROWS] == "int x;\n"
    assert texts[SUMS] == reference_source(SUMS).partition("\n")[2].strip()
    assert "2.7 linear_gelu" not in texts  # as it was released


@pytest.mark.slow
def test_the_kernel_of_the_cells_has_no_part_in_it(
    cpp_bench: Bench, warm_of: Callable[[str], WarmProcess]
) -> None:
    notebook = notebook_with(cpp_bench, **{SUMS: "%%attempt 2.7 scale_and_sum\nint x;\n"})
    right = reference_source(SUMS).partition("\n")[2]
    cheat = f"from aisys.course import attempt_text\nattempt_text({SUMS!r}, {right!r})"
    place = next(n for n, cell in enumerate(notebook.cells) if cell.id == "2_7-scale_and_sum")
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(cheat))
    results = judged(cpp_bench, notebook, warm_of(LAB).open_session)
    assert results[SUMS].points == 0
    assert results[ROWS].points == results[ROWS].max_points


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("*(volatile int*)8 = 1;", "error"),
        ("volatile bool on = true; while (on) {}", "timeout"),
        ("undeclared += 1;", "error"),
        ("static_assert([] { long n = 0; while (true) ++n; return n; }() == 0);", "error"),
    ],
)
def test_what_goes_wrong_in_a_text_costs_only_its_exercise(
    statement: str, status: str, sandboxed: Bench
) -> None:
    notebook = notebook_with(sandboxed, **{SUMS: spoiled(statement)})
    results = judged(with_seconds(sandboxed, 1.0), notebook)
    assert (results[SUMS].points, results[SUMS].status) == (0, status)
    for key in (ROWS, PRODUCT):
        assert results[key].points == results[key].max_points


@pytest.mark.slow
def test_a_text_reaches_nothing_outside_of_its_sandbox(sandboxed: Bench) -> None:
    reach = 'if (fopen("/etc/shadow", "r") || fopen("/usr/here", "w")) std::abort();'
    headers = "<cstdint>\n#include <cstdio>\n#include <cstdlib>"
    text = spoiled(reach).replace("<cstdint>", headers)
    results = judged(sandboxed, notebook_with(sandboxed, **{SUMS: text}))
    assert results[SUMS].points == results[SUMS].max_points


@pytest.mark.slow
def test_a_real_kernel_knows_the_magic_of_texts(sandboxed: Bench) -> None:
    text = f"%%attempt {ROWS}\n// here it is"
    shown = "from aisys.operators.cpp import gelu_rows\n"
    shown += "assert gelu_rows.as_in_cell.splitlines()[1] == '// here it is'  # as in its cell"
    with Session(sandboxed.spec) as session:
        for source in ("import aisys.course", text, shown):
            assert session.run_cell(nbformat.v4.new_code_cell(source), 10) == ""


def test_an_unchanged_text_is_not_asked_again(
    cpp_bench: Bench, warm_of: Callable[[str], WarmProcess]
) -> None:
    memory = Memory({}, cpp_bench.base, cpp_bench.probes)
    opened: list[str] = []

    def real(spec):  # noqa: ANN001, ANN202
        opened.append("kernel")
        return warm_of(LAB).open_session(spec)

    def remembering(spec):  # noqa: ANN001, ANN202
        return RememberingSession(spec, memory, real)

    first = judged(cpp_bench, notebook_with(cpp_bench), remembering)
    count = len(opened)
    assert judged(cpp_bench, notebook_with(cpp_bench), remembering) == first
    assert len(opened) == count
    judged(cpp_bench, notebook_with(cpp_bench, **{SUMS: spoiled(";")}), remembering)
    # The cells run again, and the changed text; linear_gelu is a hole either way.
    assert len(opened) <= count + 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("for (;;) sum[0] = 1;", "timeout"),
        ("sum[1 << 20] = 1;", "failed"),
        ("int *p = 0; p[threadIdx.x] = n / (n - n);", "failed"),
        ("this is no kernel;", "failed"),
    ],
)
def test_a_kernel_that_goes_wrong_costs_its_neighbours_in_the_stage_nothing(
    bench_of: BenchOf, body: str, status: str
) -> None:
    bench = bench_of("lab3_cuda")
    keys = ("3.1 vector_add", "3.1 saxpy", "3.1 greyscale")
    texts = {key: reference_source(key) for key in keys}
    texts[keys[0]] = (
        f"%%attempt {keys[0]}\n__global__ void vector_add("
        f"const float *a, const float *b, float *sum, int n) {{ {body} }}"
    )
    with server_for(bench.spec.kit, "sandbox") as server:
        notebook = fill(bench.original, bench.lab, texts)
        results = judged(bench.started_by(server), notebook, stage="3.1")
    wrong, *right = (results[key] for key in keys)
    assert (wrong.points, wrong.status) in ((0, status), (0, "error"))
    assert all(each.status == "passed" for each in right)
