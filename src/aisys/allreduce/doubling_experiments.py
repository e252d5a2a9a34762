"""What the experiments of 4.4 need: closed forms, sums in another order, real processes timed."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.doubling import halving_doubling_allreduce, recursive_doubling_allreduce
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.ring_experiments import timed_rounds
from aisys.allreduce.transport import Transport
from aisys.allreduce.tree_experiments import AllReduce
from aisys.allreduce.trees import tree_allreduce
from aisys.course.errors import CourseError

ALGORITHMS: dict[str, AllReduce] = {
    "tree": tree_allreduce,
    "recursive doubling": recursive_doubling_allreduce,
    "halving and doubling": halving_doubling_allreduce,
    "ring": ring_allreduce,
}


def recursive_doubling_cost(world_size: int, nbytes: float) -> tuple[int, float]:
    """Steps on the critical path of recursive doubling, and their bytes."""
    doublings, folded = _doublings(world_size)
    steps = doublings + 2 * folded
    return steps, steps * nbytes


def halving_doubling_cost(world_size: int, nbytes: float) -> tuple[int, float]:
    """Steps on the critical path of halving and doubling, and their bytes."""
    doublings, folded = _doublings(world_size)
    members = 2**doublings
    return 2 * (doublings + folded), 2 * ((members - 1) / members + folded) * nbytes


def dissemination_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """Recursive doubling in which a rank sends to one rank and receives from another.

    Rank r sends to r + 1, then to r + 2, r + 4, ..., around the ring of all ranks. Each rank's sum
    is right, and each adds up in an order of its own.

    Raises:
        CourseError: The number of ranks is no power of two.
    """
    rank, world_size = transport.rank, transport.world_size
    if world_size & (world_size - 1):
        raise CourseError(f"The number of ranks must be a power of two, which {world_size} is not.")
    total = np.array(data, order="C", copy=True)
    arrived, distance = np.empty_like(total), 1
    while distance < world_size:
        transport.sendrecv(
            total, (rank + distance) % world_size, arrived, (rank - distance) % world_size
        )
        total += arrived
        distance *= 2
    return total


def different_results(allreduce: AllReduce, ranks: int, n: int = 1000) -> tuple[int, float]:
    """How many different results ranks get for the same sum of n random float32.

    Returns:
        The number of different results, bit for bit; and the largest difference between two of
        them, relative to the largest sum.
    """
    terms = np.random.default_rng(0).standard_normal((ranks, n)).astype(np.float32)
    results = np.array(
        run(ranks, lambda transport: allreduce(transport, terms[transport.rank])).results
    )
    spread = np.ptp(results.astype(np.float64), axis=0).max() / np.abs(results).max()
    return len({result.tobytes() for result in results}), float(spread)


def seconds_between_processes(
    ranks: int, sizes: Sequence[int], transport: str, rounds: int = 15
) -> dict[str, list[float]]:
    """The median time of each of `ALGORITHMS` between processes, for each size.

    A round lasts until the last rank is done; in each round all sizes and algorithms have their
    turn, so that a moment in which the machine is busy spoils one of many.

    Args:
        ranks: How many processes.
        sizes: In bytes, multiples of 4.
        transport: As for `launch`.
        rounds: How often each is timed, after one round that does not count.

    Returns:
        Seconds by algorithm, one for each size.
    """
    given = launch(ranks, _timed, list(sizes), rounds, transport=transport, timeout=60.0)
    seconds: dict[str, list[float]] = {}
    for name in ALGORITHMS:
        last = np.max([rank[name] for rank in given], axis=0)
        seconds[name] = [statistics.median(times) for times in last.tolist()]
    return seconds


def _timed(transport: Transport, sizes: list[int], rounds: int) -> dict[str, list[list[float]]]:
    """Seconds by algorithm, [sizes, rounds]."""
    ways: dict[tuple[str, int], Callable[[], Any]] = {}
    for nbytes in sizes:
        data = np.full(nbytes // 4, 1 + transport.rank, np.float32)
        ways |= {(name, nbytes): partial(way, transport, data) for name, way in ALGORITHMS.items()}
    seconds: dict[str, list[list[float]]] = {name: [] for name in ALGORITHMS}
    for (name, _), times in timed_rounds(transport, ways, rounds).items():
        seconds[name].append(times)
    return seconds


def _doublings(world_size: int) -> tuple[int, bool]:
    """How often 1 can be doubled without going beyond so many, and whether that falls short."""
    doublings = world_size.bit_length() - 1
    return doublings, world_size != 2**doublings
