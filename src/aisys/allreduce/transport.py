"""`Transport`: how ranks pass arrays to each other; what every algorithm of this lab is written on.

A subclass moves bytes: it gives `_isend` and `_irecv`, and may give a better `_sendrecv`. What may
be sent, what is refused, and how a fault is said is the same everywhere and stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import numpy as np

from aisys.course.errors import CourseError

MAX_TAG = 32_000
"""The largest tag that a program may use; MPI promises no more than 32,767."""

BARRIER_TAG = 32_001

DTYPES = tuple(np.dtype(code) for code in "?bBhHiIqQefdFD")
"""What travels, in the order of its code on the wire; bfloat16 goes as a view of uint16."""

_CODES = {dtype: code for code, dtype in enumerate(DTYPES)}


class TransportError(CourseError):
    """A message could not be passed.

    Attributes:
        rank: The rank at fault: the one that died, hangs, or sent what was not expected. None where
            no rank is, as in a deadlock.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message, rank)
        self.rank = rank

    def __str__(self) -> str:
        return str(self.args[0])


class Request(ABC):
    """A message that is under way."""

    @abstractmethod
    def wait(self) -> None:
        """Return once it is done: sent data may be reused, received data is there.

        Raises:
            TransportError: It cannot be done, or not within the transport's time-out. A second call
                after a success does nothing.
        """


