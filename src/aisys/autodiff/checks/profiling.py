"""Probes of 1.1: what is read out of traces, written by hand, drawn, or recorded."""

from pathlib import Path
from typing import Any

import numpy as np

from aisys.autodiff import profiling
from aisys.autodiff.profiling import Event, MemoryEvent, operator_table, parents, read_trace
from aisys.course import Case, Plain, probe

RECORDED = Path(profiling.__file__).parent / "recorded" / "lenet_step.json"
"""A training step of LeNet on four digits, without the update, as torch.profiler saw it."""


def trace_of(case: dict) -> tuple[list[Event], list[MemoryEvent]]:
    """The case's own events, or the recorded ones of a phase."""
    if "recorded" not in case:
        events = [Event(*each) for each in case["events"]]
        return events, [MemoryEvent(*each) for each in case["memory"]]
    events, memory_events = read_trace(RECORDED)
    of_phase = next(each for each in events if each.name == case["recorded"])
    begin, end = of_phase.start, of_phase.end
    return (
        [each for each in events if begin <= each.start and each.end <= end],
        [each for each in memory_events if begin <= each.time <= end],
    )


def trace_case(name: str, events: list[list[Any]], memory: list[list[int]] | None = None) -> Case:
    """A case with events [name, thread, start, end] and memory events [time, size]."""
    return Case(name, {"events": events, "memory": memory or []})


RECORDED_FORWARD = Case("a recorded forward pass", {"recorded": "forward"})


@probe(
    "1.1 parents",
    cases=[
        trace_case(
            "a call inside a call inside a call",
            [["step", 1, 0, 90], ["conv2d", 1, 10, 50], ["mm", 1, 20, 40], ["relu", 1, 60, 80]],
        ),
        trace_case(
            "two threads at the same time",
            [["load", 2, 0, 60], ["step", 1, 5, 90], ["read", 2, 10, 50], ["mm", 1, 20, 40]],
        ),
        trace_case(
            "intervals that touch, not in order of time",
            [["mm", 1, 40, 70], ["t", 1, 0, 40], ["step", 1, 0, 90], ["add", 1, 70, 70]],
        ),
        trace_case(
            "the same interval twice",
            [["sort", 1, 0, 50], ["sort", 1, 0, 50], ["add", 1, 10, 20], ["add", 1, 50, 60]],
        ),
    ],
)
def parent_indices(case: dict, rng: np.random.Generator) -> Plain:
    """The list of parents."""
    return parents(trace_of(case)[0])


def rows_of(table: Any) -> Plain:
    """A table as plain data."""
    if not isinstance(table, dict):
        return {"not a dict, but": type(table).__name__}
    columns = ("calls", "total_time", "self_time", "memory", "self_memory")
    return {
        str(name): {column: getattr(row, column, None) for column in columns}
        for name, row in table.items()
    }


@probe(
    "1.1 operator_table",
    cases=[
        trace_case(
            "a call inside a call inside a call",
            [["step", 1, 0, 90], ["conv2d", 1, 10, 50], ["mm", 1, 20, 40], ["mm", 1, 60, 80]],
            [[15, 64], [25, 256], [45, -64]],
        ),
        trace_case(
            "memory at the edges and outside",
            [["mm", 1, 10, 50], ["relu", 1, 60, 80]],
            [[10, 64], [50, 32], [55, -64], [90, -32]],
        ),
        trace_case(
            "an operator that calls itself",
            [["sort", 1, 0, 60], ["sort", 1, 5, 55], ["copy_", 1, 10, 30]]
            + [["sum", 1, 100, 160], ["sum", 1, 105, 120], ["copy_", 1, 130, 150]],
            [[20, 8], [110, 16]],
        ),
        RECORDED_FORWARD,
    ],
)
def operator_rows(case: dict, rng: np.random.Generator) -> Plain:
    """The table's rows."""
    return rows_of(operator_table(*trace_of(case)))
