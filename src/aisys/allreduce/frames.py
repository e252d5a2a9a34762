"""What goes over a connection to the broker: frames, and how they are read from a stream."""

import socket
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<BBHiQ")
"""Kind, dtype, tag, peer, and the number of bytes that follow."""

NOBODY = -1
TOKEN_BYTES = 16
READ_BYTES = 1 << 16


class Kind(IntEnum):
    """What a frame is. Ranks send the first group, whoever opens runs OPEN, the broker the rest."""

    HELLO = 1
    SEND = 2
    RECV = 3
    BYE = 4
    OPEN = 5
    WELCOME = 6
    MESSAGE = 7
    FAULT = 8
    OPENED = 9


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: A `Kind`.
        dtype: The code of the message's dtype.
        tag: The message's tag.
        peer: Of SEND the receiver, of RECV and MESSAGE the sender, of FAULT the rank at fault.
        data: The message. Of RECV it is 8 bytes: how many bytes are expected.
    """

    kind: int
    dtype: int
    tag: int
    peer: int
    data: bytes | bytearray


class FrameError(Exception):
    """What came is no frame, or is larger than it may be; reads on after "Rank 3"."""


class Frames:
    """Takes frames out of what is read from a socket; it holds at most one that is not complete.

    Args:
        reserve: Called with the number of bytes of each frame before there is room made for it;
            raises FrameError where there is none.
    """

    def __init__(self, reserve: Callable[[int], None]) -> None:
        self.reserve = reserve
        self._buffer = bytearray()
        self._head: tuple[int, int, int, int] | None = None
        self._data = bytearray()
        self._filled = 0

    def read(self, sock: socket.socket) -> int:
        """Read once; returns how many bytes came, 0 at the end of the stream."""
        if self._head is not None and not self._buffer:
            got = sock.recv_into(memoryview(self._data)[self._filled :])
            self._filled += got
            return got
        new = sock.recv(READ_BYTES)
        self._buffer += new
        return len(new)

    def complete(self) -> Iterator[Frame]:
        """The frames that are complete."""
        while True:
            if self._head is None:
                if len(self._buffer) < HEADER.size:
                    return
                kind, dtype, tag, peer, nbytes = HEADER.unpack_from(self._buffer)
                del self._buffer[: HEADER.size]
                self.reserve(nbytes)
                self._head = kind, dtype, tag, peer
                self._data, self._filled = bytearray(nbytes), 0
            part = self._buffer[: len(self._data) - self._filled]
            self._data[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            del self._buffer[: len(part)]
            if self._filled < len(self._data):
                return
            frame = Frame(*self._head, self._data)
            self._head = None
            yield frame
