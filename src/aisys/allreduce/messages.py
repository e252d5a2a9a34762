"""Messages over byte streams: what the TCP and the shared-memory transport have in common.

A message is a header (tag, dtype, bytes) and its data. Data goes from the sender's array into the
stream and from the stream into the receiver's array, without a copy in between.
"""

import select
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

import numpy as np

from .transport import DTYPES, Request, TransportError, dtype_code, mismatch

_HEADER = struct.Struct("<IIQ")
_STAGE = 4096
MOST_UNEXPECTED = 256 << 20
"""What a peer may send with tags that nobody asked for yet, in bytes."""


class Stream(ABC):
    """Bytes to and from one peer, in order; no call waits.

    Attributes:
        file: The descriptor on which one can wait for a change.
    """

    file: int

    @abstractmethod
    def write(self, parts: list[memoryview]) -> int:
        """Take some of these bytes and say how many; 0 where there is no room.

        Raises:
            OSError: The peer is gone.
        """

    @abstractmethod
    def read_into(self, view: memoryview) -> int:
        """Put some bytes into a view and say how many; 0 where none has come.

        Raises:
            EOFError, OSError: The peer is gone and has left nothing more.
        """

    def events(self, reading: bool, writing: bool) -> int:
        """What of the descriptor to wait for, as `select.poll` takes it."""
        return reading * select.POLLIN | writing * select.POLLOUT

    def before_sleep(self, reading: bool, writing: bool) -> bool:
        """Called before one waits for the descriptor; False if there is no need to wait."""
        return True

    def after_sleep(self) -> None:  # noqa: B027 – most have nothing to do
        """Called after one has waited for the descriptor."""

    @abstractmethod
    def close(self) -> None:
        """Leave; what was written still arrives."""


class Message(Request):
    """A message under way in either direction: what of it is still to be moved."""

    def __init__(
        self,
        finish: Callable[["Message"], None],
        peer: int,
        tag: int,
        array: np.ndarray,
        left: list[memoryview],
    ) -> None:
        self.peer, self.tag, self.array = peer, tag, array
        self.left, self.done = left, False
        self._finish = finish

    def wait(self) -> None:
        """Move messages until this one is done."""
        if not self.done:
            self._finish(self)


class Peer:
    """One peer's stream with the messages that wait to go out and those that are to come in."""

    def __init__(self, me: int, rank: int, stream: Stream) -> None:
        self.me, self.rank, self.stream = me, rank, stream
        self.outgoing: deque[Message] = deque()
        self.posted: dict[int, deque[Message]] = {}
        self.wanted = 0
        self._unexpected: dict[int, deque[tuple[int, bytearray]]] = {}
        self._held = 0
        # Short messages are read with their header; what is long goes straight into its array.
        self._stage, self._start, self._end = memoryview(bytearray(_STAGE)), 0, 0
        self._target: memoryview | None = None
        self._message: Message | None = None

    def push(self) -> bool:
        """Write until there is no room or nothing more to send; whether anything was written."""
        moved = False
        while self.outgoing:
            message = self.outgoing[0]
            count = self.stream.write(message.left)
            if count == 0 and any(map(len, message.left)):
                break
            moved = True
            while message.left and count >= len(message.left[0]):
                count -= len(message.left.pop(0))
            if message.left:
                message.left[0] = message.left[0][count:]
            else:
                message.done = True
                self.outgoing.popleft()
        return moved

    def pull(self) -> bool:
        """Read until nothing more has come or nothing is wanted; whether anything was read."""
        moved = False
        while self.wanted:
            if self._target is None and not self._begin():
                break
            assert self._target is not None
            if len(self._target) and not self._fill():
                break
            moved = True
            if not len(self._target):
                self._complete()
        return moved

    def take_unexpected(self, request: Message) -> bool:
        """Fill a receive with a message that came before it was asked for, if there is one."""
        waiting = self._unexpected.get(request.tag)
        if not waiting:
            return False
        code, data = waiting.popleft()
        self._held -= len(data)
        self._match(request, code, len(data))
        request.left[0][:] = data
        request.done = True
        return True

    def _begin(self) -> bool:
        """Read a header and find where its data goes; False where it has not come yet."""
        while self._end - self._start < _HEADER.size:
            if self._start:
                kept = bytes(self._stage[self._start : self._end])
                self._stage[: len(kept)] = kept
                self._start, self._end = 0, len(kept)
            count = self.stream.read_into(self._stage[self._end :])
            if count == 0:
                return False
            self._end += count
        tag, code, nbytes = _HEADER.unpack_from(self._stage, self._start)
        self._start += _HEADER.size
        posted = self.posted.get(tag)
        if posted:
            self._message = posted[0]
            self._match(self._message, code, nbytes)
            self._target = self._message.left[0]
        else:
            self._held += nbytes
            if code >= len(DTYPES) or self._held > MOST_UNEXPECTED:
                raise TransportError(
                    f"Rank {self.rank} sent {nbytes:,} bytes with tag {tag}, for which rank "
                    f"{self.me} did not ask.",
                    self.rank,
                )
            data = bytearray(nbytes)
            self._unexpected.setdefault(tag, deque()).append((code, data))
            self._target = memoryview(data)
        return True

    def _fill(self) -> bool:
        """Put bytes where they go: first those that came with the header."""
        assert self._target is not None
        count = min(self._end - self._start, len(self._target))
        if count:
            self._target[:count] = self._stage[self._start : self._start + count]
            self._start += count
        else:
            count = self.stream.read_into(self._target)
        self._target = self._target[count:]
        return count > 0

    def _complete(self) -> None:
        self._target = None
        if self._message is not None:
            self._message.done = True
            self.posted[self._message.tag].popleft()
            self.wanted -= 1
            self._message = None

    def _match(self, message: Message, code: int, nbytes: int) -> None:
        dtype = DTYPES[code] if code < len(DTYPES) else np.dtype(np.void)
        if dtype != message.array.dtype or nbytes != message.array.nbytes:
            raise mismatch(self.me, self.rank, message.array, dtype, nbytes)


def header(tag: int, array: np.ndarray) -> memoryview:
    """What goes before an array's data."""
    return memoryview(_HEADER.pack(tag, dtype_code(array.dtype), array.nbytes))


def bytes_of(array: np.ndarray) -> memoryview:
    """The memory of a C-contiguous array as bytes; an empty one has none."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
