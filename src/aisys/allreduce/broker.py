"""The broker: starts the process that passes and counts messages, opens runs, reads the counts.

Whoever counts owns it. A rank gets an address that is good for its place in one run and for nothing
else; with `door` somebody who is not trusted may open runs, whose counts only the owner can read.
"""

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aisys
from aisys.allreduce.transport import TransportError

START_SECONDS = ANSWER_SECONDS = 30.0

MOST_PATH = 100
"""A Unix socket's path ends at 108 bytes."""


@dataclass(frozen=True)
class Counts:
    """What the broker saw of one run.

    Attributes:
        ranks: How many there are.
        pairs: Messages and bytes from one rank to another, by sender and receiver.
        steps: Messages on the critical path: how many rounds the run takes if every message takes
            one and each rank sends one and receives one at a time.
        unreceived: Messages that nobody has received.
        fault: Why the run was ended, or None.
        is_over: Whether all ranks have left or the run was ended.
    """

    ranks: int
    pairs: Mapping[tuple[int, int], tuple[int, int]]
    steps: int
    unreceived: int
    fault: str | None
    is_over: bool

    @property
    def messages(self) -> int:
        """How many messages were sent."""
        return sum(messages for messages, _ in self.pairs.values())

    @property
    def messages_sent(self) -> tuple[int, ...]:
        """How many messages each rank sent."""
        return self._by_rank(0, 0)

    @property
    def bytes_sent(self) -> tuple[int, ...]:
        """How much each rank sent, in bytes."""
        return self._by_rank(0, 1)

    @property
    def bytes_received(self) -> tuple[int, ...]:
        """How much was sent to each rank, in bytes."""
        return self._by_rank(1, 1)

    def _by_rank(self, end: int, what: int) -> tuple[int, ...]:
        total = [0] * self.ranks
        for pair, counts in self.pairs.items():
            total[pair[end]] += counts[what]
        return tuple(total)


@dataclass(frozen=True)
class BrokerRun:
    """A run that was opened: its number, and the address that each rank connects to."""

    number: int
    addresses: tuple[str, ...]


class Broker:
    """A broker's process; a context manager that ends it.

    Args:
        folder: Where its socket is made, in a folder of its own. Its path must be short.
        shared: Other users of the machine may connect, if they have an address.

    Attributes:
        door: The address at which `open_run` opens runs.
    """

    def __init__(self, folder: Path | None = None, *, shared: bool = False) -> None:
        where = str(folder or tempfile.gettempdir())
        if len(where.encode()) + len("/aisys-broker-12345678/socket") > MOST_PATH:
            raise TransportError(f"{where} is too long a path for a socket: give a shorter folder.")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aisys.allreduce.broker_process", where]
            + ["shared" if shared else "private"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(Path(aisys.__file__).parents[1])},  # and no attempts
            start_new_session=True,  # an interrupt of the notebook is not meant for it
        )
        started = self._answer(START_SECONDS)
        self._path = started["path"]
        self.door = f"{self._path}#{started['door']}"

    def open(self, ranks: int, timeout: float = 30.0) -> BrokerRun:
        """Open a run; a rank of it may wait for a message for `timeout` seconds."""
        opened = self._ask({"do": "open", "ranks": ranks, "timeout": timeout})
        return opened_run(self._path, opened)

    def runs(self) -> int:
        """How many runs were opened, by whomever; they are numbered from 0."""
        return self._ask({"do": "runs"})["runs"]

    def counts(self, run: int, within: float = 5.0) -> Counts:
        """What was counted in a run, once it is over or so many seconds have passed."""
        if not 0 <= run < self.runs():
            raise TransportError(f"This broker has no run {run}.")
        found = self._ask({"do": "counts", "run": run, "within": within}, ANSWER_SECONDS + within)
        pairs = {(a, b): (messages, size) for a, b, messages, size in found.pop("pairs")}
        return Counts(pairs=pairs, **found)

    def close(self) -> None:
        """End the process; runs that are under way fail. A second call does nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, asked: dict[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise TransportError("The broker has ended; start another.") from None
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        """The next line, which comes as a whole."""
        output = self._process.stdout
        assert output is not None
        end, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            ready = select.select([output], [], [], max(0.0, end - time.monotonic()))[0]
            part = output.read1() if ready else b""  # type: ignore[attr-defined]
            if not part:
                why = "has ended" if ready else f"did not answer within {seconds:g} s"
                raise TransportError(f"The broker {why}; start another.")
            line += part
        return json.loads(line)


def opened_run(path: str, opened: Mapping[str, Any]) -> BrokerRun:
    """A run from the broker's answer; raises TransportError where it refused."""
    if "error" in opened:
        raise TransportError(opened["error"])
    return BrokerRun(opened["run"], tuple(f"{path}#{token}" for token in opened["tokens"]))
