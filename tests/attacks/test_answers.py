"""Attacks on what is judged: answers that fit everything, and a search for the right ones."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from aisys.course.compare import compare
from aisys.course.probes import Outcome
from autograder.asking import ask_case
from autograder.bench import Bench
from autograder.kernel import Session
from autograder.running import Run
from tests.attacks.arena import IMPORTS, KEY, Arena

LOOPS = "1.3 conv2d_loops"
FITTING = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "none": None,
    "true": True,
    "text": "",
}


def filled(expected: Any, value: Any) -> Any:
    """Data of the form that is expected, with a value in place of every number and text."""
    if isinstance(expected, dict):
        return {key: filled(entry, value) for key, entry in expected.items()}
    if isinstance(expected, list):
        return [filled(entry, value) for entry in expected]
    if isinstance(expected, np.ndarray):
        kind = np.float64 if isinstance(value, float) else expected.dtype
        return np.full(expected.shape, value, kind) if isinstance(value, float) else value
    return value


@pytest.mark.parametrize("kind", FITTING)
def test_no_verdict_of_lab_1_takes_what_fits_everything(bench: Bench, kind: str) -> None:
    """It wants a value that no comparison refuses, in whatever form is asked for."""
    looked = 0
    for key, cases in bench.key.cases.items():
        for case in cases:
            expected = case.expected.value
            for got in (filled(expected, FITTING[kind]), FITTING[kind], [], {}):
                if compare(got, expected) is not None:
                    looked += 1
                    said = bench.key.verdict(case, Outcome("returned", got))
                    assert said is not None, (key, case.case.name, got)
    assert looked > 500


def memory(pid: int) -> Iterator[bytes]:
    """What a process can write to, piece by piece."""
    with open(f"/proc/{pid}/mem", "rb") as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if rights.startswith("rw"):
                file.seek(int(start, 16))
                try:
                    yield file.read(int(end, 16) - int(start, 16))
                except OSError:
                    continue


def test_nothing_that_knows_an_answer_is_in_the_memory_of_a_kernel(arena: Arena) -> None:
    """It wants to search its memory, and that of the process it was forked from, for answers."""
    bench = arena.bench.started_by(arena.server)
    imports = next(cell.source for cell in arena.original.cells if cell.id == IMPORTS)
    cases = bench.key.cases[LOOPS]
    rows = [case.expected.value.ravel()[4:8].tobytes() for case in cases]
    wanted = {*rows, arena.canary.encode(), b"sliding_window_view(padded, (kernel"}
    with Session(bench.spec) as session:
        run = Run(session, bench.key, arena.lab.keys())
        session.run_cell(nbformat.v4.new_code_cell(f"{imports}\nimport numpy as np"), 30)
        for case in (*cases, *bench.key.cases[KEY]):
            assert ask_case(run, case).status == "hole"
        pids = [session._client.km.provisioner.pid, arena.server._process.pid]
        for pid in pids:
            assert {want for piece in memory(pid) for want in wanted if want in piece} == set()
        known = f"known = np.frombuffer(bytes.fromhex({rows[0].hex()!r}))"
        session.run_cell(nbformat.v4.new_code_cell(known), 30)
        assert any(rows[0] in piece for piece in memory(pids[0]))
