"""The broker's process: it passes messages between ranks that it does not trust.

One loop serves every connection: `frames` takes what comes apart, `counting` keeps the runs. A
connection shows a token before anything else, and what it may do follows from that token: be one
rank of one run, or open runs. The owner, who started the process, asks for counts over standard
input; nobody else can. When the owner's end is closed the process ends.
"""

import contextlib
import json
import os
import resource
import secrets
import selectors
import shutil
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from aisys.allreduce.counting import CountedRun
from aisys.allreduce.frames import HEADER, NOBODY, TOKEN_BYTES, Frame, FrameError, Frames, Kind

MAX_RANKS, MAX_RUNS, MAX_LIVE_RUNS, MAX_STRANGERS, MAX_TIMEOUT = 256, 4096, 32, 256, 3600.0
STRANGER_SECONDS, MAX_STRANGE_BYTES = 10.0, 64
"""How long a connection may stay without a token, and how large its frames may be."""

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


class Server:
    """All connections and runs, and the loop that serves them."""

    def __init__(self, path: str, door: bytes | None) -> None:
        self._door = door
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(MAX_STRANGERS)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(sys.stdin.buffer, selectors.EVENT_READ, "owner")
        os.set_blocking(sys.stdin.fileno(), False)
        self._asked = b""
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._runs: list[CountedRun] = []
        self._places: dict[bytes, tuple[CountedRun, int]] = {}
        self._members: dict[CountedRun, dict[int, Connection]] = {}
        self._awaited: list[tuple[int, float]] = []

    def serve(self) -> None:
        """Serve until the owner's end is closed."""
        looked = 0.0
        while True:
            for key, events in self._selector.select(TICK if self._has_deadlines() else None):
                if key.data is None:
                    self._accept()
                elif key.data == "owner":
                    if not self._hear_owner():
                        return
                elif key.data in self._connections:
                    self._serve_connection(key.data, events)
            now = time.monotonic()
            if now - looked >= TICK:
                looked = now
                self._look_at_the_time(now)
            self._answer_counts(now)

    def _has_deadlines(self) -> bool:
        strangers = any(c.run is None and not c.may_open for c in self._connections)
        return bool(self._awaited or strangers or any(r.waiting for r in self._live()))

    def _live(self) -> list[CountedRun]:
        return [run for run in self._runs if not run.is_over]

    def _accept(self) -> None:
        strangers = [c for c in self._connections if c.run is None]
        if len(strangers) >= MAX_STRANGERS:
            self._drop(strangers[0])  # the oldest: who has a token shows it at once
        with contextlib.suppress(OSError):
            connection = Connection(self._listener.accept()[0])
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
        if self._door is not None and secrets.compare_digest(token, self._door):
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
        opened = json.dumps(self._open(*OPENING.unpack(asked))).encode()
        self._send(connection, Frame(Kind.OPENED, 0, 0, NOBODY, opened))

    def _open(self, ranks: int, timeout: float) -> dict[str, Any]:
        """Open a run: its number and a token for each rank, or why not."""
        if not (1 <= ranks <= MAX_RANKS and 0 < timeout <= MAX_TIMEOUT):
            limits = f"1 to {MAX_RANKS} ranks and a time-out of at most {MAX_TIMEOUT:g} s"
            return {"error": f"A run has {limits}."}
        if len(self._runs) >= MAX_RUNS or len(self._live()) >= MAX_LIVE_RUNS:
            return {"error": f"At most {MAX_LIVE_RUNS} runs may be under way, {MAX_RUNS} in all."}
        run = CountedRun(ranks, timeout)
        tokens = [secrets.token_bytes(TOKEN_BYTES) for _ in range(ranks)]
        self._runs.append(run)
        self._members[run] = {}
        self._places.update((token, (run, rank)) for rank, token in enumerate(tokens))
        return {"run": len(self._runs) - 1, "tokens": [token.hex() for token in tokens]}

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

    def _hear_owner(self) -> bool:
        got = os.read(sys.stdin.fileno(), 1 << 16)
        self._asked += got
        *lines, self._asked = self._asked.split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if asked["do"] == "open":
                self._answer(self._open(asked["ranks"], asked["timeout"]))
            elif asked["do"] == "runs":
                self._answer({"runs": len(self._runs)})
            else:
                self._awaited.append((asked["run"], time.monotonic() + asked["within"]))
        return bool(got)

    def _answer_counts(self, now: float) -> None:
        """Answer for a run that is over, or that the owner will wait for no longer."""
        for number, until in list(self._awaited):
            run = self._runs[number]
            if run.is_over or now >= until:
                self._awaited.remove((number, until))
                self._answer(run.counts())

    def _answer(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), flush=True)


def main() -> None:
    """Listen in a new folder below the one that is given; say where in a first line."""
    folder = Path(sys.argv[1]) / f"aisys-broker-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700 if sys.argv[2] == "private" else 0o711)
    try:
        with contextlib.suppress(ValueError, OSError):
            allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
        door = secrets.token_bytes(TOKEN_BYTES)
        path = folder / "socket"
        server = Server(str(path), door)
        if sys.argv[2] != "private":
            path.chmod(0o666)
        print(json.dumps({"path": str(path), "door": door.hex()}), flush=True)
        server.serve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # the owner waits; taking the interpreter down in order takes 0.1 s


if __name__ == "__main__":
    main()
