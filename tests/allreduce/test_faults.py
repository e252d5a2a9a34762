"""A rank is killed, stopped or wrong at a random moment: all others name it, nothing remains.

And ranks that are delayed at random moments change nothing.
"""

import os
import random
import signal
import sys
from typing import Any

import numpy as np
import pytest

from aisys.allreduce.hierarchy import hierarchical_allreduce
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.running import Ranks
from aisys.allreduce.transport import Request, Transport
from tests.support import launched
from tests.support.rank_programs import sample
from tests.support.sums import Dawdling

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.usefixtures("nothing_is_left_behind"),
]

SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(5, 50))]


def end_one(transport: str, seed: int, number: int, timeout: float) -> None:
    """All ranks but the one that gets a signal must raise an error that names it."""
    ranks = 2 + seed % 4
    victim = seed % ranks
    program, options = launched.stops_at_random, {"transport": transport, "timeout": timeout}
    with Ranks(ranks, program, victim, seed, number, start="fork", **options) as running:
        ended = running.wait(seconds=60)
    kind = "Ended" if number == signal.SIGSTOP else "Died"
    assert ended.pop(victim).kind == kind
    said = [(one.kind, one.at_fault) for one in ended]
    assert said == [("TransportError", victim)] * (ranks - 1), ended


@pytest.mark.parametrize("transport", ["tcp", "shared"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rank_killed_at_a_random_moment_is_named_by_all_others(transport, seed):
    end_one(transport, seed, signal.SIGALRM, timeout=30.0)


@pytest.mark.parametrize("transport", ["tcp", "shared"])
@pytest.mark.parametrize("seed", SEEDS[:2] + SEEDS[5:15])
def test_a_rank_stopped_at_a_random_moment_is_named_by_all_others(transport, seed):
    end_one(transport, seed, signal.SIGSTOP, timeout=1.0)


NODES = {"ring": 0, "hierarchy": 2}
"""The ranks of a node; 0 for a ring without nodes."""


def world_of(algorithm: str, seed: int) -> int:
    """How many ranks there are: for the hierarchy two or three nodes."""
    return 2 + seed % 4 if algorithm == "ring" else 4 + 2 * (seed % 2)


def between(seed: int) -> str:
    """Half of the seeds use TCP, the others shared memory."""
    return ("tcp", "shared")[seed // 2 % 2]


def total(transport: Transport, each: int, data: np.ndarray) -> np.ndarray:
    if each:
        return hierarchical_allreduce(transport, data, each)
    return ring_allreduce(transport, data)


class Disturbed(Transport):
    """A transport on another one that does something before each message."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner.rank, inner.world_size, inner.timeout)
        self._inner = inner

    def before(self, data: np.ndarray) -> np.ndarray:
        """What is sent in place of an array."""
        return data

    def close(self) -> None:
        self._inner.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        return self._inner._isend(self.before(data), to, tag)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        return self._inner._irecv(out, source, tag)

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        self._inner._sendrecv(self.before(data), to, out, source, tag)


class Wrong(Disturbed):
    """One of its messages, counted from now, has an element too many."""

    def __init__(self, inner: Transport, number: int) -> None:
        super().__init__(inner)
        self._left = number

    def before(self, data: np.ndarray) -> np.ndarray:
        self._left -= 1
        return data if self._left else np.append(data, data[:1]) if len(data) else np.ones(1)


def stops(transport: Transport, each: int, who: int, seed: int, number: int) -> None:
    """All ranks all-reduce without end; one gets a signal at a random moment of it."""
    chance = random.Random(seed)
    data = np.ones(chance.choice([0, 1, 100, 100_000, 1_000_000]), np.int32)
    if transport.rank == who:
        if number == signal.SIGSTOP:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.1))
    while True:
        total(transport, each, data)


def sends_wrong(transport: Transport, each: int, who: int, seed: int) -> None:
    """All ranks all-reduce without end; one message of one rank has another size."""
    chance = random.Random(seed)
    data = np.ones(chance.choice([1, 100, 100_000]))
    if transport.rank == who:
        transport = Wrong(transport, chance.randrange(1, 50))
    while True:
        total(transport, each, data)


def comes_late(transport: Transport, each: int, seed: int, size: int) -> np.ndarray:
    """An all-reduce whose ranks are delayed; each has samples of its own."""
    late = Dawdling(transport, seed)
    return total(late, each, sample(transport.rank, (size,), np.dtype(np.float32)))


def all_name(
    algorithm: str, program: Any, seed: int, *rest: Any, timeout: float, kind: str
) -> None:
    """Every rank but the victim must raise an error that names it; the victim ends as said."""
    ranks = world_of(algorithm, seed)
    victim = random.Random(seed).randrange(ranks)
    options = {"transport": between(seed), "timeout": timeout}
    arguments = (NODES[algorithm], victim, seed, *rest)
    with Ranks(ranks, program, *arguments, start="fork", **options) as running:
        ended = running.wait(seconds=60)
    assert ended.pop(victim).kind == kind
    said = [(one.kind, one.at_fault) for one in ended]
    assert said == [("TransportError", victim)] * (ranks - 1), ended


@pytest.mark.parametrize("algorithm", NODES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_all_reduce_names_a_rank_that_is_killed_at_a_random_moment(seed, algorithm):
    all_name(algorithm, stops, seed, signal.SIGALRM, timeout=30.0, kind="Died")


@pytest.mark.parametrize("algorithm", NODES)
@pytest.mark.parametrize("seed", SEEDS[1:3] + SEEDS[5:15])
def test_an_all_reduce_names_a_rank_that_hangs_at_a_random_moment(seed, algorithm):
    all_name(algorithm, stops, seed, signal.SIGSTOP, timeout=1.0, kind="Ended")


@pytest.mark.parametrize("algorithm", NODES)
@pytest.mark.parametrize("seed", SEEDS[:3] + SEEDS[5:25])
def test_an_all_reduce_names_a_rank_that_sends_a_wrong_size(seed, algorithm):
    all_name(algorithm, sends_wrong, seed, timeout=30.0, kind="TransportError")


@pytest.mark.parametrize("algorithm", NODES)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_delays_between_processes_change_no_bit(seed, algorithm):
    ranks, each = world_of(algorithm, seed), NODES[algorithm]
    size = random.Random(seed).choice([0, 1, 7, 5000])
    late = launch(ranks, comes_late, each, seed, size, transport=between(seed))
    data = [sample(rank, (size,), np.dtype(np.float32)) for rank in range(ranks)]
    expected = run(ranks, lambda t: total(t, each, data[t.rank])).results[0]
    assert all(result.tobytes() == expected.tobytes() for result in late)


@pytest.mark.parametrize("algorithm", NODES)
@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_that_run_in_any_order_change_no_bit(seed, synchronous, algorithm):
    ranks, each = world_of(algorithm, seed), NODES[algorithm]
    data = [sample(rank, (3, 37), np.dtype(np.float32)).T for rank in range(ranks)]
    options = {"seed": seed, "synchronous": synchronous}
    seen = run(ranks, lambda t: total(t, each, data[t.rank]), **options).results
    expected = run(ranks, lambda t: total(t, each, data[t.rank])).results[0]
    assert all(result.tobytes() == expected.tobytes() for result in seen)
