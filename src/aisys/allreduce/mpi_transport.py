"""The transport over MPI, by mpi4py: for programs under `mpirun`.

A small message is one of MPI's: a head of 16 bytes that says dtype and size, and the data behind
it; of a large one the data follows by itself, so that it need not be copied. MPI knows no time-outs
and waits in a loop; here the loop also hears what the other ranks tell about faults. When a rank's
process dies, `mpirun` ends them all.
"""

import importlib.util
import json
import os
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from aisys.allreduce.transport import (
    DTYPES,
    Request,
    Transport,
    TransportError,
    dtype_code,
    gone,
    late,
    mismatch,
)

HEAD = struct.Struct("<QQ")
SMALL = 16_384
"""Up to so many bytes the data travels with its head; about where copying costs a message."""

WORD_TAG = 32_002
"""Of words between transports: a fault, a departure, whom one waits for, or the question for it."""

EAGER_SECONDS = 0.001
"""How long a wait looks again at once, before it lets other processes run in between."""


def why_no_mpi() -> str | None:
    """What is missing to use MPI here, in a sentence; None where nothing is.

    It does not import MPI: a process that has done so cannot start `mpirun` any more.
    """
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed: `make systems` adds it."
    if shutil.which("mpirun") is None:
        return "There is no mpirun: install an MPI, such as Debian's openmpi-bin."
    return None


