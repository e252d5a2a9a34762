"""The time limit of a probe, and what has to come to its end after it has struck."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from .errors import TimeLimit

WAITING = 3
"""How many times as long as it may compute, an attempt may sleep or wait."""

_ends: list[Callable[[], None]] = []
"""What is being called by `ending_with` at the moment, in the main thread."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in this thread after so many seconds; without effect off the main thread.

    The seconds are of CPU time, so that a slow or busy machine costs nobody a point; what sleeps or
    waits for itself may do so for WAITING times as long. It is raised again and again, for an
    attempt that catches everything, but never inside the context managers, which have to come to
    their end, nor inside what `ending_with` calls.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if _ends or (frame and frame.f_code.co_filename in (__file__, contextlib.__file__)):
            return
        raise TimeLimit

    timers = {
        signal.ITIMER_PROF: (signal.SIGPROF, seconds),
        signal.ITIMER_REAL: (signal.SIGALRM, WAITING * seconds),
    }
    handlers = {number: signal.signal(number, stop) for number, _ in timers.values()}
    before = {timer: signal.setitimer(timer, end, 0.02) for timer, (_, end) in timers.items()}
    try:
        yield
    finally:
        for timer, set_before in before.items():
            signal.setitimer(timer, *set_before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_with(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` where this block is left by an exception; no time limit interrupts it.

    Args:
        end: Ends what the block has begun and what would go on without it, such as threads.
    """
    try:
        yield
    except BaseException:
        _ends.append(end)
        try:
            end()
        finally:
            _ends.remove(end)
        raise
