"""A trace of this engine's runs, in the form of PyTorch's, so that stage 1.1 can read both."""

import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from aisys.autodiff.execution import memory_of
from aisys.autodiff.operations import OPERATIONS, Operation, Value
from aisys.autodiff.profiling import MEMORY, Event, MemoryEvent


@dataclass
class Trace:
    """What was noted: an event for each operation, and one for memory taken or given back.

    Attributes:
        events: Of operations and stretches, in the order in which they ended.
        memory_events: Of computed arrays, not of what was fed. An array comes into being in the
            operation that computes it, and is gone when nothing refers to it.
    """

    events: list[Event] = field(default_factory=list)
    memory_events: list[MemoryEvent] = field(default_factory=list)
    _alive: set[int] = field(default_factory=set)
    _ended: bool = False

    @contextmanager
    def stretch(self, name: str) -> Iterator[None]:
        """Note a part of the program under a name, such as "step"."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            end = time.perf_counter_ns()
            self.events.append(Event(name, threading.get_ident(), start, end))

    def note_memory(self, value: Value, arguments: tuple[Value, ...]) -> None:
        """Note an array that an operation has made, unless it is a view of one that was there."""
        array = memory_of(value)
        if not isinstance(array, np.ndarray) or id(array) in self._alive:
            return
        if any(memory_of(each) is array for each in arguments):
            return
        self._alive.add(id(array))
        self.memory_events.append(MemoryEvent(time.perf_counter_ns(), array.nbytes))
        weakref.finalize(array, self._note_end, id(array), array.nbytes).atexit = False

    def _note_end(self, identity: int, size: int) -> None:
        self._alive.discard(identity)
        if not self._ended:
            self.memory_events.append(MemoryEvent(time.perf_counter_ns(), -size))


@contextmanager
def traced() -> Iterator[Trace]:
    """Note every operation that is computed while the block runs, by whatever runs the graph."""
    trace = Trace()
    before = dict(OPERATIONS)
    for name, operation in before.items():
        OPERATIONS[name] = replace(operation, compute=_noting(trace, operation))
    try:
        yield trace
    finally:
        OPERATIONS.update(before)
        trace._ended = True


def write_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace in the Chrome format, for `read_trace` and for any viewer of such files.

    Args:
        trace: From `traced`.
        path: Receives a JSON file; times are microseconds from the first event.
    """
    moments = [each.start for each in trace.events] + [each.time for each in trace.memory_events]
    begin, process = min(moments, default=0), os.getpid()
    entries: list[dict[str, object]] = [
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": each.name,
            "pid": process,
            "tid": each.thread,
            "ts": (each.start - begin) / 1000,
            "dur": (each.end - each.start) / 1000,
        }
        for each in trace.events
    ]
    entries += [
        {
            "ph": "i",
            "cat": "cpu_instant_event",
            "name": MEMORY,
            "s": "t",
            "pid": process,
            "tid": 0,
            "ts": (each.time - begin) / 1000,
            "args": {"Bytes": each.size, "Device Type": 0},
        }
        for each in trace.memory_events
    ]
    Path(path).write_text(json.dumps({"traceEvents": entries}), encoding="utf-8")


def _noting(trace: Trace, operation: Operation) -> Callable[..., Value]:
    """The computation of an operation, with an event for each call."""

    def compute(*values: Value, **attributes: object) -> Value:
        with trace.stretch(operation.name):
            result = operation.compute(*values, **attributes)
            trace.note_memory(result, values)
        return result

    return compute
