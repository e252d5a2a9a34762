"""Ranks as threads of this process, one at a time, with a simulated clock: for exploring.

What a program does here is the same every time: ranks take turns in a fixed order (or in one drawn
from a seed), each until it must wait. The clock knows nothing of real time: messages cost what
their links say, in the model of `ports`, and everything else costs nothing unless the program calls
`work`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisys.allreduce.ports import ONE_STEP, Links
from aisys.allreduce.simulation import World
from aisys.allreduce.trace import Message, Trace
from aisys.allreduce.transport import Request, Transport

__all__ = ["InProcessTransport", "Message", "Run", "Trace", "run"]


@dataclass(frozen=True)
class Run:
    """A run's results, one a rank, and its trace."""

    results: list[Any]
    trace: Trace


def run(
    ranks: int,
    function: Callable[..., Any],
    *args: Any,
    links: Links = ONE_STEP,
    seed: int | None = None,
    synchronous: bool = False,
) -> Run:
    """Run a function on every rank, each with a transport of its own.

    Args:
        ranks: How many.
        function: Called as `function(transport, *args)`; what it returns is the rank's result.
        args: The same objects for all ranks.
        links: What messages cost; by default each takes one second, so that time counts steps.
        seed: Let the ranks take turns at random, before every message; the same for the same seed.
            The times and steps of the trace do not depend on it.
        synchronous: A send waits until its receiver asks for the message, as real transports do
            with large ones; a program that only works because small messages are kept for the
            receiver ends in a deadlock, which is said.

    Raises:
        TransportError: Ranks wait for each other, or for one that has returned or failed, or a
            message is not what its receiver expects; as every rank of the run sees it.
        Exception: Whatever else a rank raised first, with a note that says which rank.
    """
    world = World(ranks, links, seed, synchronous)
    results: list[Any] = [None] * ranks

    def be(rank: int) -> None:
        try:
            world.refuse_if_stopped()
            with InProcessTransport(world, rank) as transport:
                results[rank] = function(transport, *args)
        except BaseException as error:
            world.failed(rank, error)
        world.returned(rank)

    world.run(be)
    return Run(results, world.trace())


class InProcessTransport(Transport):
    """The transport of one rank of `run`; without a time-out, since a deadlock is seen at once."""

    def __init__(self, world: "World", rank: int) -> None:
        super().__init__(rank, world.ranks, float("inf"))
        self._world = world

    @property
    def clock(self) -> float:
        """This rank's simulated time, in seconds."""
        return self._world.clocks[self.rank]

    def work(self, seconds: float) -> None:
        """Let simulated time pass, as for a computation."""
        self._world.clocks[self.rank] += seconds

    def close(self) -> None:
        """Leave; what was sent stays for its receivers."""

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        return self._world.send(self.rank, data, to, tag)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        return self._world.receive(self.rank, out, source, tag)
