"""One run as the broker sees it: whose message goes where, and what it counts as.

Everything here follows from what the ranks do, never from what they say: who sent a message is
known from the connection, and its step is worked out from the messages that its sender had received
before (Lamport, 1978; ports as in `ports`).
"""

import struct
from collections import defaultdict, deque
from typing import Any, NamedTuple

import numpy as np

from aisys.allreduce.frames import NOBODY, Frame, FrameError, Kind
from aisys.allreduce.ports import SerialPorts
from aisys.allreduce.transport import BARRIER_TAG, DTYPES, chain_of, gone, late, mismatch

MOST_BYTES = 32 << 20
"""How much of a run may be under way at once, in bytes."""

OVERHEAD = 256
"""What a message is taken to cost beside its bytes, so that empty ones are bounded too."""

SIZE = struct.Struct("<Q")


class _Queued(NamedTuple):
    frame: Frame
    step: float


class _Wait(NamedTuple):
    source: int
    tag: int
    dtype: int
    nbytes: int
    deadline: float


class CountedRun:
    """The ranks of one run, their messages under way, and the counts.

    Attributes:
        ranks: How many there are.
        timeout: How long a rank may wait for a message, in seconds.
        waiting: What each rank that waits for a message is waiting for.
    """

    def __init__(self, ranks: int, timeout: float) -> None:
        self.ranks, self.timeout = ranks, timeout
        self.waiting: dict[int, _Wait] = {}
        self._here: set[int] = set()
        self._gone: set[int] = set()
        self._fault: tuple[str, int] | None = None
        self._queues: defaultdict[tuple[int, int, int], deque[_Queued]] = defaultdict(deque)
        self._under_way = 0
        self._deliveries: list[tuple[int, Frame]] = []
        self._ports, self._step = SerialPorts(ranks), [0.0] * ranks
        self._pairs: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])

    @property
    def is_over(self) -> bool:
        """Whether every rank has left, or one is at fault."""
        return self._fault is not None or len(self._gone) == self.ranks

    def reserve(self, nbytes: int) -> None:
        """Make room for a message; raises FrameError where the run has too much under way."""
        if nbytes + OVERHEAD > MOST_BYTES:
            raise FrameError(f"sends {nbytes:,} bytes at once; a broker takes {MOST_BYTES:,}")
        if self._under_way + nbytes + OVERHEAD > MOST_BYTES:
            raise FrameError(f"sends more than the {MOST_BYTES:,} bytes that may be under way")
        self._under_way += nbytes + OVERHEAD

    def joined(self, rank: int) -> None:
        """A rank has connected; if the run is over it learns why."""
        self._here.add(rank)
        if self._fault is not None:
            self._tell_fault([rank])

    def sent(self, rank: int, frame: Frame) -> None:
        """A rank sends a message."""
        if not self._is_sound(rank, frame) or len(frame.data) % DTYPES[frame.dtype].itemsize:
            raise FrameError("sent a message that cannot be meant")
        if self._fault is not None:
            return
        step = self._ports.send(rank, self._step[rank], 1)
        counts = self._pairs[rank, frame.peer]
        counts[0] += 1
        counts[1] += len(frame.data)
        self._queues[rank, frame.peer, frame.tag].append(_Queued(frame, step))
        wait = self.waiting.get(frame.peer)
        if wait is not None and (wait.source, wait.tag) == (rank, frame.tag):
            del self.waiting[frame.peer]
            self._take(frame.peer, wait)

    def asked(self, rank: int, frame: Frame, now: float) -> None:
        """A rank waits for a message; it waits for one at a time."""
        if not self._is_sound(rank, frame) or len(frame.data) != SIZE.size or rank in self.waiting:
            raise FrameError("asked for a message that it cannot mean")
        (nbytes,) = SIZE.unpack(frame.data)
        if nbytes > MOST_BYTES or nbytes % DTYPES[frame.dtype].itemsize:
            raise FrameError(f"waits for {nbytes:,} bytes; a broker takes {MOST_BYTES:,} at once")
        self._release(frame)
        if self._fault is not None:
            return
        wait = _Wait(frame.peer, frame.tag, frame.dtype, nbytes, now + self.timeout)
        if self._queues[frame.peer, rank, frame.tag]:
            self._take(rank, wait)
        elif frame.peer in self._gone:
            self._fail_with(gone(rank, frame.peer))
        else:
            self.waiting[rank] = wait
            peers = self._peers()
            if chain_of(peers, rank)[-1] in peers:
                self._fail_with(late(rank, peers, self.timeout))

    def left(self, rank: int) -> None:
        """A rank says that it leaves."""
        self._gone.add(rank)
        for other, wait in self.waiting.items():
            if wait.source == rank and self._fault is None:
                self._fail_with(gone(other, rank))
                return

    def lost(self, rank: int) -> None:
        """A rank's connection has ended; unless it has left, it died."""
        self._here.discard(rank)
        self.waiting.pop(rank, None)
        if rank not in self._gone:
            self._gone.add(rank)
            self.fail(f"Rank {rank} died: its connection ended.", rank)

    def look_at_the_time(self, now: float) -> None:
        """End the run if a rank has waited for too long."""
        for rank, wait in self.waiting.items():
            if now >= wait.deadline and self._fault is None:
                self._fail_with(late(rank, self._peers(), self.timeout))
                return

    def fail(self, text: str, rank: int) -> None:
        """End the run; the first fault is the one that all ranks learn of."""
        if self._fault is not None:
            return
        self._fault = text, rank
        self.waiting.clear()
        self._queues.clear()
        self._deliveries.clear()
        self._tell_fault(sorted(self._here - self._gone))

    def deliveries(self) -> list[tuple[int, Frame]]:
        """What is to be sent to which rank; each once."""
        found, self._deliveries = self._deliveries, []
        return found

    def counts(self) -> dict[str, Any]:
        """What was counted, as data for JSON."""
        return {
            "ranks": self.ranks,
            "pairs": [[*pair, *counts] for pair, counts in sorted(self._pairs.items())],
            "steps": int(max(self._step)),
            "unreceived": sum(len(queue) for queue in self._queues.values()),
            "fault": self._fault and self._fault[0],
            "is_over": self.is_over,
        }

    def _take(self, rank: int, wait: _Wait) -> None:
        queued = self._queues[wait.source, rank, wait.tag].popleft()
        frame, nbytes = queued.frame, len(queued.frame.data)
        self._release(frame)
        if (frame.dtype, nbytes) != (wait.dtype, wait.nbytes):
            expected = np.empty(wait.nbytes // DTYPES[wait.dtype].itemsize, DTYPES[wait.dtype])
            self._fail_with(mismatch(rank, wait.source, expected, DTYPES[frame.dtype], nbytes))
            return
        arrival = self._ports.receive(rank, queued.step, 1)
        self._step[rank] = max(self._step[rank], arrival)
        self._deliveries.append(
            (rank, Frame(Kind.MESSAGE, frame.dtype, frame.tag, wait.source, frame.data))
        )

    def _release(self, frame: Frame) -> None:
        self._under_way -= len(frame.data) + OVERHEAD

    def _is_sound(self, rank: int, frame: Frame) -> bool:
        peer_is_another = 0 <= frame.peer < self.ranks and frame.peer != rank
        return peer_is_another and frame.dtype < len(DTYPES) and frame.tag <= BARRIER_TAG

    def _peers(self) -> dict[int, int]:
        return {rank: wait.source for rank, wait in self.waiting.items()}

    def _fail_with(self, error: Any) -> None:
        self.fail(str(error), NOBODY if error.rank is None else error.rank)

    def _tell_fault(self, ranks: list[int]) -> None:
        assert self._fault is not None
        text, rank = self._fault
        for other in ranks:
            self._deliveries.append((other, Frame(Kind.FAULT, 0, 0, rank, text.encode())))
