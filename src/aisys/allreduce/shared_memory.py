"""Shared memory between the ranks of one machine: for each pair two rings of bytes that both map.

The sender copies a piece of its array into the ring and moves the ring's head; the receiver copies
it out and moves the tail. A ring is small enough to stay in the processor's cache. Who finds
nothing to do looks again for some microseconds, then sleeps on a socket until the other one rings.
"""

import contextlib
import mmap
import os
import select
import socket
import struct
import tempfile
import threading
from collections.abc import Callable

import numpy as np

from .mesh import Rendezvous, connect_all
from .messages import Stream
from .streams import StreamTransport
from .tcp import alone
from .transport import TransportError
from .watch import Watch

RING_BYTES = 1 << 21
"""The bytes that are under way from one rank to another; a power of two."""

PIECE_BYTES = 1 << 18
"""What is copied before the other side is told of it: each piece costs some microseconds of Python.

With half of both, 64 MB both ways cost the processor 18 ms and not 13.
"""

SPINS = 40
_CONTROL = 4096
_HEAD, _TAIL, _READER_SLEEPS, _WRITER_SLEEPS = 0, 8, 16, 24  # cache lines, in words


class SharedMemoryTransport(StreamTransport):
    """A rank that shares memory with every other one.

    The memory has no name and is gone with the last process that maps it, however that ends.

    Args:
        rank: This rank.
        world_size: How many ranks there are.
        rendezvous: Tells this rank's address to all and returns everybody's.
        timeout: How long a wait may last in which nothing moves, in seconds.
        watch: As for `TcpTransport`.

    Raises:
        TransportError: A rank did not come in time.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        rendezvous: Rendezvous,
        timeout: float = 30.0,
        watch: Watch | None = None,
    ) -> None:
        watch = watch or alone(rank, world_size)
        bells = connect_all(rank, world_size, rendezvous, watch, timeout)
        files = {other: _memory_with(bell) for other, bell in bells.items() if other < rank}
        for other, bell in bells.items():
            if other > rank:
                files[other] = _memory_from(bell, other, timeout)
        streams = {
            other: RingStream(file, bells[other], first=other > rank)
            for other, file in files.items()
        }
        for file in files.values():
            os.close(file)
        # More ranks than cores: looking again would only keep the other one from running.
        spins = SPINS if world_size <= _cores() else 0
        super().__init__(rank, streams, watch, timeout, spins)


class RingStream(Stream):
    """The bytes of two rings.

    Args:
        file: The memory of both; not kept.
        bell: The socket on which the other side rings; its end tells that it has left.
        first: Whether this side writes to the first ring.
    """

    def __init__(self, file: int, bell: socket.socket, first: bool) -> None:
        size = _CONTROL + RING_BYTES
        self._memory = mmap.mmap(file, 2 * size)
        words = memoryview(self._memory).cast("Q")
        data = np.frombuffer(self._memory, np.uint8)
        out, into = (0, size) if first else (size, 0)
        self._out, self._in = words[out // 8 :][:512], words[into // 8 :][:512]
        self._out_data = data[out + _CONTROL :][:RING_BYTES]
        self._in_data = data[into + _CONTROL :][:RING_BYTES]
        self._written = self._read = 0
        self._bell, self.file = bell, bell.fileno()
        self._left = False

    def write(self, parts: list[memoryview]) -> int:
        """See `Stream`."""
        room = RING_BYTES - (self._written - self._out[_TAIL])
        if room == 0 and self._left:
            raise BrokenPipeError
        before, room = self._written, min(room, PIECE_BYTES)
        for part in parts:
            count = min(room, len(part))
            _around(self._written, count, part, self._into_ring)
            self._written += count
            room -= count
        if self._written > before:
            _fence()
            self._out[_HEAD] = self._written
            self._wake(self._out, _READER_SLEEPS)
        return self._written - before

    def read_into(self, view: memoryview) -> int:
        """See `Stream`."""
        count = min(self._in[_HEAD] - self._read, PIECE_BYTES, len(view))
        if count == 0:
            if self._left and self._in[_HEAD] == self._read:
                raise EOFError
            return 0
        _fence()
        _around(self._read, count, view, self._from_ring)
        self._read += count
        _fence()
        self._in[_TAIL] = self._read
        self._wake(self._in, _WRITER_SLEEPS)
        return count

    def events(self, reading: bool, writing: bool) -> int:
        """See `Stream`."""
        return select.POLLIN

    def before_sleep(self, reading: bool, writing: bool) -> bool:
        """Ask to be woken, then look once more: what changed before was not told."""
        self._in[_READER_SLEEPS], self._out[_WRITER_SLEEPS] = reading, writing
        _fence()
        if self._left:
            return False
        has_come = reading and self._in[_HEAD] != self._read
        has_room = writing and self._written - self._out[_TAIL] < RING_BYTES
        return not (has_come or has_room)

    def after_sleep(self) -> None:
        """Stop the bell."""
        self._in[_READER_SLEEPS] = self._out[_WRITER_SLEEPS] = 0
        try:
            self._left = self._left or not self._bell.recv(4096)
        except BlockingIOError:
            pass
        except OSError:
            self._left = True

    def close(self) -> None:
        """See `Stream`."""
        self._bell.close()

    def _wake(self, words: memoryview, sleeper: int) -> None:
        _fence()
        if words[sleeper]:
            words[sleeper] = 0
            with contextlib.suppress(OSError):
                self._bell.send(b"!")

    def _into_ring(self, start: int, stop: int, part: memoryview) -> None:
        self._out_data[start:stop] = np.frombuffer(part, np.uint8)

    def _from_ring(self, start: int, stop: int, view: memoryview) -> None:
        np.frombuffer(view, np.uint8)[:] = self._in_data[start:stop]


def _around(
    position: int, count: int, view: memoryview, copy: Callable[[int, int, memoryview], None]
) -> None:
    """Copy between a view and a ring, in two steps where the ring's end is passed."""
    start = position % RING_BYTES
    first = min(count, RING_BYTES - start)
    if first:
        copy(start, start + first, view[:first])
    if count > first:
        copy(0, count - first, view[first:count])


_lock = threading.Lock()
_lock.acquire()


def _fence() -> None:
    """Keep the processor from moving memory accesses across this point.

    Python has no name for it; letting go of a lock and taking it again is one.
    """
    _lock.release()
    _lock.acquire()


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_with(bell: socket.socket) -> int:
    """New memory of a pair; the other side gets its descriptor."""
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryFile(prefix="aisys-", dir=folder) as file:
        os.ftruncate(file.fileno(), 2 * (_CONTROL + RING_BYTES))
        socket.send_fds(bell, [struct.pack("Q", RING_BYTES)], [file.fileno()])
        return os.dup(file.fileno())


def _memory_from(bell: socket.socket, other: int, timeout: float) -> int:
    """The descriptor of the memory that the other side made."""
    if not select.select([bell], [], [], timeout)[0]:
        raise TransportError(f"Rank {other} gave no memory within {timeout:g} s.", other)
    try:
        data, files, _, _ = socket.recv_fds(bell, 8, 1)
    except OSError:
        data, files = b"", []
    if not files or data != struct.pack("Q", RING_BYTES):
        raise TransportError(f"Rank {other} gave no memory of {RING_BYTES:,} bytes.", other)
    return files[0]
