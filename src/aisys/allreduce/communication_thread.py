"""A thread for a rank's messages, so that they pass while the rank computes (4.7)."""

import queue
import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from aisys.allreduce.ddp_hook import AllReduce
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport


class Span(NamedTuple):
    """When an all-reduce was under way, in seconds of `time.perf_counter`, and its size in bytes.

    Attributes:
        asked: When it was asked for.
        begin: When the thread came to it.
        end: When it was done.
        nbytes: The array's size.
    """

    asked: float
    begin: float
    end: float
    nbytes: int


class CommunicationThread:
    """Works off a rank's all-reduces, one after another, in the order in which they are asked for.

    Until it is closed no other thread may use the transport.

    Args:
        transport: This rank's place.
        allreduce: The algorithm.

    Attributes:
        world_size: How many ranks there are.
        spans: When each all-reduce that is done was under way.
    """

    def __init__(self, transport: Transport, allreduce: AllReduce = ring_allreduce) -> None:
        self.world_size = transport.world_size
        self.spans: list[Span] = []
        self._transport, self._allreduce = transport, allreduce
        self._asked: queue.SimpleQueue[tuple[float, np.ndarray, Future] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, data: np.ndarray) -> "Future[np.ndarray]":
        """Ask for an all-reduce, and go on.

        Args:
            data: Must not be changed before the future is done.

        Returns:
            A future of the sum. Its `result()` waits for it, and raises what went wrong.
        """
        future: Future[np.ndarray] = Future()
        self._asked.put((time.perf_counter(), data, future))
        return future

    def close(self) -> None:
        """Work off what was asked for, and end."""
        self._asked.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._asked.put(None)  # others may wait for this rank in vain: it must not wait too

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            at, data, future = asked
            begin = time.perf_counter()
            try:
                total = self._allreduce(self._transport, data)
            except BaseException as error:
                future.set_exception(error)
            else:
                self.spans.append(Span(at, begin, time.perf_counter(), data.nbytes))
                future.set_result(total)
