"""What the experiments of 4.3 need: where chunks are, step by step, and real processes timed.

What is drawn is read from the messages themselves, so that it is the picture of whatever code ran.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.trace import Trace
from aisys.allreduce.transport import Request, Transport
from aisys.course.errors import CourseError
from aisys.course.plotting import COLOURS, finish

AllReduce = Callable[[Transport, np.ndarray], np.ndarray]

Key = TypeVar("Key")
"""What tells apart what is timed."""

MOST_RANKS = 20
"""The bits of a mark that say whose numbers are in it."""


@dataclass(frozen=True)
class Journey:
    """Where the chunks were in a run.

    Attributes:
        contributions: Of how many ranks' numbers a chunk is the sum, [steps + 1, ranks, chunks].
        sent: Whether a rank sends a chunk in a step, [steps, ranks, chunks].
        trace: What happened.
    """

    contributions: np.ndarray
    sent: np.ndarray
    trace: Trace


class Recorded(Transport):
    """A transport on another one that keeps a copy of every array sent, in order."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner.rank, inner.world_size, inner.timeout)
        self._inner = inner
        self.arrays: list[np.ndarray] = []

    def close(self) -> None:
        """Leave."""
        self._inner.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        self.arrays.append(data.copy())
        return self._inner._isend(data, to, tag)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        return self._inner._irecv(out, source, tag)

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        self.arrays.append(data.copy())
        self._inner._sendrecv(data, to, out, source, tag)


def journey(ranks: int, allreduce: AllReduce = ring_allreduce) -> Journey:
    """Run an all-reduce of as many chunks as there are ranks, and read where they were.

    Every rank's numbers are marks: bit r says that rank r's are in it, the bits above count the
    number of the chunk once for each of them. So a sum says itself what it is the sum of.

    Args:
        ranks: How many.
        allreduce: The algorithm; it may cut the array elsewhere.

    Raises:
        CourseError: There are too many ranks, or a sum is wrong.
    """
    if not 1 <= ranks <= MOST_RANKS:
        raise CourseError(f"A picture of 1 to {MOST_RANKS} ranks can be drawn, not of {ranks}.")
    numbers = np.arange(1, ranks + 1) << MOST_RANKS
    recorded: dict[int, Recorded] = {}

    def program(transport: Transport) -> np.ndarray:
        recorded[transport.rank] = Recorded(transport)
        return allreduce(recorded[transport.rank], numbers + (1 << transport.rank))

    done = run(ranks, program)
    complete = ranks * numbers + (1 << ranks) - 1
    if not all(np.array_equal(result, complete) for result in done.results):
        raise CourseError("A rank has another sum; no picture of it can be drawn.")
    steps = done.trace.steps
    sent = np.zeros((steps, ranks, ranks), bool)
    # Whose numbers are in each chunk of each rank, as bits.
    whose = np.zeros((steps + 1, ranks, ranks), int)
    whose[:] = 1 << np.arange(ranks)[:, None]
    waiting = {rank: iter(recorded[rank].arrays) for rank in recorded}
    for message in done.trace.messages:
        for mark in next(waiting[message.source]).reshape(-1).tolist():
            members = mark & ((1 << MOST_RANKS) - 1)
            chunk = (mark >> MOST_RANKS) // members.bit_count() - 1
            sent[message.step - 1, message.source, chunk] = True
            whose[message.step :, message.to, chunk] |= members
    return Journey(np.bitwise_count(whose), sent, done.trace)


def draw_journey(seen: Journey, axes: Sequence[Axes]) -> None:
    """The chunks of every rank before the first step and after each, in axes side by side.

    A chunk is the darker the more ranks' numbers are in it; how many, it says. Framed is what its
    rank sends next.
    """
    ranks = seen.contributions.shape[1]
    for step, (counts, ax) in enumerate(zip(seen.contributions, axes, strict=True)):
        ax.imshow(counts, cmap="Greys", vmin=0, vmax=1.6 * ranks)
        for rank, chunk in np.ndindex(ranks, ranks):
            done = counts[rank, chunk] == ranks
            ax.text(
                chunk, rank, counts[rank, chunk], ha="center", va="center",
                fontsize=8, fontweight="bold" if done else "normal",
            )  # fmt: skip
            if step < len(seen.sent) and seen.sent[step, rank, chunk]:
                ax.add_patch(_frame(chunk, rank))
        ax.grid(visible=False)
        ax.set_xticks(range(ranks))
        ax.set_yticks(range(ranks))
        finish(
            ax,
            title=f"after step {step}" if step else "before",
            x="chunk",
            y="" if step else "rank",
        )
        ax.set_title(ax.get_title("left"), loc="left", fontsize=9)


