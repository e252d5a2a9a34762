"""The operator table of 1.1 is PyTorch's own, on a real profile."""

from pathlib import Path

import numpy as np

from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.profiling import HIDDEN, Event, operator_table, parents, read_trace
from aisys.autodiff.training import one_thread, profiled, train

ROUNDING = 2000  # nanoseconds a row may lose where the trace is written in microseconds


def test_the_operator_table_equals_key_averages_on_a_real_training_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((64, 1, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 10, 64)
    model, path = LeNet(seed=0), tmp_path / "trace.json"
    with one_thread():
        train(model, images, labels, [np.arange(64)])
        expected = profiled(lambda: train(model, images, labels, [np.arange(64)] * 3), path)
    table = operator_table(*read_trace(path))
    compared = set(table) & set(expected)
    assert {name for name in expected if name.startswith("aten::")} - HIDDEN <= compared
    assert {"aten::conv2d", "forward", "backward"} <= compared
    for name in compared:
        ours, theirs = table[name], expected[name]
        assert ours.calls == theirs.calls, name
        assert ours.memory == theirs.memory, name
        assert ours.self_memory == theirs.self_memory, name
        assert abs(ours.total_time - theirs.total_time) <= ROUNDING * ours.calls, name
        assert abs(ours.self_time - theirs.self_time) <= ROUNDING * ours.calls, name


def test_the_parent_is_the_innermost_event_around_of_the_same_thread() -> None:
    events = [
        Event("step", 1, 0, 100),
        Event("forward", 1, 10, 60),
        Event("conv", 1, 20, 30),
        Event("other thread", 2, 20, 30),
        Event("backward", 1, 60, 90),
    ]
    assert parents(events) == [None, 0, 1, None, 0]
