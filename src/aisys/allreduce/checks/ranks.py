"""Ranks for a probe: they pass their messages through a broker that counts them out of reach."""

import contextlib
import contextvars
import ctypes
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisys.allreduce.broker_transport import BrokerTransport, open_run
from aisys.allreduce.transport import TransportError
from aisys.allreduce.witness import DOOR
from aisys.course import Difference, Plain
from aisys.course.compare import compare
from aisys.course.limits import ending_with
from aisys.course.probes import Verdict

WITNESS = "aisys.allreduce.witness"
"""For `@probe(…, witness=WITNESS)`."""

PATIENCE = 60.0
"""How long a rank may wait for another; a deadlock is seen at once, and time-outs end a probe."""

LAST_TURNS, TURN = 250, 0.02
"""How often a rank that goes on after the others were ended is told so, and how far apart."""


def on_ranks(case: dict[str, Any], program: Callable[..., Plain], *shares: Sequence) -> list[Plain]:
    """Run a program on every rank, over the broker that is the case's witness.

    The ranks are threads, which cost next to nothing; their messages go through sockets to a
    process of its own, as between processes. What goes past the transport is not counted, so a
    verdict asks that enough was.

    Args:
        case: The case of a probe with `witness=WITNESS`; its `"ranks"` says how many.
        program: Called as `program(transport, *share)` on each rank; returns plain data.
        shares: For each further argument, one value a rank.

    Returns:
        What each rank's program returned.

    Raises:
        Exception: What a rank raised; of several, the first that does not only tell of another's.
    """
    ranks = case["ranks"]
    run = open_run(f"{case['witness']}#{DOOR.hex()}", ranks, PATIENCE)
    results: list[Plain] = [None] * ranks
    errors: list[BaseException] = []
    working, ending = set(range(ranks)), threading.Lock()

    def be(rank: int) -> None:
        # One that is being ended is told again and again, maybe once more on its way out.
        with contextlib.suppress(_Ended):
            try:
                with BrokerTransport(run.addresses[rank]) as transport:
                    results[rank] = program(transport, *(share[rank] for share in shares))
            except BaseException as error:
                errors.append(error)
            finally:
                with ending:
                    working.discard(rank)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(be, rank), daemon=True)
        for rank in range(ranks)
    ]
    end = threading.Thread(target=_end, args=(threads, working, ending), daemon=True)
    with ending_with(end.start):
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(TURN)  # a time limit reaches this thread only between two turns
    if errors:
        own = [error for error in errors if not isinstance(error, TransportError)]
        raise (own or errors)[0]
    return results


def rank_data(case: dict[str, Any], rng: np.random.Generator) -> list[np.ndarray]:
    """An array for each rank, drawn at random.

    Args:
        case: `"ranks"`; `"n"`, the number of elements; and `"dtype"`, by default float64.
        rng: The probe's generator.
    """
    ranks, n, dtype = case["ranks"], case["n"], np.dtype(case.get("dtype", "float64"))
    if dtype.kind in "iu":
        return [rng.integers(0, 1000, n).astype(dtype) for _ in range(ranks)]
    return [rng.standard_normal(n).astype(dtype) for _ in range(ranks)]


def counted(
    rtol: float = 1e-9,
    atol: float = 1e-12,
    *,
    same: bool = True,
    steps: float = 1.0,
    messages: float = 1.0,
    nbytes: float = 1.0,
    least_bytes: float = 0.5,
    judge: Verdict | None = None,
) -> Verdict:
    """A verdict on what ranks returned and what their messages cost.

    Args:
        rtol: Relative tolerance of what a rank returns.
        atol: Absolute tolerance of it.
        same: Whether all ranks must return the same, bit for bit.
        steps: So many times the reference's steps on the critical path are accepted.
        messages: So many times the most messages that one rank of the reference sends.
        nbytes: So many times the most bytes that one rank of the reference sends.
        least_bytes: At least this share of the reference's bytes must go through the transport.
        judge: Judges what the ranks returned instead of the comparison within the tolerance.
    """

    def verdict(got: Plain, expected: Plain) -> Difference | None:
        returned, runs = _parts(got)
        wanted, enough = _parts(expected)
        found = judge(returned, wanted) if judge else compare(returned, wanted, rtol, atol)
        if found is not None:
            return found
        if same:
            for rank, value in enumerate(returned):
                if not _identical(value, returned[0]):
                    said = f"rank {rank} has another result than rank 0, in its last digits."
                    return Difference("not the same", said, f"[{rank}]")
        if len(runs) != len(enough):
            return Difference("runs", f"{len(runs)} runs were counted, expected {len(enough)}.")
        for run, reference in zip(runs, enough, strict=True):
            found = _too_much(run, reference, steps, messages, nbytes)
            if found is not None:
                return found
            moved, needed = sum(run["bytes"]), sum(reference["bytes"])
            if moved < least_bytes * needed:
                said = f"only {moved:,} bytes went through the transport; expected {needed:,}."
                return Difference("too few bytes", said)
        return None

    return verdict


def _too_much(
    run: dict[str, Any], reference: dict[str, Any], steps: float, messages: float, nbytes: float
) -> Difference | None:
    if run["unreceived"]:
        return Difference("unreceived", f"{run['unreceived']} messages were never received.")
    for what, slack in (("messages", messages), ("bytes", nbytes)):
        rank, seen = max(enumerate(run[what]), key=lambda pair: pair[1])
        most = math.floor(slack * max(reference[what]))
        if seen > most:
            said = f"rank {rank} sends {seen:,} {what}; {most:,} are enough."
            return Difference(f"too many {what}", said)
    if run["steps"] > math.floor(steps * reference["steps"]):
        most = math.floor(steps * reference["steps"])
        said = f"{run['steps']} steps on the critical path; {most} are enough."
        return Difference("too many steps", said)
    return None


def _parts(value: Plain) -> tuple[list[Plain], list[dict[str, Any]]]:
    """What the ranks returned, and what was counted; raises TypeError where it is neither."""
    if not isinstance(value, dict) or not isinstance(value.get("witnessed"), list):
        raise TypeError("expected what ranks returned and what was counted")
    if not isinstance(value["returned"], list):
        raise TypeError("expected a list of what the ranks returned")
    return value["returned"], value["witnessed"]


def _identical(left: Plain, right: Plain) -> bool:
    """Whether two values are the same, bit for bit; NaN is the same as NaN."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        alike = left.dtype == right.dtype and left.shape == right.shape
        return alike and left.tobytes() == right.tobytes()
    return compare(left, right, 0.0, 0.0) is None


class _Ended(BaseException):
    """Ends a rank's thread; no `Exception`, so that an attempt does not swallow it."""


def _end(threads: list[threading.Thread], working: set[int], ending: threading.Lock) -> None:
    """End the ranks that go on though nobody waits for them, such as after a time-out.

    One that waits for a message ends when the case's broker does. The number of a thread that has
    ended is soon another one's, of a later case; so it is used only while its rank cannot end.
    """
    for _ in range(LAST_TURNS):
        with ending:
            for rank in working:
                ident = threads[rank].ident
                if ident is not None and threads[rank].is_alive():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(ident), ctypes.py_object(_Ended)
                    )
            left = list(working)
        if not left:
            return
        with contextlib.suppress(RuntimeError):  # not even started
            threads[left[0]].join(TURN)
