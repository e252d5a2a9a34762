"""Kernels that are begun before anybody needs them, so that a submission need not wait for one.

A sandboxed kernel of a warm process is the same for every submission until its first cell runs: its
scratch is inside its sandbox. So the next one starts while this one works. Each is used once.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from .cgroup import Group, group_for
from .sandbox import Walls


class Begun:
    """A kernel that a warm process was asked for.

    Args:
        address: The socket of the warm process.
        request: What it is asked, see `warm`; the connection's key is drawn here.

    Attributes:
        key: What signs the kernel's messages.
        channel: The connection to the warm process, which tells when the kernel has ended.
        lines: The same, as lines.
        pid: The kernel's process, or None where it could not be started.
        refused: Why it could not.
        process: Holds on to it: a number could be another process's by the time that it is used.
        group: Its control group.
    """

    def __init__(self, address: str, request: dict[str, Any]) -> None:
        self.key = secrets.token_hex(32)
        connection = {**request["connection"], "key": self.key}
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.connect(address)
        self.channel.sendall(json.dumps({**request, "connection": connection}).encode() + b"\n")
        self.lines = self.channel.makefile("r")
        self.pid: int | None = None
        self.refused = ""
        self.process: int | None = None
        self.group = Group(())
        self._walls = request["walls"]
        self._is_ready = False
        self._waiting = threading.Thread(target=self._prepare, daemon=True)
        self._waiting.start()

    def is_ready(self) -> bool:
        """Wait until the kernel listens; whether it does."""
        self._waiting.join()
        return self._is_ready

    def end(self) -> None:
        """End a kernel that nobody took, and wait until it is gone."""
        self._waiting.join()
        with contextlib.suppress(OSError, ValueError):
            if self.pid is not None:
                os.kill(self.pid, signal.SIGKILL)
                self.lines.read()
        self.lines.close()
        self.channel.close()
        if self.process is not None:
            os.close(self.process)
        self.group.close()

    def _prepare(self) -> None:
        """Hold on to the process while nothing of a submission runs in it yet."""
        try:
            line = self.lines.readline().strip()
            if not line.isdigit() or int(line) < 2:
                self.refused = line or "the connection ended"
                return
            self.pid = int(line)
            with contextlib.suppress(OSError):
                self.process = os.pidfd_open(self.pid)
            if self._walls is not None:
                self.group = group_for(self.pid, Walls.from_json(self._walls))
            line = self.lines.readline().strip()
            self._is_ready, self.refused = line == "ready", line or "the kernel ended"
        except OSError as error:
            self.refused = f"{type(error).__name__}: {error}"


_begun: dict[str, dict[str, deque[Begun]]] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def spares(addresses: Iterable[str]) -> Iterator[None]:
    """Within this block there are spare kernels of these warm processes, and none after it."""
    chosen = list(addresses)
    with _lock:
        _begun.update({address: {} for address in chosen})
    try:
        yield
    finally:
        with _lock:
            left = [_begun.pop(address) for address in chosen]
        for kinds in left:
            for waiting in kinds.values():
                for begun in waiting:
                    begun.end()


def take(address: str, request: dict[str, Any]) -> Begun:
    """A kernel as requested, a spare one if there is; where there may be, another is begun."""
    kind = json.dumps(request, sort_keys=True)
    with _lock:
        kinds = _begun.get(address)
        waiting = kinds.setdefault(kind, deque()) if kinds is not None else deque[Begun]()
        taken = waiting.popleft() if waiting else None
    taken = taken or Begun(address, request)
    if kinds is not None and request["walls"] is not None:
        another = Begun(address, request)
        with _lock:
            is_wanted = _begun.get(address) is kinds
            if is_wanted:
                waiting.append(another)
        if not is_wanted:
            another.end()
    return taken
