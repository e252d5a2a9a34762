"""Ranks that run: what the launcher holds of each, hears from it, and does when one fails."""

import contextlib
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from aisys.course.errors import CourseError
from aisys.course.slots import find, is_recording

from .links import Network
from .logs import Log
from .rank_process import TRANSPORTS, Connect, Job, Messages
from .starting import Portable, Started, can_fork, fork_rank, spawn_rank
from .watch import Watch, watch_file

GRACE = 0.5
"""How long the others may go on after a failure, to say what they saw of it, in seconds."""

_TURN, _SHORT_TURN = 0.05, 0.001


@dataclass(frozen=True)
class Outcome:
    """How one rank ended.

    Attributes:
        value: What its program returned.
        kind: `""` after a success; otherwise the error's type, `"Died"`, or `"Ended"` for a rank
            that the launcher ended because of another one.
        message: The error, with a traceback where it is not one of ours.
        at_fault: The rank that this rank holds responsible, if any.
        passed_on: Whether the error tells of another rank's failure.
    """

    value: Any = None
    kind: str = ""
    message: str = ""
    at_fault: int | None = None
    passed_on: bool = False


class Ranks:
    """Ranks that run; a context manager that ends those that still do. Arguments as of `launch`.

    Attributes:
        failed_first: The ranks that failed by themselves, in the order in which it was noticed.
    """

    def __init__(
        self,
        ranks: int,
        target: Callable[..., Any],
        *arguments: Any,
        transport: str | Connect = "tcp",
        timeout: float = 30.0,
        start: str | None = None,
        network: Network | None = None,
    ) -> None:
        start = start or ("fork" if can_fork() else "spawn")
        _check(ranks, transport, timeout, start, network)
        job = Job(0, ranks, transport, timeout, target, arguments, is_recorded=is_recording())
        self.failed_first: list[int] = []
        self._portable = Portable(job) if start == "spawn" else None
        self._ranks: list[_Rank] = []
        self._watch_file = watch_file(ranks)
        self._watch = Watch(self._watch_file.fileno(), -1, ranks)
        try:
            for rank in range(ranks):
                host, namespace = ("127.0.0.1", "") if network is None else network.place(rank)
                self._start(replace(job, rank=rank, host=host, namespace=namespace))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def processes(self) -> list[int]:
        """The process ids, by rank."""
        return [rank.process.pid for rank in self._ranks]

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """How every rank ended, once all have; after a failure the others are ended soon.

        Args:
            seconds: How long that may take.
        """
        limit = math.inf if seconds is None else time.monotonic() + seconds
        grace = math.inf
        while any(rank.process.status is None for rank in self._ranks):
            self._turn()
            now = time.monotonic()
            if self.failed_first:
                grace = min(grace, now + GRACE)
            if now > limit and not self.failed_first:
                for rank in self._ranks:
                    if rank.outcome is None:
                        message = f"Rank {rank.number} did not end within {seconds:g} s."
                        self._settle(rank, Outcome(None, "Late", message, rank.number))
            if now > min(limit, grace):
                self._kill()
        return [rank.outcome or Outcome(kind="Ended") for rank in self._ranks]

    def close(self) -> None:
        """End what still runs and give everything back; a second call does nothing."""
        self._kill()
        for rank in self._ranks:
            rank.close()
        self._ranks = []
        self._watch.close()
        self._watch_file.close()
        if self._portable is not None:
            self._portable.close()

    def _start(self, job: Job) -> None:
        ours, theirs = socket.socketpair()
        log = Log(job.rank)
        try:
            watch = self._watch_file.fileno()
            if self._portable is None:
                held = [ours.fileno(), log.file]
                for rank in self._ranks:
                    held += [rank.control.fileno(), rank.log.file]
                process = fork_rank(job, theirs, watch, log.theirs, held)
            else:
                process = spawn_rank(theirs, watch, log.theirs, self._portable.attempts)
        except BaseException:
            ours.close()
            log.close()
            raise
        else:
            self._ranks.append(_Rank(job.rank, process, ours, log))
            if self._portable is not None:
                with contextlib.suppress(OSError):  # its end is noticed as such
                    ours.sendall(self._portable.pickled(job.rank, job.host, job.namespace))
        finally:
            theirs.close()
            os.close(log.theirs)

    def _turn(self) -> None:
        """Wait a moment for news; read what the ranks say and print; see who has ended."""
        files: dict[int, _Rank] = {}
        # Who has closed the connection is about to end, of which no descriptor tells.
        ending = any(r.process.status is None and not r.control_is_open for r in self._ranks)
        for rank in self._ranks:
            files |= dict.fromkeys(rank.open_files(), rank)
        for file in select.select([*files], [], [], _SHORT_TURN if ending else _TURN)[0]:
            self._read(files[file], file)
        for rank in self._ranks:
            if rank.process.status is None and rank.process.poll() is not None:
                self._has_ended(rank)
        if all(rank.texts for rank in self._ranks):
            texts = [rank.texts.pop(0) for rank in self._ranks]
            for rank in self._ranks:
                with contextlib.suppress(OSError):  # its end is noticed as such
                    rank.messages.send({"texts": texts})

    def _read(self, rank: "_Rank", file: int) -> None:
        if file == rank.log.file:
            rank.log_is_open = rank.log.read(sys.stdout)
            return
        try:
            for message in rank.messages.received():
                self._take(rank, message)
        except (EOFError, OSError):
            rank.control_is_open = False
        except CourseError as error:
            rank.control_is_open = False
            self._settle(rank, Outcome(None, "Nonsense", str(error), rank.number))

    def _take(self, rank: "_Rank", message: dict[str, Any]) -> None:
        if message["do"] == "meet":
            rank.texts.append(message["text"])
        elif message["do"] == "result":
            for key in message["called"]:
                find(key).record()
            self._settle(rank, Outcome(message["value"]))
        else:
            what = {key: message[key] for key in ("kind", "message", "at_fault", "passed_on")}
            self._settle(rank, Outcome(**what))

    def _has_ended(self, rank: "_Rank") -> None:
        """A process has ended: read what it left, and where it left no word, it has died."""
        while rank.control_is_open and select.select([rank.control], [], [], 0)[0]:
            self._read(rank, rank.control.fileno())
        rank.log.read_all(sys.stdout)
        rank.log_is_open = rank.control_is_open = False
        if rank.outcome is None and not rank.was_killed:
            self._watch.died(rank.number)
            message = f"Rank {rank.number} died: {_how(rank.process.status or 0)}."
            self._settle(rank, Outcome(None, "Died", message, rank.number))

    def _settle(self, rank: "_Rank", outcome: Outcome) -> None:
        if rank.outcome is None and not rank.was_killed:
            rank.outcome = outcome
            if outcome.kind:
                self.failed_first.append(rank.number)

    def _kill(self) -> None:
        for rank in self._ranks:
            if rank.process.poll() is None:
                rank.was_killed = True
                rank.process.kill()


