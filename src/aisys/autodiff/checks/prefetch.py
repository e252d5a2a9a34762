"""Probes of 1.2: an input pipeline whose source tells what is taken from it, when and by whom.

Waiting is counted in looks of 5 ms and ends as soon as what is waited for is there. A consumer
runs in a daemon thread, which its own threads inherit: one that hangs does not keep the process.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from aisys.autodiff.prefetch import prefetch
from aisys.course import Case, Plain, probe

LOOK = 0.005
MOST_LOOKS = 60
LOOKS_ALONE = 80


class SourceError(Exception):
    """What a source raises."""


class Source:
    """Items, one after the other, that notes how many were begun and by which threads.

    Args:
        items: The items.
        fails_after: Raises SourceError after so many items; None for never.
    """

    def __init__(self, items: list[Any], fails_after: int | None = None) -> None:
        self.items, self.fails_after = items, fails_after
        self.begun = 0
        self.failed = False
        self.threads: set[int] = set()

    @property
    def is_made_elsewhere(self) -> bool:
        """Whether one thread, another one than the caller's, took everything that was taken."""
        return len(self.threads) == len(self.threads - {threading.get_ident()}) == 1

    def wait_for(self, count: int) -> bool:
        """Wait until so many items are begun; not at all where the caller makes them itself."""
        return self.is_made_elsewhere and look_until(lambda: self.begun >= count)

    def __iter__(self) -> Iterator[Any]:
        for number, item in enumerate([*self.items, None]):
            self.threads.add(threading.get_ident())
            if number == self.fails_after:
                self.failed = True
                raise SourceError(f"no item {number}")
            if number < len(self.items):
                self.begun += 1
                yield item


def look_until(true: Callable[[], bool], looks: int = MOST_LOOKS) -> bool:
    """Wait until something is true; False if it is not after so many looks."""
    for _ in range(looks):
        if true():
            return True
        time.sleep(LOOK)
    return true()


def watched(consume: Callable[[], dict[str, Any]]) -> Plain:
    """What a consumer returns and how many threads it leaves, or that it waits for nothing.

    A consumer is stuck if no thread is left that could give it anything, for LOOKS_ALONE looks:
    longer than a consumer here waits by itself.
    """
    before = set(threading.enumerate())
    made: list[dict[str, Any]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            made.append(consume())
        except BaseException as error:
            errors.append(error)

    consumer = threading.Thread(target=run, daemon=True)

    def others() -> set[threading.Thread]:
        return set(threading.enumerate()) - before - {consumer}

    consumer.start()
    alone = 0
    while consumer.is_alive() and alone < LOOKS_ALONE:
        consumer.join(LOOK)
        alone = 0 if others() else alone + 1
    if errors:
        raise errors[0]
    if not made:
        return {"stuck": "the consumer waits, and no thread is left that makes items"}
    look_until(lambda: not others())
    return {**made[0], "threads left": len(others())}


@probe(
    "1.2 prefetch",
    cases=[
        Case("five items", {"items": [0, 1, 2, 3, 4], "size": 2}),
        Case("None and twice the same", {"items": [7, None, 7, False, None], "size": 3}),
        Case("no items", {"items": [], "size": 1}),
    ],
)
def prefetch_items(case: dict, rng: np.random.Generator) -> Plain:
    """All items, and whether one other thread took them from the source."""

    def consume() -> dict[str, Any]:
        source = Source(case["items"])
        items = list(prefetch(source, case["size"]))
        return {"items": items, "made by one other thread": source.is_made_elsewhere}

    return watched(consume)


@probe(
    "1.2 prefetch",
    cases=[Case("a queue of 1", {"size": 1}), Case("a queue of 3", {"size": 3})],
)
def prefetch_ahead(case: dict, rng: np.random.Generator) -> Plain:
    """How far the source gets while the consumer works on the first item."""

    def consume() -> dict[str, Any]:
        size = case["size"]
        source = Source(list(range(size + 20)))
        items = prefetch(source, size)
        first = next(iter(items))
        fills = source.wait_for(1 + size)
        overfills = look_until(lambda: source.begun > 1 + size + 1, looks=4)
        return {
            "first item": first,
            "the queue is filled meanwhile": fills,
            "more than the queue holds is made": overfills,
            "the other items": list(items),
        }

    return watched(consume)


@probe(
    "1.2 prefetch",
    cases=[
        Case("an error after three items", {"good": 3, "size": 4}),
        Case("an error at once", {"good": 0, "size": 1}),
    ],
)
def prefetch_error(case: dict, rng: np.random.Generator) -> Plain:
    """The items before an error of the source, and the error."""

    def consume() -> dict[str, Any]:
        source = Source(list(range(case["good"] + 5)), fails_after=case["good"])
        items: list[Any] = []
        error = "none"
        try:
            for item in prefetch(source, case["size"]):
                if not items and case["good"] <= case["size"] and source.is_made_elsewhere:
                    look_until(lambda: source.failed)
                    time.sleep(LOOK)  # so that whoever catches the error has caught it
                items.append(item)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        made_elsewhere = source.is_made_elsewhere
        return {"items": items, "error": error, "made by one other thread": made_elsewhere}

    return watched(consume)


@probe(
    "1.2 prefetch",
    cases=[Case("stopped after two of many items", {"taken": 2, "size": 2})],
)
def prefetch_stop(case: dict, rng: np.random.Generator) -> Plain:
    """What happens when the consumer stops while the queue is full."""

    def consume() -> dict[str, Any]:
        taken, size = case["taken"], case["size"]
        source = Source(list(range(taken + size + 30)))
        ahead = prefetch(source, size)
        items = [next(ahead) for _ in range(taken)]
        source.wait_for(taken + size)
        ahead.close()
        return {
            "items": items,
            "source is left alone": source.begun <= taken + size + 1,
            "made by one other thread": source.is_made_elsewhere,
        }

    return watched(consume)
