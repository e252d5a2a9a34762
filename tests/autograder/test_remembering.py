"""Results kept by content: what is unchanged needs no kernel, what is changed runs again."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from nbformat import NotebookNode

from aisys.course import Difference
from autograder.answers import mistake_source, reference_source
from autograder.bench import Bench
from autograder.cache import Cache, code_digest
from autograder.judge import judge_notebook
from autograder.kernel import KernelSpec, Session
from autograder.remembering import Memory, RememberingSession
from autograder.results import StageResult, SubmissionResult, from_json, to_json
from autograder.sample import fill
from autograder.submission import prepare
from tests.support.forked import WarmProcess

LAB = "lab1_autodiff"


class Counting:
    """Opens sessions in forks and counts what is really run in them."""

    def __init__(self, warm: WarmProcess) -> None:
        self.warm, self.sessions, self.asked = warm, 0, 0

    def open(self, spec: KernelSpec) -> Session:
        session = self.warm.open_session(spec)
        self.sessions += 1
        ask = session.ask

        def counted(request: Any, seconds: float) -> Any:
            self.asked += 1
            return ask(request, seconds)

        session.ask = counted  # type: ignore[method-assign]
        return session


@pytest.fixture
def counting(warm_of: Callable[[str], WarmProcess]) -> Counting:
    return Counting(warm_of(LAB))


def run(
    bench: Bench, notebook: NotebookNode, known: dict[str, Any], counting: Counting
) -> tuple[list[StageResult], dict[str, Any]]:
    """Judge a notebook with what is known, and return results and what is known now."""
    memory = Memory(dict(known), bench.base, bench.probes)
    prepared = prepare(notebook, bench.original)
    results = judge_notebook(
        prepared,
        bench.original,
        bench.lab,
        bench.key,
        bench.spec,
        lambda spec: RememberingSession(spec, memory, counting.open),
    )
    return results, memory.used


def mistaken(bench: Bench) -> NotebookNode:
    """A notebook with a mistake in 1.3, so that lending happens too."""
    attempts = {key: reference_source(key) for key in bench.lab.keys()}
    attempts["1.3 im2col"] = mistake_source(bench.key.catalogue.mistakes_of("1.3 im2col")[0])
    return fill(bench.original, bench.lab, attempts)


def test_an_unchanged_submission_starts_no_kernel(bench: Bench, counting: Counting) -> None:
    first, known = run(bench, mistaken(bench), {}, counting)
    assert counting.sessions > 0
    counting.sessions = counting.asked = 0
    second, again = run(bench, mistaken(bench), known, counting)
    assert (counting.sessions, counting.asked) == (0, 0)
    assert second == first
    assert again == known


def test_a_changed_cell_runs_what_comes_after_it_again(bench: Bench, counting: Counting) -> None:
    notebook = mistaken(bench)
    _, known = run(bench, notebook, {}, counting)
    everything = counting.asked
    cell = next(cell for cell in notebook.cells if cell.id == "1_5-gradients")
    cell.source += "\n# one more line"
    counting.asked = 0
    results, _ = run(bench, notebook, known, counting)
    assert 0 < counting.asked < everything
    assert next(r for r in results if r.stage == "1.3").status == "partial"


def test_a_changed_verdict_is_judged_without_a_kernel(bench: Bench, counting: Counting) -> None:
    """Verdicts and mistakes live outside: what came back is judged again, nothing is run."""
    _, known = run(bench, mistaken(bench), {}, counting)
    counting.sessions = 0
    catalogue = dataclasses.replace(
        bench.key.catalogue,
        verdicts={"conv2d_loops_values": lambda got, expected: Difference("value", "never right")},
    )
    strict = dataclasses.replace(bench, key=dataclasses.replace(bench.key, catalogue=catalogue))
    results, _ = run(strict, mistaken(bench), known, counting)
    assert counting.sessions == 0
    stage = next(r for r in results if r.stage == "1.3")
    assert next(e for e in stage.exercises if e.key == "1.3 conv2d_loops").points == 0


def test_a_changed_probe_is_asked_again_and_no_other(bench: Bench, counting: Counting) -> None:
    notebook = fill(
        bench.original, bench.lab, {key: reference_source(key) for key in bench.lab.keys()}
    )
    _, known = run(bench, notebook, {}, counting)
    counting.asked = 0
    changed = dataclasses.replace(bench)
    changed.__dict__["probes"] = bench.probes | {"im2col_values": "another hash"}
    run(changed, notebook, known, counting)
    assert counting.asked == 1


def test_a_lost_kernel_is_only_remembered_when_it_is_final(
    bench: Bench, counting: Counting
) -> None:
    notebook = mistaken(bench)
    cell = next(cell for cell in notebook.cells if cell.id == "1_4-run")
    cell.source += "\nimport os; os._exit(1)"
    _, known = run(bench, notebook, {}, counting)
    assert not any("lost" in answer for answer in known.values())


def test_a_result_survives_the_way_through_json() -> None:
    import json

    stage = StageResult("1.3", "t", 1.0, 2.0, "partial", "m", (), ("flag",))
    result = SubmissionResult("s", "l", "graded", "", (stage,), ("f",), 0.5, {"cells": []})
    assert from_json(json.loads(json.dumps(to_json(result)))) == result
    with pytest.raises((TypeError, KeyError)):
        from_json({"student": "s"})


def test_a_corrupt_entry_is_as_good_as_none(tmp_path) -> None:  # noqa: ANN001
    cache = Cache(tmp_path)
    cache.put("abcd", {"a": 1})
    assert cache.get("abcd") == {"a": 1}
    (tmp_path / "ab" / "abcd.json").write_bytes(b'{"a": \xff')
    assert cache.get("abcd") is None
    assert Cache(None).get("abcd") is None


def test_the_digest_of_code_sees_helpers_and_constants() -> None:
    namespace: dict[str, Any] = {"__name__": "package.module"}
    text = "LIMIT = {limit}\ndef helper(x):\n    return x + {plus}\n"
    text += "def f(x):\n    return helper(x) < LIMIT"

    def digest_of(limit: int, plus: int) -> str:
        own = dict(namespace)
        exec(text.format(limit=limit, plus=plus), own)
        return code_digest(own["f"])

    assert digest_of(1, 1) == digest_of(1, 1)
    assert len({digest_of(1, 1), digest_of(2, 1), digest_of(1, 2)}) == 3
