"""What the experiments of 4.2 need: rank 0 on its own, a picture of messages, who sends when."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aisys.allreduce.in_process import run
from aisys.allreduce.ports import ONE_STEP, Link
from aisys.allreduce.trace import Trace
from aisys.allreduce.transport import Transport
from aisys.course.plotting import COLOURS, finish

AllReduce = Callable[[Transport, np.ndarray], np.ndarray]


def star_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """The sum of all ranks' arrays: rank 0 receives them all, and sends the sum to everybody."""
    total = np.array(data, order="C", copy=True)
    if transport.rank != 0:
        transport.send(total, 0)
        transport.recv(total, 0)
        return total
    arrived = np.empty_like(total)
    for rank in range(1, transport.world_size):
        transport.recv(arrived, rank)
        total += arrived
    for rank in range(1, transport.world_size):
        transport.send(total, rank)
    return total


def traced(allreduce: AllReduce, ranks: int, nbytes: int = 8, link: Link = ONE_STEP) -> Trace:
    """What happens when ranks sum up arrays of bytes on the simulated clock.

    Args:
        allreduce: The algorithm.
        ranks: How many ranks.
        nbytes: The size of each rank's array, in bytes.
        link: What messages cost; by default each takes one second, so that seconds are steps.

    Raises:
        AssertionError: A rank's sum is wrong.
    """
    data = np.ones(nbytes, np.uint8)
    done = run(ranks, lambda transport: allreduce(transport, data), links=link)
    assert all((result == ranks % 256).all() for result in done.results), "the sum is wrong"
    return done.trace


def draw_messages(trace: Trace, axes: Axes, title: str, x: str = "steps") -> None:
    """Every message of a run as an arrow, from its sender as it leaves to its receiver as it is in.

    The more bytes, the thicker.

    Args:
        trace: What happened.
        axes: Where to draw: time to the right, ranks downwards.
        title: What is seen.
        x: What a second of the trace is.
    """
    most = max((message.nbytes for message in trace.messages), default=0) or 1
    for message in trace.messages:
        axes.annotate(
            "",
            xy=(message.end, message.to),
            xytext=(message.start, message.source),
            arrowprops={
                "arrowstyle": "-|>",
                "color": COLOURS[1 if message.to < message.source else 2],
                "linestyle": "-" if message.to < message.source else "--",
                "linewidth": 0.6 + 1.0 * message.nbytes / most,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    ranks = len(trace.clocks)
    axes.hlines(range(ranks), 0, trace.clocks, color="#bbbbbb", linewidth=1.0, zorder=0)
    axes.set_xlim(0, 1.02 * trace.seconds)
    axes.set_ylim(ranks - 0.5, -0.5)
    axes.set_yticks(range(ranks))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", visible=False)
    finish(axes, title=title, x=x, y="rank")


def senders_by_step(trace: Trace) -> list[int]:
    """How many ranks send in each step of a run whose messages take one second each."""
    senders = [0] * round(trace.seconds)
    for message in trace.messages:
        senders[int(message.start)] += 1
    return senders


def seconds_by_size(
    allreduce: AllReduce, ranks: int, sizes: Sequence[int], link: Link
) -> list[float]:
    """The simulated time of an all-reduce for each size in bytes, in seconds."""
    return [traced(allreduce, ranks, nbytes, link).seconds for nbytes in sizes]


def least_seconds(ranks: int, nbytes: float, link: Link) -> float:
    """What no all-reduce of that many bytes can undercut, in seconds.

    After a step a rank can know of twice as many arrays as before. And each rank has to send
    (n - 1) / n of its array for the sum and as much of the sum to the others, if all do the same
    (Patarasuk and Yuan, 2009, section 3).
    """
    steps = (ranks - 1).bit_length()
    return max(steps * link.alpha, 2 * (ranks - 1) / ranks * nbytes * link.beta)
