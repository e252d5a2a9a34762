"""The world of the in-process transport: whose turn it is, what is under way, what time it is."""

import ctypes
import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aisys.allreduce.ports import Link, Links, SerialPorts, link_function
from aisys.allreduce.trace import Message, Trace
from aisys.allreduce.transport import Request, TransportError, gone, late, mismatch
from aisys.course.limits import ending_with

FEW_RANKS, STACK_BYTES = 64, 1 << 20
"""Of more ranks than this each has a small stack; thousands of the usual 8 MiB are too much."""

PATIENCE, ATTEMPTS = 0.1, 20
"""How long an interrupted run waits for a rank to end, in seconds, and how often."""


@dataclass(eq=False, slots=True)
class Sent(Request):
    """A message from its sender's side; `data` is here only until it is received."""

    world: "World"
    source: int
    to: int
    tag: int
    dtype: np.dtype
    nbytes: int
    seconds: float
    start: float
    step: float
    end: float
    taken: float | None = None
    data: np.ndarray | None = None

    def wait(self) -> None:
        """Let the time pass until the message has left, or has been asked for."""
        if self.world.synchronous:
            while self.taken is None:
                self.world.block(self.source, self.to)
            self.world.advance(self.source, self.taken)
        self.world.advance(self.source, self.start + self.seconds)


@dataclass(eq=False, slots=True)
class Receive(Request):
    """A message that was asked for."""

    world: "World"
    rank: int
    source: int
    out: np.ndarray
    posted: float
    message: Sent | None = None
    done: bool = False

    def wait(self) -> None:
        """Wait for the message, and let it through the receiver's port."""
        if self.done:
            return
        while self.message is None:
            self.world.block(self.rank, self.source)
        self.world.arrive(self.rank, self.message)
        self.done = True


class Stopped(BaseException):
    """Ends the ranks of an interrupted run; no `Exception`, so that they do not swallow it."""


