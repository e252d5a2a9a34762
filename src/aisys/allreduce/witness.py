"""The broker as a check's witness: it passes and counts the messages of one case's ranks.

Whoever reaches its socket may open runs; which processes do is up to `aisys.course.witness`.
"""

import socket

from aisys.allreduce.broker_server import Server
from aisys.allreduce.counting import CountedRun
from aisys.allreduce.frames import TOKEN_BYTES
from aisys.course.plain import Plain
from aisys.course.witness import Listener

DOOR = bytes(TOKEN_BYTES)
"""What whoever opens a run shows; no secret, since nobody else reaches the socket."""


def witness(listener: Listener, over: socket.socket, inputs: dict) -> Plain:
    """Serve one case; returns what was counted in each of its runs.

    A run is `{"ranks", "steps", "messages", "bytes", "pairs", "unreceived", "fault"}`: messages and
    bytes sent, by rank; `pairs` has `[from, to, messages, bytes]` of those that spoke.
    """
    server = Server(listener, DOOR)
    server.serve(_Case(over))
    server.drain()
    return [_counted(run) for run in server.runs]


class _Case:
    """The owner of a case's broker: it says nothing until the case is over."""

    is_waiting = False

    def __init__(self, over: socket.socket) -> None:
        self._over = over

    def fileno(self) -> int:
        return self._over.fileno()

    def hear(self) -> bool:
        return False

    def look(self, now: float) -> None:
        pass


def _counted(run: CountedRun) -> dict[str, Plain]:
    counts = run.counts()
    messages, sizes = [0] * run.ranks, [0] * run.ranks
    for source, _, number, size in counts["pairs"]:
        messages[source] += number
        sizes[source] += size
    return {
        "ranks": run.ranks,
        "steps": counts["steps"],
        "messages": messages,
        "bytes": sizes,
        "pairs": counts["pairs"],
        "unreceived": counts["unreceived"],
        "fault": counts["fault"] or "",
    }
