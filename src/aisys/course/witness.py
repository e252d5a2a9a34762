"""Witnesses: processes outside of an attempt's reach that count what it does.

A probe that says `witness="aisys.allreduce.broker"` is given the address of a Unix socket, as
`case["witness"]`. Behind it a process runs that module's function `witness`, for this case only:

    def witness(listener: Listener, over: socket.socket, inputs: dict) -> Plain: ...

It serves whoever connects until `over` becomes readable, and returns what it counted. The value
that a verdict judges is then `{"returned": ..., "witnessed": ...}`. In a notebook `check` starts
the same process; in grading the harness does, outside of the sandbox.
"""

import contextlib
import functools
import importlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CourseError
from .plain import Plain, canonical, pack, unpack

SECONDS = 10.0
"""So long a witness may take to begin, and to report at the end."""
MOST_PATH = 103
"""Bytes of a Unix socket's path that every system takes."""
MOST_REPORT = 64 << 20
_PROGRAM = "import sys; from aisys.course.witness import main; main(sys.argv[1], int(sys.argv[2]))"
_LENGTH = struct.Struct("!Q")


class WitnessLost(CourseError):
    """A witness ended, or gave no report; nothing can be said about the attempt."""


@dataclass(frozen=True)
class Witness:
    """A witness of one case.

    Attributes:
        address: The Unix socket that the attempt's processes connect to.
        report: Ends it, and returns what it counted; called once.
    """

    address: str
    report: Callable[[], Plain]


class Witnesses:
    """A process that starts a witness for each case, by forking; it ends with this one.

    Args:
        module: The module that has the function `witness`; imported once.
        folder: Where the sockets are made; whoever may connect must be able to reach it.
    """

    def __init__(self, module: str, folder: Path) -> None:
        self._folder, self._owner = folder, os.getpid()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, module, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        self._channel = ours
        self._channel.settimeout(SECONDS)

    @contextlib.contextmanager
    def of_case(self, inputs: dict[str, Any], namespace: int = 0) -> Iterator[Witness]:
        """A witness of one case, until the context is left.

        Args:
            inputs: The case's.
            namespace: The PID namespace (its inode) that whoever connects has to be in; 0: any.

        Raises:
            WitnessLost: It does not begin, or does not report.
        """
        address = str(self._folder / secrets.token_hex(8))
        if len(os.fsencode(address)) > MOST_PATH:
            raise WitnessLost(
                f"{self._folder} is too long a path for a socket: set TMPDIR to a shorter folder"
            )
        asked = {"address": address, "inputs": canonical(inputs), "namespace": namespace}
        self._say(asked)
        if self._hear() != "listening":
            raise WitnessLost("the witness did not begin")
        is_over = False

        def report() -> Plain:
            nonlocal is_over
            is_over = True
            self._say("over")
            return self._hear()

        try:
            yield Witness(address, report)
        finally:
            if not is_over:
                with contextlib.suppress(WitnessLost):
                    report()
            with contextlib.suppress(OSError):
                os.unlink(address)

    def close(self) -> None:
        """End the process and every witness that it started."""
        self._channel.close()
        if self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _say(self, message: Plain) -> None:
        try:
            send(self._channel, message)
        except OSError:
            raise WitnessLost("the witness ended") from None

    def _hear(self) -> Plain:
        try:
            heard = receive(self._channel)
        except (OSError, CourseError):
            raise WitnessLost("the witness did not answer") from None
        if isinstance(heard, dict) and "failed" in heard:
            raise WitnessLost(f"the witness failed: {heard['failed']}")
        return heard


@functools.cache
def local(module: str, owner: int) -> Witnesses:
    """The witnesses that a notebook's checks use; `owner` is the process that they belong to."""
    return Witnesses(module, Path(tempfile.mkdtemp(prefix="aisys-witness-")))


def send(channel: socket.socket, message: Plain) -> None:
    """Send plain data."""
    data = pack(message)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def receive(channel: socket.socket) -> Plain:
    """The next plain data; raises OSError where the other side has ended."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > MOST_REPORT:
        raise OSError(f"a message of {length:,} bytes")
    return unpack(_exactly(channel, length))


class Listener:
    """A listening Unix socket that admits who belongs to the attempt.

    Args:
        address: Its file.
        namespace: The PID namespace (its inode) of whoever is admitted; 0: any.
    """

    def __init__(self, address: str, namespace: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(address)
        os.chmod(address, 0o666)
        self._socket.listen(256)
        self._socket.setblocking(False)
        self._namespace = namespace

    def fileno(self) -> int:
        """For `select`: readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """The connection of who waits longest; None for nobody, or one who is not admitted."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return None
        if self._namespace and namespace_of(_who_connected(connection)) != self._namespace:
            connection.close()
            return None
        return connection


def _who_connected(connection: socket.socket) -> int:
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def namespace_of(pid: int) -> int:
    """The PID namespace (its inode) of a process; 0 where it has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts, left = [], size
    while left:
        part = channel.recv(min(left, 1 << 20))
        if not part:
            raise OSError("the connection has ended")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def main(module: str, number: int) -> None:
    """Start a witness for each case that is asked for, one at a time, until the asker ends."""
    witness = importlib.import_module(module).witness
    with socket.socket(fileno=number) as channel:
        while True:
            try:
                asked = receive(channel)
            except OSError:
                return
            if not isinstance(asked, dict):
                continue  # the end of a case whose witness is gone
            child = os.fork()
            if child == 0:
                _serve(witness, channel, asked)
            _, status = os.waitpid(child, 0)
            if status:
                with contextlib.suppress(OSError):
                    send(channel, {"failed": f"it ended with status {status}"})


def _serve(witness: Callable[..., Plain], channel: socket.socket, asked: dict[str, Any]) -> None:
    """In the child: be the witness of one case, report, and end."""
    status = 1
    try:
        listener = Listener(asked["address"], asked["namespace"])
        send(channel, "listening")
        counted = witness(listener, channel, asked["inputs"])
        receive(channel)  # the end, which the witness has seen coming or not
        send(channel, counted)
        status = 0
    except BaseException:
        if not _has_ended(channel):
            traceback.print_exc()
    finally:
        os._exit(status)


def _has_ended(channel: socket.socket) -> bool:
    """Whether who asked is gone: nobody waits for a report then."""
    try:
        return channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except OSError:
        return False
