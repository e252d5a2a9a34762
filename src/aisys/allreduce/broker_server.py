"""What a broker's process serves: connections that it does not trust, and the runs they belong to.

One loop serves every connection: `frames` takes what comes apart, `counting` keeps the runs. A
connection shows a token before anything else, and what it may do follows from that token: be one
rank of one run, or open runs. When the server ends is its owner's to say: of a `broker_process`,
whoever started it; of a check's `witness`, the grader.
"""

import json
import secrets
import selectors
import socket
import struct
import time
from typing import Any, Protocol

from aisys.allreduce.counting import CountedRun
from aisys.allreduce.frames import HEADER, NOBODY, TOKEN_BYTES, Frame, FrameError, Frames, Kind
from aisys.course.witness import Listener

MAX_RANKS, MAX_RUNS, MAX_LIVE_RUNS, MAX_STRANGERS, MAX_TIMEOUT = 256, 4096, 32, 256, 3600.0
STRANGER_SECONDS, MAX_STRANGE_BYTES = 10.0, 64
"""How long a connection may stay without a token, and how large its frames may be."""

MAX_DRAINED = 10_000
"""How often a server that is at its end looks for what has come."""

TICK = 0.05
"""How often time-outs are looked for, in seconds."""

TURN_BYTES = 1 << 20
"""How much is read from one connection before the others have their turn."""

OPENING = struct.Struct("<Id")


class Connection:
    """A socket, what came over it, and what is to go out."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock, self.frames = sock, Frames(_little)
        self.out: list[memoryview] = []
        self.since = time.monotonic()
        self.run: CountedRun | None = None
        self.rank = NOBODY
        self.may_open = self.is_ending = False


def _little(nbytes: int) -> None:
    """What a frame may have before it is known whose it is."""
    if nbytes > MAX_STRANGE_BYTES:
        raise FrameError("sent too much before it showed a token")


class Owner(Protocol):
    """Whoever decides when a server ends."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is to be looked after again soon, though nobody says anything."""
        ...

    def fileno(self) -> int:
        """Readable when it says something."""
        ...

    def hear(self) -> bool:
        """Take what it says; False where that is the end."""
        ...

    def look(self, now: float) -> None:
        """Answer what can be answered by now."""
        ...


