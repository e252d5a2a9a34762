"""All-reduce in a ring (4.3): reduce-scatter, then all-gather; nobody sends more than it must.

Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", Journal
of Parallel and Distributed Computing 69 (2009).
"""

import numpy as np

from aisys.allreduce.transport import Transport
from aisys.course import exercise


@exercise("4.3", points=1)
def chunk_bounds(n: int, world_size: int) -> list[int]:
    """Where the chunks of an array begin and end.

    Args:
        n: The number of elements; it may be smaller than the number of chunks.
        world_size: How many chunks.

    Returns:
        `world_size + 1` numbers, from 0 to n: chunk i is `array[bounds[i] : bounds[i + 1]]`. No
        chunk has more than one element more than another, and the larger ones come first.
    """
    size, larger = divmod(n, world_size)
    return [i * size + min(i, larger) for i in range(world_size + 1)]


@exercise("4.3", points=3)
def reduce_scatter(transport: Transport, data: np.ndarray) -> int:
    """Add up the ranks' arrays in a ring, so that each rank ends with one chunk of the sum.

    In each of `world_size - 1` steps a rank sends a chunk to the next rank, `rank + 1`, receives
    another from the one before, and adds it to its own. In the first step rank r sends chunk r,
    then always the one that it has added to last. Chunks are those of `chunk_bounds`.

    Args:
        transport: This rank's place.
        data: [n], C-contiguous; the same n and dtype on all ranks. It is changed: the chunk that is
            returned holds the sum, the others what came by.

    Returns:
        The number of the chunk that is complete here: `(rank + 1) % world_size`.
    """
    rank, world_size = transport.rank, transport.world_size
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    bounds = chunk_bounds(len(data), world_size)
    arrived = np.empty(bounds[1], data.dtype)  # the first chunk is the largest
    for step in range(world_size - 1):
        sent, received = (rank - step) % world_size, (rank - step - 1) % world_size
        mine = data[bounds[received] : bounds[received + 1]]
        part = arrived[: len(mine)]
        transport.sendrecv(data[bounds[sent] : bounds[sent + 1]], after, part, before)
        mine += part
    return (rank + 1) % world_size


@exercise("4.3", points=2)
def all_gather(transport: Transport, data: np.ndarray, complete: int) -> None:
    """Pass complete chunks on around the ring until every rank has all of them.

    Args:
        transport: This rank's place.
        data: [n], C-contiguous, of which one chunk is complete; it is filled with the others.
        complete: The number of that chunk: each rank's is one more than that of the rank before.
    """
    rank, world_size = transport.rank, transport.world_size
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    bounds = chunk_bounds(len(data), world_size)
    for step in range(world_size - 1):
        sent, received = (complete - step) % world_size, (complete - step - 1) % world_size
        transport.sendrecv(
            data[bounds[sent] : bounds[sent + 1]],
            after,
            data[bounds[received] : bounds[received + 1]],
            before,
        )


@exercise("4.3", points=1)
def ring_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """The sum of all ranks' arrays, the same on every rank, bit for bit.

    Args:
        transport: This rank's place.
        data: Of any shape, also empty, not contiguous, or of integers; it is not changed.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    total = np.array(data, order="C", copy=True)
    flat = total.reshape(-1)
    all_gather(transport, flat, reduce_scatter(transport, flat))
    return total