@dataclass
class _Rank:
    """What the launcher holds of one rank."""

    number: int
    process: Started
    control: socket.socket
    log: Log
    outcome: Outcome | None = None
    was_killed: bool = False
    control_is_open: bool = True
    log_is_open: bool = True
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages = Messages(self.control)

    def open_files(self) -> list[int]:
        """What may bring news."""
        files = [self.control.fileno()] if self.control_is_open else []
        return files + ([self.log.file] if self.log_is_open else [])

    def close(self) -> None:
        """Wait for the process, which has ended or was killed, and close what is open."""
        while self.process.poll() is None:
            time.sleep(0.001)
        self.control.close()
        self.log.close()


def _check(
    ranks: int, transport: str | Connect, timeout: float, start: str, network: Network | None
) -> None:
    if not isinstance(ranks, int) or ranks < 1:
        raise CourseError(f"`ranks` is a whole number from 1; this is {ranks!r}.")
    if not callable(transport) and transport not in TRANSPORTS:
        known = ", ".join(f'"{name}"' for name in TRANSPORTS)
        raise CourseError(f"`transport` is one of {known}, or a function; this is {transport!r}.")
    if not timeout > 0:
        raise CourseError(f"`timeout` is a number of seconds above 0; this is {timeout!r}.")
    if start not in ("fork", "spawn"):
        raise CourseError(f'`start` is "fork" or "spawn"; this is {start!r}.')
    if start == "fork" and not can_fork():
        raise CourseError('This process cannot be copied safely: use start="spawn".')
    if network is not None and ranks != network.world_size:
        raise CourseError(f"The network has place for {network.world_size} ranks, not for {ranks}.")
    if network is not None and transport in ("shared", "gloo"):
        raise CourseError('The nodes of a network are joined by TCP: use transport="tcp".')


def _how(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"