class Server:
    """All connections and runs, and the loop that serves them.

    Args:
        listener: Where connections come from.
        door: The token of those who may open runs.

    Attributes:
        runs: All runs that were opened, in that order.
    """

    def __init__(self, listener: Listener, door: bytes) -> None:
        self._door, self._listener = door, listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self.runs: list[CountedRun] = []
        self._places: dict[bytes, tuple[CountedRun, int]] = {}
        self._members: dict[CountedRun, dict[int, Connection]] = {}

    def serve(self, owner: Owner) -> None:
        """Serve until the owner says that it is over."""
        self._selector.register(owner, selectors.EVENT_READ, owner)
        looked = 0.0
        while True:
            waits = owner.is_waiting or self._has_deadlines()
            for key, events in self._selector.select(TICK if waits else None):
                if key.data is owner:
                    if not owner.hear():
                        self._selector.unregister(owner)
                        return
                else:
                    self._serve(key.data, events)
            now = time.monotonic()
            if now - looked >= TICK:
                looked = now
                self._look_at_the_time(now)
            owner.look(now)

    def drain(self) -> None:
        """Serve what has come and was not looked at yet; what comes later is not waited for."""
        for _ in range(MAX_DRAINED):
            events = self._selector.select(0)
            if not events:
                return
            for key, happened in events:
                self._serve(key.data, happened)

    def open(self, ranks: int, timeout: float) -> dict[str, Any]:
        """Open a run: its number and a token for each rank, or why not."""
        if not (1 <= ranks <= MAX_RANKS and 0 < timeout <= MAX_TIMEOUT):
            limits = f"1 to {MAX_RANKS} ranks and a time-out of at most {MAX_TIMEOUT:g} s"
            return {"error": f"A run has {limits}."}
        if len(self.runs) >= MAX_RUNS or len(self._live()) >= MAX_LIVE_RUNS:
            return {"error": f"At most {MAX_LIVE_RUNS} runs may be under way, {MAX_RUNS} in all."}
        run = CountedRun(ranks, timeout)
        tokens = [secrets.token_bytes(TOKEN_BYTES) for _ in range(ranks)]
        self.runs.append(run)
        self._members[run] = {}
        self._places.update((token, (run, rank)) for rank, token in enumerate(tokens))
        return {"run": len(self.runs) - 1, "tokens": [token.hex() for token in tokens]}

    def _serve(self, connection: Connection | None, events: int) -> None:
        if connection is None:
            self._accept()
        elif connection in self._connections:
            self._serve_connection(connection, events)

    def _has_deadlines(self) -> bool:
        strangers = any(c.run is None and not c.may_open for c in self._connections)
        return strangers or any(run.waiting for run in self._live())

    def _live(self) -> list[CountedRun]:
        return [run for run in self.runs if not run.is_over]

    def _accept(self) -> None:
        strangers = [c for c in self._connections if c.run is None]
        if len(strangers) >= MAX_STRANGERS:
            self._drop(strangers[0])  # the oldest: who has a token shows it at once
        sock = self._listener.accept()
        if sock is not None:
            connection = Connection(sock)
            self._connections[connection] = None
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def _serve_connection(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(connection)
            if events & selectors.EVENT_READ and connection in self._connections:
                self._read(connection)
        except FrameError as error:
            if connection.run is not None:
                connection.run.fail(f"Rank {connection.rank} {error}.", connection.rank)
                self._deliver(connection.run)
            self._drop(connection)
        except OSError:
            self._drop(connection)

    def _read(self, connection: Connection) -> None:
        read = 0
        while read < TURN_BYTES:
            try:
                got = connection.frames.read(connection.sock)
            except BlockingIOError:
                return
            if got == 0:
                self._drop(connection)
                return
            read += got
            for frame in connection.frames.complete():
                self._handle(connection, frame)
                if connection not in self._connections or connection.is_ending:
                    return

    def _handle(self, connection: Connection, frame: Frame) -> None:
        if connection.out:
            raise FrameError("asks on before it has read the last answer")
        if connection.may_open and frame.kind == Kind.OPEN:
            self._open_for(connection, bytes(frame.data))
        elif connection.run is not None and frame.kind in (Kind.SEND, Kind.RECV, Kind.BYE):
            run, rank = connection.run, connection.rank
            if frame.kind == Kind.SEND:
                run.sent(rank, frame)
            elif frame.kind == Kind.RECV:
                run.asked(rank, frame, time.monotonic())
            else:
                run.left(rank)
            self._deliver(run)
            if frame.kind == Kind.BYE:
                self._drop(connection)
        elif connection.run is None and frame.kind == Kind.HELLO and not connection.may_open:
            self._admit(connection, bytes(frame.data))
        else:
            raise FrameError("sent a frame that is not one of its")

    def _admit(self, connection: Connection, token: bytes) -> None:
        if secrets.compare_digest(token, self._door):
            connection.may_open = True
            return
        place = self._places.pop(token, None)  # a token is good for one connection
        if place is None:
            raise FrameError("showed no good token")
        connection.run, connection.rank = place
        run, rank = place
        connection.frames.reserve = run.reserve
        self._members[run][rank] = connection
        run.joined(rank)
        welcome = OPENING.pack(run.ranks, run.timeout)
        self._send(connection, Frame(Kind.WELCOME, 0, 0, rank, welcome))
        self._deliver(run)

    def _open_for(self, connection: Connection, asked: bytes) -> None:
        if len(asked) != OPENING.size:
            raise FrameError("asked for a run that it cannot mean")
        opened = json.dumps(self.open(*OPENING.unpack(asked))).encode()
        self._send(connection, Frame(Kind.OPENED, 0, 0, NOBODY, opened))

    def _deliver(self, run: CountedRun) -> None:
        """Send what a run has for its ranks; after a fault that is the last they hear."""
        for rank, frame in run.deliveries():
            connection = self._members[run].get(rank)
            if connection is not None:
                connection.is_ending = frame.kind == Kind.FAULT
                self._send(connection, frame)

    def _send(self, connection: Connection, frame: Frame) -> None:
        head = HEADER.pack(frame.kind, frame.dtype, frame.tag, frame.peer, len(frame.data))
        connection.out += [memoryview(head), *([memoryview(frame.data)] if frame.data else [])]
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            while connection.out:
                sent = connection.sock.sendmsg(connection.out[:16])
                while connection.out and sent >= len(connection.out[0]):
                    sent -= len(connection.out.pop(0))
                if connection.out and sent:
                    connection.out[0] = connection.out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
        if connection.is_ending and not connection.out:
            self._drop(connection)
        if connection in self._connections:
            events = selectors.EVENT_WRITE if connection.out else 0
            events |= 0 if connection.is_ending else selectors.EVENT_READ
            self._selector.modify(connection.sock, events, connection)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        del self._connections[connection]
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection.run is not None:
            self._members[connection.run].pop(connection.rank)
            connection.run.lost(connection.rank)
            self._deliver(connection.run)

    def _look_at_the_time(self, now: float) -> None:
        for run in self._live():
            run.look_at_the_time(now)
            self._deliver(run)
        for connection in [c for c in self._connections if c.run is None and not c.may_open]:
            if now - connection.since > STRANGER_SECONDS:
                self._drop(connection)
