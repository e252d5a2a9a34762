"""What the experiments of 4.1 need: ping-pongs between processes, and a chain of ranks.

Ways to pass messages take turns, and in each turn all sizes do, so that a minute in which the
machine is busy with something else falls on all of them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import ping_pong
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ports import Link
from aisys.allreduce.rank_process import Connect, Job
from aisys.allreduce.tcp import TcpTransport
from aisys.allreduce.transport import Request, Transport

SIZES = tuple(8 * 2**k for k in range(24))
"""From 8 B to 64 MiB."""

Way = str | Connect
"""What `launch` takes as a transport."""


def round_trips(
    ways: Mapping[str, Way], sizes: Sequence[int] = SIZES, rounds: int = 9
) -> dict[str, np.ndarray]:
    """The round trips of `ping_pong` between two processes, for every way and size.

    Args:
        ways: Transports by name.
        sizes: The bytes of a message.
        rounds: How often each way has its turn. Turns are many and short, so that a moment in
            which the machine is busy spoils few of them: small messages make twenty round trips in
            a turn, of which the median is taken, and those from 2 MiB on make one.

    Returns:
        Seconds [rounds, sizes], by name.
    """
    seen: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seen[name].append(launch(2, _all_sizes, list(sizes), transport=way, timeout=60.0)[0])
    return {name: np.array(rows) for name, rows in seen.items()}


def plain_fit(sizes: Sequence[int], seconds: np.ndarray) -> CostModel:
    """The usual least squares, of absolute errors, to see what becomes of alpha."""
    rows = np.stack([np.ones(len(sizes)), np.asarray(sizes, float)], axis=1)
    alpha, beta = np.linalg.lstsq(rows, seconds)[0]
    return CostModel(float(alpha), float(beta))


def staged(copies: int) -> Connect:
    """TCP with additional copies: the first at the sender, the second at the receiver.

    Args:
        copies: 0, 1 or 2.
    """
    return partial(_connect_staged, copies)


class StagedTransport(Transport):
    """A transport on another one, through buffers of its own in between.

    Args:
        inner: Passes the messages; closed with this one.
        at_sender: Copy a message before it is sent.
        at_receiver: Receive elsewhere and copy it to where it goes.
    """

    def __init__(self, inner: Transport, at_sender: bool, at_receiver: bool) -> None:
        super().__init__(inner.rank, inner.world_size, inner.timeout)
        self._inner, self._at_sender, self._at_receiver = inner, at_sender, at_receiver
        self._free: dict[tuple[int, np.dtype], list[np.ndarray]] = {}

    def close(self) -> None:
        """Leave."""
        self._inner.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        if not self._at_sender:
            return self._inner.isend(data, to, tag)
        buffer = self._buffer(data)
        np.copyto(buffer, data.reshape(-1))
        return _Staged(self._inner.isend(buffer, to, tag), self._give_back, buffer, None)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        if not self._at_receiver:
            return self._inner.irecv(out, source, tag)
        buffer = self._buffer(out)
        return _Staged(self._inner.irecv(buffer, source, tag), self._give_back, buffer, out)

    def _buffer(self, like: np.ndarray) -> np.ndarray:
        """A buffer that was used before, so that no page of it is new, or a new one."""
        free = self._free.setdefault((like.size, like.dtype), [])
        return free.pop() if free else np.zeros(like.size, like.dtype)

    def _give_back(self, buffer: np.ndarray) -> None:
        self._free[buffer.size, buffer.dtype].append(buffer)


class _Staged(Request):
    """A message under way to or from a buffer."""

    def __init__(self, inner: Request, give_back: Any, buffer: np.ndarray, out: Any) -> None:
        self._inner, self._give_back, self._out = inner, give_back, out
        self._buffer: np.ndarray | None = buffer

    def wait(self) -> None:
        """Wait, and copy what came to where it goes."""
        self._inner.wait()
        if self._buffer is not None:
            if self._out is not None:
                np.copyto(self._out.reshape(-1), self._buffer)
            self._give_back(self._buffer)
            self._buffer = None


def pass_along(transport: Transport, array: np.ndarray, pieces: int) -> np.ndarray:
    """Pass an array from rank 0 along all ranks in so many pieces.

    Args:
        transport: This rank's.
        array: What rank 0 has; of the others only its size counts.
        pieces: Which differ by one element at most.

    Returns:
        The array, on every rank.
    """
    rank, last = transport.rank, transport.world_size - 1
    here = array if rank == 0 else np.empty_like(array)
    for piece in np.array_split(here, pieces):
        if rank > 0:
            transport.recv(piece, rank - 1)
        if rank < last:
            transport.send(piece, rank + 1)
    return here


def chain_seconds(model: CostModel, nbytes: int, hops: int, pieces: int) -> float:
    """How long `pass_along` takes on the simulated clock, in seconds."""
    link = Link(model.alpha, model.beta)
    message = np.zeros(nbytes, np.uint8)
    return run(hops + 1, pass_along, message, pieces, links=link).trace.seconds


def _all_sizes(transport: Transport, sizes: list[int]) -> np.ndarray | None:
    """In rank 0 a round trip of each size."""
    ping_pong(transport, 8, 100)  # what follows finds everything awake
    trips = [ping_pong(transport, n, int(np.clip((1 << 22) // max(n, 1), 1, 20))) for n in sizes]
    return np.array([np.median(trip) for trip in trips]) if transport.rank == 0 else None


def _connect_staged(copies: int, job: Job, rendezvous: Any, watch: Any) -> Transport:
    inner = TcpTransport(job.rank, job.world_size, rendezvous, job.timeout, watch, host=job.host)
    return StagedTransport(inner, at_sender=copies > 0, at_receiver=copies > 1)
