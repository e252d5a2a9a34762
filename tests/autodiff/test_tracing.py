"""A trace of a run: what is noted, and that stage 1.1 can read it."""

import json

import numpy as np
import pytest

from aisys.autodiff.execution import run
from aisys.autodiff.graph import placeholder, relu, transpose
from aisys.autodiff.operations import OPERATIONS
from aisys.autodiff.profiling import operator_table, read_trace
from aisys.autodiff.tracing import traced, write_trace


@pytest.fixture
def table(tmp_path):
    """The operator table of two runs of relu(transpose(x) + 1), 80 bytes each."""
    x = placeholder((2, 5))
    target = relu(transpose(x) + 1.0)
    with traced() as trace:
        with trace.stretch("step"):
            for _ in range(2):
                run([target], {x: np.ones((2, 5))})
    write_trace(trace, tmp_path / "trace.json")
    return operator_table(*read_trace(tmp_path / "trace.json"))


def test_every_computation_is_a_call_inside_its_stretch(table):
    calls = {name: row.calls for name, row in table.items()}
    assert calls == {"transpose": 2, "constant": 2, "add": 2, "relu": 2, "step": 1}
    times = [row.self_time for row in table.values()]
    assert sum(times) == table["step"].total_time
    assert min(times) >= 0


def test_memory_is_taken_by_the_operation_that_makes_the_array_and_given_back(table):
    assert table["add"].memory == table["relu"].memory == 2 * 80
    assert table["transpose"].memory == 0  # a view of what was fed
    assert table["step"].memory == 0


def test_the_file_is_a_chrome_trace(tmp_path):
    x = placeholder((2,))
    with traced() as trace:
        run([-x], {x: np.ones(2)})
    write_trace(trace, tmp_path / "trace.json")
    entries = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    (call,) = [each for each in entries if each["ph"] == "X"]
    assert call["name"] == "negate"
    assert call["ts"] == 0 and call["dur"] > 0


def test_afterwards_nothing_is_noted_even_after_an_error():
    before = dict(OPERATIONS)
    with pytest.raises(ZeroDivisionError), traced() as trace:
        raise ZeroDivisionError
    assert OPERATIONS == before
    x = placeholder((2,))
    run([-x], {x: np.ones(2)})
    assert trace.events == [] and trace.memory_events == []
