"""The operator table of 1.1 against PyTorch's own, on real profiles and on drawn traces."""

import json

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile, record_function

from aisys.autodiff.checks.profiling import RECORDED
from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.operator_mix import BETWEEN, draw_timeline, group_of, operator_mix
from aisys.autodiff.profiling import (
    MEMORY,
    Event,
    MemoryEvent,
    OperatorRow,
    operator_table,
    parents,
    read_trace,
)
from aisys.autodiff.training import one_thread, profiled, train
from aisys.data import batches, digits


def test_the_table_of_a_training_run_equals_key_averages(tmp_path):
    data = digits()
    steps = list(batches(len(data.train_labels), size=8, epochs=1))[:3]
    with one_thread():
        theirs = profiled(
            lambda: train(LeNet(), data.train_images, data.train_labels, steps),
            tmp_path / "trace.json",
        )
    table = operator_table(*read_trace(tmp_path / "trace.json"))
    assert table == theirs
    assert table["aten::conv2d"].calls == 6
    assert {"load", "forward", "backward", "update"} <= set(table)


def test_the_table_equals_key_averages_where_operators_hand_over_and_memory_lies_outside(tmp_path):
    x = torch.arange(1000, dtype=torch.float32)

    def odd_cases():
        x.sort()
        x.mean()
        with record_function("twice"), record_function("twice"):
            torch.ones(10)
            torch.ones(20)
        with record_function("twice"):
            with record_function("twice"):
                x + 1
            with record_function("twice"):
                x + 2

    theirs = profiled(odd_cases, tmp_path / "trace.json")
    events, memory_events = read_trace(tmp_path / "trace.json")
    table = operator_table(events, memory_events)
    assert table == theirs
    calls = {name: sum(each.name == name for each in events) for name in ("aten::sort", "twice")}
    assert (calls["twice"], table["twice"].calls) == (5, 4)
    assert table["aten::sort"].calls < calls["aten::sort"]
    assert MEMORY in table


def test_the_steps_of_a_schedule_share_a_row_as_in_key_averages(tmp_path):
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        for _ in range(3):
            torch.ones(2).relu()
            profiler.step()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    table = operator_table(*read_trace(tmp_path / "trace.json"))
    theirs = {row.key: row.count for row in profiler.key_averages()}
    assert {name: row.calls for name, row in table.items()} == theirs


def test_self_times_add_up_to_the_time_of_the_outermost_events():
    events, memory_events = read_trace(RECORDED)
    table = operator_table(events, memory_events)
    outermost = [e for e, above in zip(events, parents(events), strict=True) if above is None]
    traced = sum(each.end - each.start for each in outermost)
    assert sum(row.self_time for row in table.values()) == traced
    assert sum(operator_mix(table).values()) == traced
    assert sum(row.self_memory for row in table.values()) == sum(m.size for m in memory_events)


@st.composite
def nested(draw, depth=4):
    """Intervals of two threads, each disjoint from its neighbours or inside its caller."""
    events = []

    def fill(thread, start, end, depth):
        events.append(Event(draw(st.sampled_from("abc")), thread, start, end))
        if depth and end > start:
            cuts = sorted(draw(st.lists(st.integers(start, end), min_size=2, max_size=4)))
            for first, last in zip(cuts[:-1], cuts[1:], strict=True):
                if draw(st.booleans()):
                    fill(thread, first, last, depth - 1)

    for thread in (1, 2):
        fill(thread, draw(st.integers(0, 5)), draw(st.integers(6, 60)), depth)
    return draw(st.permutations(events))


@settings(max_examples=60, deadline=None)
@given(nested())
def test_the_parent_is_the_innermost_event_around_by_definition(events):
    def around(p, e):
        outer, inner = events[p], events[e]
        inside = outer.start <= inner.start < outer.end and inner.end <= outer.end
        same = (outer.start, outer.end) == (inner.start, inner.end)
        return outer.thread == inner.thread and inside and p != e and (p < e or not same)

    for e, parent in enumerate(parents(events)):
        callers = [p for p in range(len(events)) if around(p, e)]
        innermost = [p for p in callers if not any(around(p, other) for other in callers)]
        assert [parent] == (innermost or [None])


def test_a_long_trace_is_nested_without_recursion():
    events = [Event("deep", 1, i, 100_000 - i) for i in range(20_000)]
    assert parents(events) == [None, *range(19_999)]


def test_an_empty_trace_has_an_empty_table():
    assert parents([]) == []
    assert operator_table([], []) == {}
    assert operator_table([], [MemoryEvent(3, 8)]) == {MEMORY: OperatorRow(1, 0, 0, 8, 8)}


def test_only_the_memory_of_the_cpu_is_read(tmp_path):
    def memory(device):
        args = {"Device Type": device, "Bytes": 8}
        return {"ph": "i", "cat": "cpu_instant_event", "name": MEMORY, "ts": 1.5, "args": args}

    trace = {"traceEvents": [memory(0), memory(1), {"ph": "M", "name": "process_name"}]}
    (tmp_path / "trace.json").write_text(json.dumps(trace))
    assert read_trace(tmp_path / "trace.json") == ([], [MemoryEvent(1500, 8)])


def test_a_timeline_has_a_bar_for_each_event_below_its_caller():
    events = [Event("forward", 1, 0, 100), Event("aten::mm", 1, 10, 90)]
    axes = draw_timeline(events)
    bars = [each.get_paths()[0].get_extents() for each in axes.collections if each.get_paths()]
    assert [round(bar.y0, 2) for bar in bars] == [-0.45, 0.55]
    np.testing.assert_allclose([bar.x0 for bar in bars], [0, 10e-6])


def test_what_is_no_operator_of_aten_lies_between_operators():
    assert {group_of(name) for name in ("forward", "Optimizer.step#SGD.step")} == {BETWEEN}
    assert group_of("aten::convolution_backward") == "convolution"
    assert group_of("aten::max_pool2d_with_indices") == "pooling"
