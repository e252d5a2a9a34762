"""From the profiler's trace to the operator table: calls, total time, self time, memory.

`torch.profiler` notes when each operator began and ended. Everything else in its tables follows
from one question: which interval lies inside which?
"""

import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from aisys.course import exercise

MEMORY = "[memory]"
"""The name of the trace's memory events, and of the row for those outside every operator."""

HIDDEN = frozenset({"aten::is_leaf", "aten::output_nr", "aten::_version"})
"""Operators that PyTorch's own tables leave out."""


@dataclass(frozen=True)
class Event:
    """One call of an operator, or a stretch of the program that was given a name.

    Attributes:
        name: Such as "aten::conv2d".
        thread: The thread that ran it.
        start: When it began, in nanoseconds.
        end: When it ended, in nanoseconds.
    """

    name: str
    thread: int
    start: int
    end: int


@dataclass(frozen=True)
class MemoryEvent:
    """Memory that was allocated or freed.

    Attributes:
        time: When, in nanoseconds.
        size: The bytes allocated; negative where bytes were freed.
    """

    time: int
    size: int


@dataclass
class OperatorRow:
    """One row of the operator table: what all calls of one operator add up to.

    Attributes:
        calls: How often it was called.
        total_time: The time inside it, in nanoseconds.
        self_time: The part of it that lies in no operator called from it.
        memory: The bytes allocated minus the bytes freed while it ran.
        self_memory: The part of it that happened in no operator called from it.
    """

    calls: int = 0
    total_time: int = 0
    self_time: int = 0
    memory: int = 0
    self_memory: int = 0


@exercise("1.1", points=1.5)
def parents(events: Sequence[Event]) -> list[int | None]:
    """For each event the innermost event around it: the operator that called it.

    Event p is around event e if both ran on the same thread and
    p.start <= e.start < p.end and e.end <= p.end. Of two events with the same thread, start and
    end, the one that comes first in the list is around the other. On one thread, two intervals
    are disjoint or one lies inside the other. A trace can have 100,000 events: sort them, instead
    of holding each against each.

    Args:
        events: In any order.

    Returns:
        For each event, in the order of the list, the index of its parent, or None where no event
        is around it.
    """
    result: list[int | None] = [None] * len(events)
    order = sorted(
        range(len(events)),
        key=lambda i: (events[i].thread, events[i].start, -events[i].end),
    )
    open_events: list[int] = []  # each is around the next
    for index in order:
        event = events[index]
        while open_events:
            innermost = events[open_events[-1]]
            if innermost.thread == event.thread and event.start < innermost.end:
                break
            open_events.pop()
        if open_events:
            result[index] = open_events[-1]
        open_events.append(index)
    return result


@exercise("1.1", points=2.5)
def operator_table(
    events: Sequence[Event], memory_events: Sequence[MemoryEvent]
) -> dict[str, OperatorRow]:
    """The operator table of a trace: for each name one row, equal to PyTorch's `key_averages()`.

    The children of an event are the events whose parent it is (`parents`).

    - An event's time is end - start; its self time is that minus the times of its children.
    - Its memory is the sum over the memory events with start <= time <= end, of whatever thread:
      the trace does not say more. Its self memory is that minus the memory of its children.
    - A row adds these up over all events of its name, also where one lies inside another.
    - Exception: an operator may hand over to another version of itself. An event that has its
      parent's name and is its parent's only child is the same call: it adds nothing to calls,
      total time and memory, and what would be its self time and self memory stays in the row.
    - Memory events outside every event make a row of their own, named MEMORY, with its calls
      (how many there are), memory and self memory (their sum, both). No such event, no row.

    Args:
        events: In any order.
        memory_events: In any order.

    Returns:
        The rows by name.
    """
    parent_of = parents(events)
    children: list[list[int]] = [[] for _ in events]
    for index, parent in enumerate(parent_of):
        if parent is not None:
            children[parent].append(index)

    # Sorted by time, the memory events of an interval are neighbours: a difference of two sums.
    by_time = sorted(memory_events, key=lambda each: each.time)
    times = [each.time for each in by_time]
    sums = [0, *accumulate(each.size for each in by_time)]
    ranges = [(bisect_left(times, e.start), bisect_right(times, e.end)) for e in events]
    duration = [e.end - e.start for e in events]
    memory = [sums[last] - sums[first] for first, last in ranges]

    table: dict[str, OperatorRow] = {}
    inside: set[int] = set()
    for index, event in enumerate(events):
        row = table.setdefault(event.name, OperatorRow())
        row.self_time += duration[index] - sum(duration[child] for child in children[index])
        row.self_memory += memory[index] - sum(memory[child] for child in children[index])
        parent = parent_of[index]
        if parent is None:
            inside.update(range(*ranges[index]))
        elif events[parent].name == event.name and len(children[parent]) == 1:
            continue
        row.calls += 1
        row.total_time += duration[index]
        row.memory += memory[index]

    outside = [each.size for place, each in enumerate(by_time) if place not in inside]
    if outside:
        table[MEMORY] = OperatorRow(len(outside), 0, 0, sum(outside), sum(outside))
    return table


def read_trace(path: str | os.PathLike[str]) -> tuple[list[Event], list[MemoryEvent]]:
    """The events of a trace that `profile.export_chrome_trace` wrote.

    Of the Chrome format's many kinds of events two matter here: "X", complete events with `ts`
    and `dur` in microseconds, in the categories cpu_op and user_annotation; and the events named
    "[memory]" with `Bytes` among their `args`, of which those of the CPU's memory are taken.

    Args:
        path: A JSON file.
    """
    trace = json.loads(Path(path).read_text(encoding="utf-8"))["traceEvents"]
    events, memory_events = [], []
    for each in trace:
        if each["ph"] == "X" and each.get("cat") in ("cpu_op", "user_annotation"):
            name = "ProfilerStep*" if each["name"].startswith("ProfilerStep#") else each["name"]
            start = _nanoseconds(each["ts"])
            if name not in HIDDEN and not name.startswith("profiler::_record_function"):
                end = start + _nanoseconds(each["dur"])
                events.append(Event(name, each["tid"], start, end))
        elif each["name"] == MEMORY and each["args"]["Device Type"] == 0:
            memory_events.append(MemoryEvent(_nanoseconds(each["ts"]), each["args"]["Bytes"]))
    return events, memory_events


def _nanoseconds(microseconds: float) -> int:
    """Whole nanoseconds: the trace gives microseconds with three digits."""
    return round(microseconds * 1000)
