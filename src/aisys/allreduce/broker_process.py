"""The broker's process: it passes messages between ranks, and counts them, out of their reach.

Whoever started it asks for counts over standard input; nobody else can. When that end is closed the
process ends.
"""

import contextlib
import json
import os
import resource
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from aisys.allreduce.broker_server import Server
from aisys.allreduce.frames import TOKEN_BYTES
from aisys.course.witness import Listener


class Asker:
    """The owner at the other end of standard input, who opens runs and asks for their counts."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._asked = b""
        self._awaited: list[tuple[int, float]] = []
        os.set_blocking(self.fileno(), False)

    @property
    def is_waiting(self) -> bool:
        """Whether counts are waited for."""
        return bool(self._awaited)

    def fileno(self) -> int:
        """Standard input."""
        return sys.stdin.fileno()

    def hear(self) -> bool:
        """Take the lines that have come; False at the end."""
        got = os.read(self.fileno(), 1 << 16)
        self._asked += got
        *lines, self._asked = self._asked.split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if asked["do"] == "open":
                self._answer(self._server.open(asked["ranks"], asked["timeout"]))
            elif asked["do"] == "runs":
                self._answer({"runs": len(self._server.runs)})
            else:
                self._awaited.append((asked["run"], time.monotonic() + asked["within"]))
        return bool(got)

    def look(self, now: float) -> None:
        """Answer for a run that is over, or that will be waited for no longer."""
        for number, until in list(self._awaited):
            run = self._server.runs[number]
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
        server = Server(Listener(str(path), 0), door)
        print(json.dumps({"path": str(path), "door": door.hex()}), flush=True)
        server.serve(Asker(server))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # the owner waits; taking the interpreter down in order takes 0.1 s


if __name__ == "__main__":
    main()