class World:
    """All ranks of a run: whose turn it is, what is under way, and what time each rank has."""

    def __init__(self, ranks: int, links: Links, seed: int | None, synchronous: bool) -> None:
        if ranks < 1:
            raise TransportError(f"A run has at least one rank, not {ranks}.")
        self.ranks, self.synchronous = ranks, synchronous
        self.clocks = [0.0] * ranks
        self._link: Callable[[int, int], Link] = link_function(links)
        self._random = None if seed is None else random.Random(seed)
        self._times, self._steps = SerialPorts(ranks), SerialPorts(ranks)
        self._step = [0.0] * ranks
        self._sent: list[Sent] = []
        self._messages: defaultdict[tuple[int, int, int], deque[Sent]] = defaultdict(deque)
        self._receives: defaultdict[tuple[int, int, int], deque[Receive]] = defaultdict(deque)
        self._runnable = deque(range(ranks))
        self._waiting: dict[int, int] = {}
        self._over: set[int] = set()
        self._fault: TransportError | None = None
        self._stopped, self._running = False, 0
        self._cause: BaseException | None = None
        self._turns = [threading.Lock() for _ in range(ranks)]
        self._threads: list[threading.Thread] = []
        self._all_over = threading.Lock()

    def run(self, be: Callable[[int], None]) -> None:
        """Let every rank run to its end; raises what was raised first in one of them."""
        self._threads = [
            threading.Thread(target=be, args=(rank,), name=f"rank {rank}", daemon=True)
            for rank in range(self.ranks)
        ]
        for lock in (*self._turns, self._all_over):
            lock.acquire()
        usual = threading.stack_size(STACK_BYTES if self.ranks > FEW_RANKS else 0)
        try:
            with ending_with(self._stop):
                self._next(None)
                while not self._all_over.acquire(timeout=PATIENCE):
                    pass  # a time limit reaches this thread only between two turns
        finally:
            threading.stack_size(usual)
        for thread in self._threads:
            thread.join()
        if self._cause is not None:
            raise self._cause

    def trace(self) -> Trace:
        """What happened."""
        messages = (
            Message(m.source, m.to, m.tag, m.nbytes, m.start, m.end, int(m.step) + 1)
            for m in self._sent
        )
        return Trace(tuple(self.clocks), tuple(messages), int(max(self._step)))

    def send(self, rank: int, data: np.ndarray, to: int, tag: int) -> Sent:
        """Begin a message, and end the receiver's wait for it if there is one."""
        self._turn(rank)
        seconds = self._link(rank, to).seconds(data.nbytes)
        start = self._times.send(rank, self.clocks[rank], seconds)
        step = self._steps.send(rank, self._step[rank], 1)
        message = Sent(
            self, rank, to, tag, data.dtype, data.nbytes, seconds, start, step, start + seconds
        )
        self._sent.append(message)
        receives = self._receives[rank, to, tag]
        if receives:
            self._match(message, data, receives.popleft())
        else:
            message.data = data.copy()
            self._messages[rank, to, tag].append(message)
        return message

    def receive(self, rank: int, out: np.ndarray, source: int, tag: int) -> Receive:
        """Ask for a message, and take it if it has been sent."""
        self._turn(rank)
        receive = Receive(self, rank, source, out, self.clocks[rank])
        messages = self._messages[source, rank, tag]
        if messages:
            message = messages.popleft()
            data, message.data = message.data, None
            assert data is not None
            self._match(message, data, receive)
        else:
            self._receives[source, rank, tag].append(receive)
        return receive

    def arrive(self, rank: int, message: Sent) -> None:
        """Let a message pass through its receiver's port, who now has it."""
        message.end = self._times.receive(rank, message.start, message.seconds)
        self.advance(rank, message.end)
        self._step[rank] = max(self._step[rank], self._steps.receive(rank, message.step, 1))

    def advance(self, rank: int, clock: float) -> None:
        """Set a rank's clock forward."""
        if clock > self.clocks[rank]:
            self.clocks[rank] = clock

    def block(self, rank: int, peer: int) -> None:
        """Let others have their turn until something that this rank waits for may be there."""
        if self._fault is None and peer in self._over:
            self._fail(gone(rank, peer))
        self._refuse_after_a_fault()
        self._waiting[rank] = peer
        self._next(rank)
        self._refuse_after_a_fault()

    def failed(self, rank: int, error: BaseException) -> None:
        """A rank ends with an error; the others learn of it."""
        if isinstance(error, Stopped):
            return
        if self._cause is None:
            self._cause = error
            if not isinstance(error, TransportError):
                error.add_note(f"(raised by rank {rank} of {self.ranks})")
        if self._fault is None:
            what = f"failed ({type(error).__name__}: {error})"
            self._fault = TransportError(f"Rank {rank} {what}.", rank)

    def returned(self, rank: int) -> None:
        """A rank is over; whoever waits for it waits in vain."""
        self._over.add(rank)
        for other, peer in self._waiting.items():
            if peer == rank and self._fault is None:
                self._fault = gone(other, rank)
        self._next(rank)

    def _match(self, message: Sent, data: np.ndarray, receive: Receive) -> None:
        out = receive.out
        if out.dtype != message.dtype or out.nbytes != message.nbytes:
            error = mismatch(message.to, message.source, out, message.dtype, message.nbytes)
            self._fail(error)
        out.reshape(-1)[...] = data.reshape(-1)
        receive.message, message.taken = message, receive.posted
        self._wake(message.to, message.source)
        if self.synchronous:
            self._wake(message.source, message.to)

    def _wake(self, rank: int, peer: int) -> None:
        if self._waiting.get(rank) == peer:
            del self._waiting[rank]
            self._runnable.append(rank)

    def _turn(self, rank: int) -> None:
        """Before every message: another rank's turn may come first."""
        if self._random is not None:
            self._runnable.append(rank)
            self._next(rank)
        self._refuse_after_a_fault()

    def _next(self, me: int | None) -> None:
        """Give the turn to a rank that can run, and wait for the own one unless this rank is over.

        Where none can run, those that wait do so for each other.
        """
        if not self._runnable and self._waiting:
            if self._fault is None and not self._stopped:
                self._fault = late(min(self._waiting), self._waiting, float("inf"))
            self._runnable.extend(self._waiting)
            self._waiting.clear()
        if not self._runnable:
            self._all_over.release()
            return
        if self._random is not None:
            self._runnable.rotate(self._random.randrange(len(self._runnable)))
        following = self._running = self._runnable.popleft()
        if following == me:
            return
        thread = self._threads[following]
        if thread.ident is None:
            thread.start()
        else:
            self._turns[following].release()
        if me is not None and me not in self._over:
            self._turns[me].acquire()

    def _fail(self, error: TransportError) -> None:
        self._fault = error
        self._refuse_after_a_fault()

    def refuse_if_stopped(self) -> None:
        """End a rank that has its first turn after the run was interrupted."""
        if self._stopped:
            raise Stopped

    def _refuse_after_a_fault(self) -> None:
        self.refuse_if_stopped()
        if self._fault is not None:
            raise TransportError(str(self._fault), self._fault.rank)

    def _stop(self) -> None:
        """End all ranks, one after another, also one that is in a loop of its own."""
        self._stopped = True
        for _ in range(ATTEMPTS):
            if self._all_over.acquire(timeout=PATIENCE):
                break
            thread = self._threads[self._running]
            ident = thread.ident
            # The number of a thread that has ended may be another one's by now.
            if ident is not None and thread.is_alive() and self._running not in self._over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(ident), ctypes.py_object(Stopped)
                )