class MPITransport(Transport):
    """The transport of one rank of an MPI communicator; to be used by one thread at a time.

    All ranks make theirs together, because the messages travel on a communicator of their own.

    Args:
        communicator: Which ranks take part; by default all.
        timeout: How long one wait may last, in seconds.

    Raises:
        TransportError: mpi4py or MPI is missing.
    """

    def __init__(self, communicator: Any = None, timeout: float = 30.0) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise TransportError(why_no_mpi() or f"MPI cannot be used: {error}.") from None
        self._mpi = MPI
        self._comm = (MPI.COMM_WORLD if communicator is None else communicator).Dup()
        super().__init__(self._comm.Get_rank(), self._comm.Get_size(), timeout)
        self._asked: dict[tuple[int, int], deque[_Receive]] = {}
        self._words: list[Any] = []
        self._gone: set[int] = set()
        self._waiting: dict[int, int] = {}
        self._error: TransportError | None = None
        self._is_open = True

    def close(self) -> None:
        """Leave; a rank that still waits for this one is told. A second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._tell({"gone": self.rank})
            self._finish_words()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        self._refuse_after_a_fault()
        head = HEAD.pack(dtype_code(data.dtype), data.nbytes)
        flat = data.reshape(-1).view(np.uint8)
        small = data.nbytes <= SMALL
        parts: list[bytes | memoryview] = [head + flat.tobytes()] if small else [head, flat.data]
        begun = [self._comm.Isend([part, self._mpi.BYTE], to, tag) for part in parts]
        return _Send(self, to, parts, begun)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        self._refuse_after_a_fault()
        receive = _Receive(self, out, source)
        self._asked.setdefault((source, tag), deque()).append(receive)
        return receive

    def wait_until(self, done: Callable[[], bool], peer: int) -> None:
        """Go on with everything that is under way until something is done, or fail."""
        begun = time.monotonic()
        self._waiting = {self.rank: peer}
        while not done():
            self._refuse_after_a_fault()
            self._hear()
            self._progress()
            if done():
                break
            waited = time.monotonic() - begun
            if peer in self._gone and not self._is_coming(peer):
                self._fail(gone(self.rank, peer))
            if waited > self.timeout:
                self._fail_late(peer)
            if waited > EAGER_SECONDS:
                os.sched_yield() if waited < 10 * EAGER_SECONDS else time.sleep(EAGER_SECONDS / 10)
        self._waiting = {}

    def _progress(self) -> None:
        """Take what has come for those that asked for it."""
        for (source, tag), asked in list(self._asked.items()):
            while asked and (asked[0].head is not None or self._take_head(asked[0], source, tag)):
                if not self._take_data(asked[0], source, tag):
                    break
                asked.popleft().done = True
            if not asked:
                del self._asked[source, tag]

    def _take_head(self, receive: "_Receive", source: int, tag: int) -> bool:
        status = self._mpi.Status()
        message = self._comm.Improbe(source, tag, status)
        if message is None:
            return False
        came = bytearray(status.Get_count(self._mpi.BYTE))
        message.Recv([came, self._mpi.BYTE])
        code, nbytes = HEAD.unpack_from(came)
        if DTYPES[code] != receive.out.dtype or nbytes != receive.out.nbytes:
            self._fail(mismatch(self.rank, source, receive.out, DTYPES[code], nbytes))
        receive.head = came
        if nbytes > SMALL:
            receive.data = self._comm.Irecv([receive.flat.data, self._mpi.BYTE], source, tag)
        return True

    def _take_data(self, receive: "_Receive", source: int, tag: int) -> bool:
        if receive.data is not None:
            return receive.data.Test()
        assert receive.head is not None
        receive.flat[:] = np.frombuffer(receive.head, np.uint8, offset=HEAD.size)
        return True

    def _is_coming(self, peer: int) -> bool:
        """Whether something of a rank that has left is still to be received."""
        return any(
            asked[0].data is not None or self._comm.Iprobe(source, tag)
            for (source, tag), asked in self._asked.items()
            if source == peer
        )

    def _hear(self) -> None:
        """Hear the words of the other ranks, and answer who asks whom this one waits for."""
        while self._comm.Iprobe(self._mpi.ANY_SOURCE, WORD_TAG):
            status = self._mpi.Status()
            self._comm.Probe(self._mpi.ANY_SOURCE, WORD_TAG, status)
            came = bytearray(status.Get_count(self._mpi.BYTE))
            self._comm.Recv([came, self._mpi.BYTE], status.Get_source(), WORD_TAG)
            word = json.loads(came)
            if "gone" in word:
                self._gone.add(word["gone"])
            elif "fault" in word and self._error is None:
                self._error = TransportError(*word["fault"])
            elif "waits" in word:
                self._waiting[status.Get_source()] = word["waits"]
                if word["asks"] and self.rank in self._waiting:
                    answer = {"waits": self._waiting[self.rank], "asks": False}
                    self._tell(answer, [status.Get_source()])

    def _tell(self, word: dict[str, Any], ranks: list[int] | None = None) -> None:
        """Say something to ranks, by default to all others that are still there."""
        data = json.dumps(word).encode()
        others = [r for r in range(self.world_size) if r != self.rank and r not in self._gone]
        for rank in others if ranks is None else ranks:
            begun = self._comm.Isend([data, self._mpi.BYTE], rank, WORD_TAG)
            self._words.append((begun, data))

    def _finish_words(self) -> None:
        """Let the words leave before this process may end."""
        end = time.monotonic() + 1.0
        while time.monotonic() < end and not all(begun.Test() for begun, _ in self._words):
            time.sleep(EAGER_SECONDS)

    def _fail_late(self, peer: int) -> NoReturn:
        """Ask everybody whom they wait for; who does not answer is at fault."""
        self._tell({"waits": peer, "asks": True})
        end = time.monotonic() + min(5.0, max(0.5, self.timeout / 4))
        while time.monotonic() < end:
            self._hear()
            self._refuse_after_a_fault()
            time.sleep(EAGER_SECONDS)
        self._fail(late(self.rank, self._waiting, self.timeout))

    def _fail(self, error: TransportError) -> NoReturn:
        self._hear()
        if self._error is None:
            self._error = error
            self._tell({"fault": [str(error), error.rank]})
        raise self._error

    def _refuse_after_a_fault(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._is_open:
            raise TransportError(f"Rank {self.rank} has left.", self.rank)


class _Send(Request):
    """A message that is being sent; it keeps the memory that it is sent from."""

    def __init__(
        self, transport: MPITransport, to: int, parts: list[Any], begun: list[Any]
    ) -> None:
        self._transport, self._to, self._parts, self._begun = transport, to, parts, begun

    def wait(self) -> None:
        self._transport.wait_until(self._is_done, self._to)

    def _is_done(self) -> bool:
        self._begun = [begun for begun in self._begun if not begun.Test()]
        return not self._begun


class _Receive(Request):
    """A message that was asked for; `head` is what has come of it, `data` what is under way."""

    def __init__(self, transport: MPITransport, out: np.ndarray, source: int) -> None:
        self._transport, self.out, self._source = transport, out, source
        self.flat = out.reshape(-1).view(np.uint8)
        self.head: bytearray | None = None
        self.data: Any = None
        self.done = False

    def wait(self) -> None:
        self._transport.wait_until(lambda: self.done, self._source)
