"""A rank's end of the broker: a transport whose messages are counted where it cannot reach."""

import contextlib
import json
import socket

import numpy as np

from aisys.allreduce.broker import BrokerRun, opened_run
from aisys.allreduce.broker_server import OPENING
from aisys.allreduce.counting import SIZE
from aisys.allreduce.frames import HEADER, NOBODY, Kind
from aisys.allreduce.transport import DTYPES, Request, Transport, TransportError, dtype_code

MARGIN = 10.0
"""How much longer than the run's time-out a rank waits for the broker's word on it, in seconds."""

PLACE_SECONDS = 30.0


class BrokerTransport(Transport):
    """The transport of one rank of a broker's run.

    A receive is asked for when it is waited for, so that what counts as received before a send is
    what the program had in its hands. To be used by one thread at a time.

    Args:
        address: One of `BrokerRun.addresses`; it is good for one connection.

    Raises:
        TransportError: There is no broker, or the address was used before.
    """

    def __init__(self, address: str) -> None:
        self._socket = _connected(address)
        self._socket.settimeout(PLACE_SECONDS)
        kind, _, _, rank, nbytes = self._head()
        if kind != Kind.WELCOME:
            raise self._told(kind, rank, nbytes)
        ranks, timeout = OPENING.unpack(self._read(bytearray(nbytes)))
        super().__init__(rank, ranks, timeout)
        self._socket.settimeout(timeout + MARGIN)
        self._asked: dict[tuple[int, int], list[_Receive]] = {}
        self._error: TransportError | None = None

    def close(self) -> None:
        """Leave; a rank that still waits for this one is told. A second call does nothing."""
        with contextlib.suppress(OSError):
            self._socket.sendall(HEADER.pack(Kind.BYE, 0, 0, NOBODY, 0))
        self._socket.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        self._refuse_after_a_fault()
        head = HEADER.pack(Kind.SEND, dtype_code(data.dtype), tag, to, data.nbytes)
        self._write(head, data.reshape(-1).view(np.uint8).data)
        return _DONE

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        self._refuse_after_a_fault()
        receive = _Receive(self, out, source, tag)
        self._asked.setdefault((source, tag), []).append(receive)
        return receive

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        incoming = self._irecv(out, source, tag)
        self._isend(data, to, tag)
        incoming.wait()

    def fill(self, receive: "_Receive") -> None:
        """Receive until this receive is filled; those asked for earlier are filled first."""
        asked = self._asked[receive.source, receive.tag]
        while not receive.done:
            self._refuse_after_a_fault()
            self._fill_one(asked[0])
            asked.pop(0).done = True

    def _fill_one(self, receive: "_Receive") -> None:
        out = receive.out
        head = (dtype_code(out.dtype), receive.tag, receive.source)
        self._write(HEADER.pack(Kind.RECV, *head, SIZE.size), SIZE.pack(out.nbytes))
        kind, dtype, _, peer, nbytes = self._head()
        if kind != Kind.MESSAGE or DTYPES[dtype] != out.dtype or nbytes != out.nbytes:
            self._error = self._told(kind, peer, nbytes)
            raise self._error
        self._read(out.reshape(-1).view(np.uint8).data)

    def _write(self, head: bytes, data: bytes | memoryview) -> None:
        try:
            sent = self._socket.sendmsg([head, data])
            if sent < len(head):
                self._socket.sendall(head[sent:])
            if sent < len(head) + len(data):
                self._socket.sendall(memoryview(data)[max(0, sent - len(head)) :])
        except OSError:
            # The broker has closed the connection; what it had to say is still to be read.
            kind, _, _, peer, nbytes = self._head()
            while kind == Kind.MESSAGE:
                self._read(bytearray(nbytes))
                kind, _, _, peer, nbytes = self._head()
            self._error = self._told(kind, peer, nbytes)
            raise self._error from None

    def _head(self) -> tuple[int, int, int, int, int]:
        return HEADER.unpack(self._read(bytearray(HEADER.size)))

    def _read(self, into: bytearray | memoryview) -> bytes:
        """Fill a buffer; returns what a bytearray then holds."""
        view = memoryview(into)
        while view:
            try:
                got = self._socket.recv_into(view)
            except OSError:
                got = 0
            if not got:
                self._error = TransportError("The broker has ended, or does not answer.")
                raise self._error
            view = view[got:]
        return bytes(into) if isinstance(into, bytearray) else b""

    def _told(self, kind: int, rank: int, nbytes: int) -> TransportError:
        """The fault that the broker tells of."""
        if kind != Kind.FAULT:
            return TransportError("The broker sent what was not asked for.")
        text = self._read(bytearray(nbytes)).decode()
        return TransportError(text, None if rank == NOBODY else rank)

    def _refuse_after_a_fault(self) -> None:
        if self._error is not None:
            raise self._error


class _Receive(Request):
    def __init__(self, transport: BrokerTransport, out: np.ndarray, source: int, tag: int) -> None:
        self._transport = transport
        self.out, self.source, self.tag, self.done = out, source, tag, False

    def wait(self) -> None:
        if not self.done:
            self._transport.fill(self)


class _Done(Request):
    def wait(self) -> None:
        """The data has been copied."""


_DONE = _Done()


def open_run(door: str, ranks: int, timeout: float = 30.0) -> BrokerRun:
    """Open a run at a broker's door; its counts are for the broker's owner.

    Raises:
        TransportError: There is no broker, or it refuses.
    """
    with _connected(door) as connection:
        connection.settimeout(PLACE_SECONDS)
        asked = OPENING.pack(ranks, timeout)
        connection.sendall(HEADER.pack(Kind.OPEN, 0, 0, NOBODY, len(asked)) + asked)
        with connection.makefile("rb") as stream:
            head = stream.read(HEADER.size)
            if len(head) < HEADER.size or head[0] != Kind.OPENED:
                raise TransportError("The broker does not open runs for this address.")
            opened = json.loads(stream.read(HEADER.unpack(head)[4]))
    return opened_run(door.partition("#")[0], opened)


def _connected(address: str) -> socket.socket:
    path, _, token = address.partition("#")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        shown = bytes.fromhex(token)
        connection.sendall(HEADER.pack(Kind.HELLO, 0, 0, NOBODY, len(shown)) + shown)
    except (OSError, ValueError):
        connection.close()
        raise TransportError(f"There is no broker at {path}: it has ended.") from None
    return connection
