"""Stage 1.1: hidden cases, mistakes and alternatives of traces and logs."""

from typing import Any

import numpy as np

from aisys.autodiff.checks.profiling import trace_case
from aisys.autodiff.checks.training_log import USUAL, log_case
from aisys.course import Case
from aisys.course.probes import Verdict
from autograder.catalogue import Alternative, Draw, Mistake

NAMES = ("step", "conv2d", "convolution", "mm", "add_", "sort", "copy_", "empty")


def tree(rng: np.random.Generator, thread: int, start: int, end: int, depth: int) -> list[Any]:
    """Events [name, thread, start, end]: one for the whole interval, others inside it."""
    name = str(rng.choice(NAMES))
    events = [[name, thread, start, end]]
    if depth == 0 or end - start < 16:
        return events
    if rng.random() < 0.3:  # one call only, of the same name more often than not
        inside = tree(rng, thread, start + int(rng.integers(1, 4)), end, depth - 1)
        inside[0][0] = name if rng.random() < 0.7 else inside[0][0]
        return events + inside
    cuts = sorted(int(each) for each in rng.choice(np.arange(start, end + 1), 4, replace=False))
    pairs = [(cuts[0], cuts[1]), (cuts[1], cuts[2]), (cuts[2], cuts[3])]
    kept = pairs[:: int(rng.integers(1, 3))]  # three that touch, or two that do not
    for first, last in kept:
        events += tree(rng, thread, first, last, depth - 1)
    if rng.random() < 0.5:  # one that takes no time, at the end of another
        events.append([str(rng.choice(NAMES)), thread, kept[-1][1], kept[-1][1]])
    return events


def drawn(rng: np.random.Generator, name: str, threads: int = 1, depth: int = 3) -> Case:
    """A case with a tree for each thread, in random order, and memory events all over it."""
    events = []
    for thread in range(1, threads + 1):
        start = int(rng.integers(0, 100))
        events += tree(rng, thread, start, start + int(rng.integers(500, 900)), depth)
    events = [events[i] for i in rng.permutation(len(events))]
    edges = [each[place] for each in events[:5] for place in (2, 3)]
    times = [*edges, *rng.integers(0, 1200, 20).tolist()]
    sizes = rng.choice([-512, -64, 64, 128, 512, 1024], len(times)).tolist()
    return trace_case(name, events, [[int(t), int(s)] for t, s in zip(times, sizes, strict=True)])


def traces(rng: np.random.Generator) -> list[Case]:
    """Drawn traces, and a recorded one."""
    return [
        drawn(rng, "hidden 1: one thread"),
        drawn(rng, "hidden 2: two threads", threads=2),
        drawn(rng, "hidden 3: deep", depth=6),
        drawn(rng, "hidden 4: four short threads", threads=4, depth=2),
        Case("hidden 5: a recorded backward pass", {"recorded": "backward"}),
    ]


def logs(rng: np.random.Generator) -> list[Case]:
    """Logs with a slow step somewhere, and with what may be taken for it."""
    phases = list(USUAL)

    def slow(first: int, milliseconds: float) -> list[Any]:
        return [first + int(rng.integers(1, 8)), str(rng.choice(phases)), milliseconds]

    def seed() -> int:
        return int(rng.integers(2**31))

    start = int(rng.integers(20, 400))
    usual = {phase: float(rng.uniform(1, 20)) for phase in phases}
    tested = {**usual, "test": float(rng.uniform(150, 300))}
    return [
        log_case("hidden 1: a slow step", seed(), [slow(0, 30.0)]),
        log_case(
            "hidden 2: a short phase loses little",
            seed(),
            [[int(rng.integers(1, 4)), "update", 4.0], [int(rng.integers(4, 8)), "backward", 11.0]],
        ),
        log_case(
            "hidden 3: a rare phase that takes long",
            seed(),
            [slow(0, 40.0)],
            usual_ms=tested,
            rare=["test"],
            steps=13,
        ),
        log_case(
            "hidden 4: other lines, out of order",
            seed(),
            [slow(start, 35.0)],
            first=start,
            others=True,
            noise=True,
            shuffled=True,
        ),
        log_case("hidden 5: few steps", seed(), [[start + 2, "load", 25.0]], first=start, steps=4),
    ]


CASES: dict[str, Draw] = {
    "parent_indices": traces,
    "operator_rows": traces,
    "slow_step_found": logs,
}

VERDICTS: dict[str, Verdict] = {}

