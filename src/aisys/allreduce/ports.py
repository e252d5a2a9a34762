"""What a message costs: the alpha-beta model of a link, and ports that pass one message at a time.

A message of n bytes takes alpha + n * beta (Hockney, 1994). A rank sends one message at a time and
receives one at a time, both at once (full duplex, single port). With alpha = 1 and beta = 0 the
time of the model is the number of steps on the critical path.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """One direction between two ranks.

    Attributes:
        alpha: What every message costs, in seconds.
        beta: What every byte costs, in seconds; the bandwidth is 1 / beta.
    """

    alpha: float
    beta: float

    def seconds(self, nbytes: int) -> float:
        """How long a message of this size is on its way."""
        return self.alpha + nbytes * self.beta


Links = Link | Sequence[Sequence[Link]] | Callable[[int, int], Link]
"""One link for all, `links[source][to]`, or `links(source, to)`."""

ONE_STEP = Link(1, 0)


def two_levels(ranks_a_node: int, inside: Link, between: Link) -> Callable[[int, int], Link]:
    """Links of nodes with consecutive ranks: one kind inside a node, another between nodes."""

    def links(source: int, to: int) -> Link:
        return inside if source // ranks_a_node == to // ranks_a_node else between

    return links


def link_function(links: Links) -> Callable[[int, int], Link]:
    """Any way to give links as a function of sender and receiver."""
    if isinstance(links, Link):
        return lambda source, to: links
    if callable(links):
        return links
    return lambda source, to: links[source][to]


class SerialPorts:
    """When each message passes through its sender's and its receiver's port.

    It may be told of messages in any order that keeps the order of each rank; the times are the
    same for all of them.
    """

    def __init__(self, ranks: int) -> None:
        self._send_free = [0.0] * ranks
        self._busy = [_Busy() for _ in range(ranks)]

    def send(self, rank: int, ready: float, seconds: float) -> float:
        """Pass a message out of a rank's port once it is free; returns when that begins."""
        start = max(ready, self._send_free[rank])
        self._send_free[rank] = start + seconds
        return start

    def receive(self, rank: int, start: float, seconds: float) -> float:
        """Pass a message that began at `start` into a rank's port; returns when it is there."""
        return self._busy[rank].take(start, seconds)


class _Busy:
    """The times at which a port is busy, as intervals in order that do not touch."""

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []

    def take(self, earliest: float, seconds: float) -> float:
        """Take the first gap that is long enough; returns its end."""
        starts, ends = self._starts, self._ends
        if ends and earliest <= ends[-1]:
            slack = seconds * 1e-9  # sums of the same numbers in another order differ a little
            place = bisect_right(ends, earliest)
            while place < len(starts) and starts[place] < earliest + seconds - slack:
                earliest = max(earliest, ends[place])
                place += 1
        else:
            place = len(ends)
        end = earliest + seconds
        if place and ends[place - 1] == earliest:
            ends[place - 1] = end
        elif seconds > 0:
            starts.insert(place, earliest)
            ends.insert(place, end)
        return end