class Transport(ABC):
    """The place of one rank among all: it sends arrays to the others and receives theirs.

    Messages from one rank to another with the same tag arrive in the order in which they were sent.
    Receives of one tag from one rank are filled in the order in which they were asked for. After an
    error the transport is of no more use: every call raises the same error, and the other ranks
    learn of it and raise one that names the same rank.

    Attributes:
        rank: This rank, from 0.
        world_size: How many ranks there are.
        timeout: How long one wait may last, in seconds.
    """

    def __init__(self, rank: int, world_size: int, timeout: float = 30.0) -> None:
        if world_size < 1 or not 0 <= rank < world_size:
            raise TransportError(f"There is no rank {rank} among {world_size}.")
        self.rank, self.world_size, self.timeout = rank, world_size, timeout

    def send(self, array: np.ndarray, to: int, tag: int = 0) -> None:
        """Send an array of any shape; on return it may be changed. It may wait for the receiver."""
        self.isend(array, to, tag).wait()

    def recv(self, out: np.ndarray, source: int, tag: int = 0) -> None:
        """Wait for the next array from a rank and put it into `out`.

        Args:
            out: C-contiguous; of the dtype and the number of elements of what was sent. Its shape
                may be another.
            source: The rank that sends.
            tag: The tag that it sends with.
        """
        self.irecv(out, source, tag).wait()

    def sendrecv(
        self, array: np.ndarray, to: int, out: np.ndarray, source: int, tag: int = 0
    ) -> None:
        """Send to one rank and receive from another (or the same) at the same time.

        Ranks that all call it in a ring do not wait for each other. `array` and `out` must not
        overlap.
        """
        data = self._outgoing(array, to, tag)
        self._incoming(out, source, tag)
        if np.may_share_memory(data, out):
            raise TransportError("sendrecv cannot send and receive in the same memory: copy first.")
        self._sendrecv(data, to, out, source, tag)

    def isend(self, array: np.ndarray, to: int, tag: int = 0) -> Request:
        """Begin to send; the array must not be changed until the request's `wait` returns."""
        return self._isend(self._outgoing(array, to, tag), to, tag)

    def irecv(self, out: np.ndarray, source: int, tag: int = 0) -> Request:
        """Begin to receive; `out` holds the data once the request's `wait` returns."""
        self._incoming(out, source, tag)
        return self._irecv(out, source, tag)

    def barrier(self) -> None:
        """Return once every rank has called it.

        The dissemination barrier (Hensgen, Finkel and Manber, 1988): ceil(log2 n) empty messages.
        """
        empty, out = np.empty(0, np.uint8), np.empty(0, np.uint8)
        distance = 1
        while distance < self.world_size:
            to, source = (self.rank + distance) % self.world_size, self.rank - distance
            self._sendrecv(empty, to, out, source % self.world_size, BARRIER_TAG)
            distance *= 2

    @abstractmethod
    def close(self) -> None:
        """Leave; a rank that still waits for this one is told. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        """Begin to send a C-contiguous array that was found to be in order."""

    @abstractmethod
    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        """Begin to receive into an array that was found to be in order."""

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        incoming = self._irecv(out, source, tag)
        outgoing = self._isend(data, to, tag)
        incoming.wait()
        outgoing.wait()

    def _outgoing(self, array: np.ndarray, to: int, tag: int) -> np.ndarray:
        self._check_peer("send to", to, tag)
        if not isinstance(array, np.ndarray) or array.dtype not in _CODES:
            raise TransportError(f"Only numeric NumPy arrays can be sent; this is {_kind(array)}.")
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def _incoming(self, out: np.ndarray, source: int, tag: int) -> None:
        self._check_peer("receive from", source, tag)
        if not isinstance(out, np.ndarray) or out.dtype not in _CODES:
            raise TransportError(f"`out` must be a numeric NumPy array; this is {_kind(out)}.")
        if not out.flags.c_contiguous or not out.flags.writeable:
            raise TransportError(
                "`out` must be C-contiguous and writeable: receive into a new array and copy."
            )

    def _check_peer(self, what: str, peer: int, tag: int) -> None:
        if not 0 <= peer < self.world_size:
            raise TransportError(
                f"Rank {self.rank} cannot {what} rank {peer}: the ranks are 0 to "
                f"{self.world_size - 1}."
            )
        if peer == self.rank:
            raise TransportError(f"Rank {self.rank} cannot {what} itself.")
        if not 0 <= tag <= MAX_TAG:
            raise TransportError(f"A tag is a number from 0 to {MAX_TAG:,}; this is {tag}.")


def wait_all(requests: Iterable[Request]) -> None:
    """Wait for several requests; the first that fails raises."""
    for request in requests:
        request.wait()


def dtype_code(dtype: np.dtype) -> int:
    """The number that stands for a dtype on the wire: its place in `DTYPES`."""
    return _CODES[dtype]


def described(dtype: np.dtype, nbytes: int) -> str:
    """A message in words, such as `"3 x float32"`."""
    return f"{nbytes // dtype.itemsize:,} x {dtype}"


def mismatch(me: int, source: int, out: np.ndarray, dtype: np.dtype, nbytes: int) -> TransportError:
    """The error of a receiver whose message has another dtype or size than `out`; names `source`.

    Args:
        me: The receiver.
        source: The sender.
        out: Where the message should have gone.
        dtype: What was sent.
        nbytes: How much was sent, in bytes.
    """
    return TransportError(
        f"Rank {me} expected {described(out.dtype, out.nbytes)} from rank {source}; "
        f"rank {source} sent {described(dtype, nbytes)}.",
        source,
    )


def gone(me: int, rank: int, why: str = "has left") -> TransportError:
    """The error of a rank that waits for one that died or left; names that one."""
    return TransportError(f"Rank {rank} {why} while rank {me} was waiting for it.", rank)


def late(me: int, waiting: Mapping[int, int], timeout: float) -> TransportError:
    """The error of a rank whose wait timed out; names the rank that everybody waits for.

    Args:
        me: The rank that has waited; it must be in `waiting`.
        waiting: For each rank that is waiting now, the one that it waits for. A rank that is not in
            it is busy or hangs. Where only the own wait is known, the peer is named.
        timeout: How long was waited, in seconds.
    """
    chain = chain_of(waiting, me)
    said = ", which waits for ".join(f"rank {rank}" for rank in chain[1:])
    if chain[-1] in chain[:-1]:
        return TransportError(f"Deadlock: rank {me} waits for {said}.")
    return TransportError(
        f"Rank {chain[-1]} did not send or receive within {timeout:g} s: "
        f"rank {me} waits for {said}, which hangs or is busy.",
        chain[-1],
    )


def chain_of(waiting: Mapping[int, int], start: int) -> list[int]:
    """Who waits for whom, from a rank on: to one that does not wait, or to the first seen twice."""
    chain = [start]
    while chain[-1] in waiting:
        following = waiting[chain[-1]]
        chain.append(following)
        if following in chain[:-1]:
            break
    return chain


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"a {type(value).__name__}"