MISTAKES = [
    Mistake(
        "1.1 parents",
        "threads not told apart",
        hint="Two threads run at the same time: an interval can lie inside another one of a thread "
        "that has nothing to do with it.",
        source="""
def parents(events):
    result = [None] * len(events)
    order = sorted(range(len(events)), key=lambda i: (events[i].start, -events[i].end))
    open_events = []
    for index in order:
        while open_events and events[index].start >= events[open_events[-1]].end:
            open_events.pop()
        if open_events:
            result[index] = open_events[-1]
        open_events.append(index)
    return result
""",
    ),
    Mistake(
        "1.1 parents",
        "sorted by start alone",
        hint="A call may begin in the very nanosecond in which its caller began. "
        "Which of the two has to come first?",
        replace={"events[i].start, -events[i].end)": "events[i].start)"},
    ),
    Mistake(
        "1.1 parents",
        "the outermost event around it",
        hint="The parent is the nearest event around it, not the one at the top.",
        replace={"result[index] = open_events[-1]": "result[index] = open_events[0]"},
    ),
    Mistake(
        "1.1 parents",
        "inside an event that has just ended",
        hint="An event that begins where another one ends comes after it, not inside it.",
        replace={"event.start < innermost.end": "event.start <= innermost.end"},
    ),
    Mistake(
        "1.1 parents",
        "finished events stay open",
        hint="Before you look for the parent, everything that has ended must be gone.",
        replace={"event.start < innermost.end": "True"},
    ),
    Mistake(
        "1.1 operator_table",
        "self time without all events inside, not only the children",
        hint="Take away the children only. What lies inside a child is part of the child's time "
        "already.",
        replace={
            """    for index, parent in enumerate(parent_of):
        if parent is not None:
            children[parent].append(index)
""": """    for index, parent in enumerate(parent_of):
        while parent is not None:
            children[parent].append(index)
            parent = parent_of[parent]
"""
        },
    ),
    Mistake(
        "1.1 operator_table",
        "self time is total time",
        hint="Self time is what is left of an event when the time of its children is taken away.",
        replace={
            "duration[index] - sum(duration[child] for child in children[index])": "duration[index]"
        },
    ),
    Mistake(
        "1.1 operator_table",
        "a handed-over call counted twice",
        hint="An only child of its parent's name is the same call. "
        "It must not be counted once more.",
        replace={"len(children[parent]) == 1": "False"},
    ),
    Mistake(
        "1.1 operator_table",
        "every child of the same name taken for the same call",
        hint="Only an only child is the same call. An operator that calls itself among others "
        "makes two calls.",
        replace={" and len(children[parent]) == 1": ""},
    ),
    Mistake(
        "1.1 operator_table",
        "freed bytes left out",
        hint="Memory is what was allocated minus what was freed; it can be negative.",
        replace={
            "sums = [0, *accumulate(each.size for each in by_time)]": (
                "sums = [0, *accumulate(max(each.size, 0) for each in by_time)]"
            )
        },
    ),
    Mistake(
        "1.1 operator_table",
        "memory at the edges of an event left out",
        hint="A memory event at the very start or end of an event belongs to it.",
        replace={
            "bisect_left(times, e.start), bisect_right(times, e.end)": (
                "bisect_right(times, e.start), bisect_left(times, e.end)"
            )
        },
    ),
    Mistake(
        "1.1 operator_table",
        "no row for memory outside",
        hint="Memory can be allocated or freed while no operator runs. "
        "These events have a row, too.",
        replace={"    if outside:": "    if False:"},
    ),
    Mistake(
        "1.1 slow_step",
        "the longest time",
        hint="A phase that always takes long loses nothing. Compare each time with what is usual "
        "for its phase.",
        replace={"each.seconds - each.usual_seconds": "each.seconds"},
    ),
    Mistake(
        "1.1 slow_step",
        "the largest ratio to the usual time",
        hint="Three times a very short time is still a short time. "
        "What counts is the seconds lost.",
        replace={"each.seconds - each.usual_seconds": "each.seconds / each.usual_seconds"},
    ),
    Mistake(
        "1.1 slow_step",
        "step 0 taken for the first",
        hint="A run that goes on from a checkpoint does not begin with step 0.",
        replace={
            "first = min(step for of_phase in seconds.values() for step in of_phase)": "first = 0"
        },
    ),
    Mistake(
        "1.1 slow_step",
        "the first step kept",
        hint="The first step warms up and is slow in every phase. Leave it out, also of the usual "
        "time.",
        replace={"of_phase.pop(first, None)": "pass"},
    ),
    Mistake(
        "1.1 slow_step",
        "the mean for the usual time",
        hint="The slow step itself moves the mean. The median does not move.",
        replace={"statistics.median(": "statistics.mean("},
    ),
    Mistake(
        "1.1 slow_step",
        "other events taken for phases",
        hint="Other events have steps and seconds, too. Look at what the line says its event is.",
        replace={'entry.get("event") == "phase"': '"phase" in entry'},
    ),
    Mistake(
        "1.1 slow_step",
        "a line that is no JSON ends it",
        hint="A log is not written by you alone, and its last line may be cut off. "
        "Go on after a line that cannot be read.",
        replace={"            continue\n": "            raise\n"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.1 parents",
        """
def parents(events):
    def around(p, e):
        outer, inner = events[p], events[e]
        same = (outer.start, outer.end) == (inner.start, inner.end)
        inside = outer.start <= inner.start < outer.end and inner.end <= outer.end
        return p != e and outer.thread == inner.thread and inside and (p < e or not same)

    found = []
    for e in range(len(events)):
        callers = [p for p in range(len(events)) if around(p, e)]
        callers.sort(key=lambda p: (events[p].end - events[p].start, -p))
        found.append(callers[0] if callers else None)
    return found
""",
        "the definition, tried on all pairs",
    ),
    Alternative(
        "1.1 operator_table",
        """
from collections import defaultdict


def operator_table(events, memory_events):
    above = parents(events)
    below = defaultdict(list)
    for child, parent in enumerate(above):
        below[parent].append(child)

    def seconds(i):
        return events[i].end - events[i].start

    def held(i):
        inside = [m.size for m in memory_events if events[i].start <= m.time <= events[i].end]
        return sum(inside)

    rows = defaultdict(OperatorRow)
    for i, event in enumerate(events):
        row = rows[event.name]
        row.self_time += seconds(i) - sum(map(seconds, below[i]))
        row.self_memory += held(i) - sum(map(held, below[i]))
        parent = above[i]
        if parent is not None and events[parent].name == event.name and below[parent] == [i]:
            continue
        row.calls, row.total_time = row.calls + 1, row.total_time + seconds(i)
        row.memory += held(i)
    for each in memory_events:
        if not any(e.start <= each.time <= e.end for e in events):
            row = rows[MEMORY]
            row.calls += 1
            row.memory += each.size
            row.self_memory += each.size
    return dict(rows)
""",
        "each memory event held against each event",
    ),
    Alternative(
        "1.1 slow_step",
        """
import numpy as np


def slow_step(lines):
    records = []
    for line in lines:
        try:
            record = json.loads(line)
            if record["event"] == "phase":
                records.append((record["phase"], record["step"], record["seconds"]))
        except (ValueError, TypeError, KeyError):
            pass
    warm_up = min(step for _, step, _ in records)
    records = [record for record in records if record[1] > warm_up]
    best, most = None, -np.inf
    for name in sorted({name for name, _, _ in records}):
        times = np.array([seconds for other, _, seconds in records if other == name])
        usual = float(np.median(times))
        for other, step, seconds in records:
            if other == name and seconds - usual > most:
                best, most = SlowStep(step, name, seconds, usual), seconds - usual
    return best
""",
        "NumPy",
    ),
]

ANSWERS = {
    "1.1-written": """\
Most self time is in `aten::convolution_backward` and `aten::mkldnn_convolution`: the two \
convolutions of LeNet, backward and forward. (Where max-pooling or its backward comes second, that \
is right too: the answer goes with the student's own table.)

`aten::conv2d` takes nearly as long in total as all convolutions do, but it only calls \
`aten::convolution`, which calls `aten::_convolution`, and so on: the time is in the innermost \
call. Total time is counted again on every level, so totals of nested operators must not be added \
up. Self times can be: they are disjoint and together they are the traced time. Where to optimise \
is told by self time; total time tells which part of the program it belongs to.

The self time of `forward`, `backward` and `update`, and of the `autograd::engine` rows, is time \
in no operator: Python, the dispatch of calls, the optimizer's loop, the walk through the graph, \
and the profiler's own work. It is a fixed amount for each call, whatever the batch. With one \
image there is as much of it but 64 times less arithmetic, so its share is much larger.
"""
}