def arrays_sent(allreduce: AllReduce, ranks: int, n: int) -> tuple[float, int]:
    """What the busiest rank sends, in arrays, and the steps of an all-reduce of n float64."""
    trace = run(ranks, lambda t: allreduce(t, np.ones(n))).trace
    return max(trace.bytes_sent) / (8 * n), trace.steps


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def oversubscribed(ranks: int) -> str:
    """What a plot says where ranks take turns on the cores; `""` where they need not."""
    return f", oversubscribed on {cores()} cores" if ranks > cores() else ""


def seconds_between_processes(
    ranks: int, sizes: Sequence[int], rounds: int = 9
) -> dict[str, list[float]]:
    """The median time of an all-reduce of each size: the ring over two transports, and Gloo's own.

    A round lasts until the last rank is done. In each round all sizes have their turn, and the
    systems of a process do, so that a moment in which the machine is busy spoils one of many.

    Args:
        ranks: How many processes.
        sizes: In bytes, multiples of 4.
        rounds: How often each is timed, after one round that does not count.

    Returns:
        Seconds by system, one for each size.
    """
    seconds: dict[str, list[float]] = {}
    for transport, words in (("tcp", "TCP"), ("shared", "shared memory")):
        given = launch(
            ranks, _timed, list(sizes), rounds, transport == "tcp",
            transport=transport, timeout=60.0,
        )  # fmt: skip
        for name in sorted(given[0], reverse=True):  # plain data come in no order of theirs
            last = np.max([rank[name] for rank in given], axis=0)
            key = f"ring over {words}" if name == "ring" else name
            seconds[key] = [statistics.median(times) for times in last.tolist()]
    return seconds


def timed_rounds(
    transport: Transport, ways: dict[Key, Callable[[], Any]], rounds: int
) -> dict[Key, list[float]]:
    """The seconds of every round of several ways to do the same, which take turns; the first warms.

    Args:
        transport: This rank's; all ranks begin a round together.
        ways: What is timed, by a name or what else tells them apart.
        rounds: How many count.
    """
    seconds: dict[Key, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, way in ways.items():
            transport.barrier()
            begin = perf_counter()
            way()
            if number:
                seconds[name].append(perf_counter() - begin)
    return dict(seconds)


def _timed(
    transport: Transport, sizes: list[int], rounds: int, with_gloo: bool
) -> dict[str, list[list[float]]]:
    """Seconds by system, [sizes, rounds]."""
    gloo = _gloo_allreduce(transport) if with_gloo else None
    ways: dict[tuple[str, int], Callable[[], Any]] = {}
    for nbytes in sizes:
        data = np.full(nbytes // 4, 1, np.float32)
        ways["ring", nbytes] = partial(ring_allreduce, transport, data)
        if gloo is not None:
            ways["Gloo", nbytes] = partial(gloo, data)
    seconds: dict[str, list[list[float]]] = defaultdict(list)
    for (name, _), times in timed_rounds(transport, ways, rounds).items():
        seconds[name].append(times)
    return dict(seconds)


def _gloo_allreduce(transport: Transport) -> Callable[[np.ndarray], None]:
    """Gloo's all-reduce into a copy of an array, by a process group of the transport's ranks."""
    import torch  # takes a second, so only where it is used
    import torch.distributed as dist

    torch.set_num_threads(1)
    limit, port = timedelta(seconds=transport.timeout), np.zeros(1, np.int64)
    if transport.rank == 0:
        store = dist.TCPStore("127.0.0.1", 0, None, True, limit, wait_for_workers=False)
        port[0] = store.port
        for rank in range(1, transport.world_size):
            transport.send(port, rank)
    else:
        transport.recv(port, 0)
        store = dist.TCPStore("127.0.0.1", int(port[0]), None, False, limit)
    group: Any = dist.ProcessGroupGloo(store, transport.rank, transport.world_size, limit)

    def allreduce(array: np.ndarray) -> None:
        group.allreduce(torch.from_numpy(array.copy())).wait()  # the copy that ours makes, too

    return allreduce


def _frame(chunk: int, rank: int) -> Any:
    from matplotlib.patches import Rectangle

    place = (chunk - 0.44, rank - 0.44)
    return Rectangle(place, 0.88, 0.88, fill=False, edgecolor=COLOURS[1], linewidth=2)
