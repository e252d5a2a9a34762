"""A text exercise's cases run in a child process, so that a crash costs a case and not the kernel.

What was compiled runs as part of the process that loads it: a wrong index may end that process, and
no signal of Python's interrupts a loop in it. So `check` forks, and reads from a pipe.
"""

import faulthandler
import gc
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Sequence

from .errors import CourseError
from .limits import WAITING
from .outcomes import outcome_from_plain, outcome_to_plain
from .plain import pack, unpack
from .probes import Case, Outcome, Probe, run_case

GRACE = 2.0
"""Seconds more than a probe's own limit, after which its process is ended."""

MOST_TIMEOUTS = 2
"""After so many cases that ran out of time, the others of an exercise are not run."""

ADVICE = {
    **dict.fromkeys(("SIGSEGV", "SIGBUS", "SIGABRT"), ": look for an index outside of its array"),
    "SIGKILL": ", as happens where memory runs out: look for what needs too much of it",
}
"""What to look for after a signal."""

Pair = tuple[Probe, Case]


def run_apart(pairs: Sequence[Pair]) -> list[Outcome]:
    """Run probes on cases in a child process; a lost child is followed by a fresh one.

    Where forking is not safe (macOS, Windows), they run in this process.
    """
    if not sys.platform.startswith("linux"):
        return [run_case(probe, case) for probe, case in pairs]
    outcomes: list[Outcome] = []
    while len(outcomes) < len(pairs):
        left = MOST_TIMEOUTS - sum(each.status == "timeout" for each in outcomes)
        if left <= 0:  # the other cases would take as long
            return outcomes + outcomes[-1:] * (len(pairs) - len(outcomes))
        outcomes += _in_one_child(pairs[len(outcomes) :], left)
    return outcomes


def how_it_ended(code: int) -> str:
    """How a process ended, with advice: `was ended by SIGSEGV: look for …`.

    Args:
        code: Its exit status, or the negative number of the signal that ended it.
    """
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}{ADVICE.get(name, '')}"


def _in_one_child(pairs: Sequence[Pair], most: int) -> list[Outcome]:
    """Outcomes until the child is done or lost, or `most` ran out of time; at least one."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking beside threads
        child = os.fork()
    if child == 0:
        os.close(read)
        _be_the_child(pairs, write)
    os.close(write)
    outcomes: list[Outcome] = []
    lost = False
    try:
        for probe, _ in pairs:
            data = _message(read, WAITING * probe.seconds + GRACE)
            lost = not isinstance(data, bytes)
            outcomes.append(_timeout(probe) if data is None else _outcome(data))
            if lost or outcomes[-1].error == "Crashed":
                break
            if sum(each.status == "timeout" for each in outcomes) >= most:
                break
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if outcomes and outcomes[-1].error == "Crashed":
        outcomes[-1] = _crashed(status)
    return outcomes


def _be_the_child(pairs: Sequence[Pair], write: int) -> None:
    """In the child: run the cases, write each outcome, and end without any clean-up."""
    try:
        gc.freeze()  # objects of the parent's other threads are not for this process to end
        faulthandler.disable()  # its traceback is of no use to the student
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)  # the threads of the parent are not here
        for probe, case in pairs:
            data = pack(outcome_to_plain(run_case(probe, case)))
            with open(write, "wb", closefd=False) as pipe:
                pipe.write(len(data).to_bytes(8, "big") + data)
    finally:
        os._exit(0)


def _message(read: int, seconds: float) -> bytes | None:
    """The next outcome's bytes, `b""` where the child has ended, None where time is up."""
    end = time.monotonic() + seconds
    received = b""
    wanted = 8
    while len(received) < wanted:
        ready, _, _ = select.select([read], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        part = os.read(read, min(1 << 20, wanted - len(received)))
        if not part:
            return b""
        received += part
        if wanted == 8 and len(received) >= 8:
            wanted = 8 + int.from_bytes(received[:8], "big")
    return received[8:wanted]


def _outcome(data: bytes) -> Outcome:
    if not data:
        return Outcome("raised", error="Crashed")
    try:
        return outcome_from_plain(unpack(data))
    except CourseError as error:
        return Outcome("raised", error="NoAnswer", message=str(error))


def _timeout(probe: Probe) -> Outcome:
    limit = f"{probe.seconds:g} s"
    return Outcome("timeout", message=f"no result after {limit}; look for a loop without end.")


def _crashed(status: int) -> Outcome:
    """What ended a child, as an outcome."""
    how = how_it_ended(os.waitstatus_to_exitcode(status))
    return Outcome("raised", error="Crashed", message=f"the process that ran it {how}.")
