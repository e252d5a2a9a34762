"""An input pipeline: a thread makes the next items while the program works on this one."""

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import TypeVar

from aisys.course import exercise

Item = TypeVar("Item")


@exercise("1.2", points=3)
def prefetch(source: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Go through a source whose items are made by another thread, ahead of their use.

    A bounded queue with one producer and one consumer. The thread starts when the first item is
    asked for; it is the only one that touches the source.

    - Order: the items come out in the source's order, each once, whatever they are; None is an
      item like any other.
    - Bounded: at most `size` items are ready and wait. One more may be in the making, or made and
      waiting for its place. When the queue is full, the producer sleeps; when it is empty, the
      consumer does.
    - Errors: if the source raises an error, the items before it still come out, and then the
      same error is raised here.
    - No thread is left when this ends: neither when the source is exhausted, nor after an error,
      nor when the consumer stops early, which closes this generator, so that what stands in
      `finally` runs. Then nothing more is taken from the source; only an item in the making is
      waited for.

    Args:
        source: Any iterable; it may be endless.
        size: Places in the queue, at least 1.

    Yields:
        The items of the source.
    """
    ready: deque[Item] = deque()
    changed = threading.Condition()
    stopped = finished = False
    error: BaseException | None = None

    def produce() -> None:
        nonlocal finished, error
        try:
            for item in source:
                with changed:
                    changed.wait_for(lambda: len(ready) < size or stopped)
                    if stopped:
                        return
                    ready.append(item)
                    changed.notify()
        except BaseException as raised:
            error = raised
        finally:
            with changed:
                finished = True
                changed.notify()

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: ready or finished)
                if not ready:
                    break
                item = ready.popleft()
                changed.notify()
            yield item
    finally:
        with changed:
            stopped = True
            changed.notify()
        producer.join()
    if error is not None:
        raise error
