"""Several rings at the same time, a link between nodes for each of them, as in NCCL's channels.

A maintainer of NCCL tells of them in issue 601 of github.com/NVIDIA/nccl.
"""

import numpy as np

from aisys.allreduce.group import Group
from aisys.allreduce.ring import chunk_bounds
from aisys.allreduce.transport import Transport


def rings_allreduce(
    transport: Transport, data: np.ndarray, ranks_per_node: int, rings: int
) -> np.ndarray:
    """All-reduce by several rings at the same time, each with a part of the array.

    Ring k goes through the ranks of a node in an order that begins with place k and leaves the
    node after the place before it, so that every ring has a link between nodes of its own. NCCL
    calls such rings channels.

    Args:
        transport: This rank's place.
        data: Of any shape; it is not changed.
        ranks_per_node: How many ranks each node has.
        rings: How many rings, up to `ranks_per_node`.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    total = np.array(data, order="C", copy=True)
    world_size = transport.world_size
    parts = np.array_split(total.reshape(-1), rings)
    groups = [Group(transport, _ring_order(world_size, ranks_per_node, k)) for k in range(rings)]
    for step in range(2 * (world_size - 1)):
        arriving = []
        for number, (group, part) in enumerate(zip(groups, parts, strict=True)):
            bounds, me = chunk_bounds(len(part), world_size), group.rank
            sent, received = (me - step) % world_size, (me - step - 1) % world_size
            mine = part[bounds[received] : bounds[received + 1]]
            arrived = np.empty_like(mine)
            incoming = group.irecv(arrived, (me - 1) % world_size, number)
            chunk = part[bounds[sent] : bounds[sent + 1]]
            leaving = group.isend(chunk, (me + 1) % world_size, number)
            arriving.append((incoming, leaving, mine, arrived))
        for incoming, leaving, mine, arrived in arriving:
            incoming.wait()
            leaving.wait()
            mine[:] = mine + arrived if step < world_size - 1 else arrived
    return total


def _ring_order(world_size: int, ranks_per_node: int, first: int) -> list[int]:
    """The ranks in the order of a ring that enters every node at the same place."""
    return [
        node + (first + number) % ranks_per_node
        for node in range(0, world_size, ranks_per_node)
        for number in range(ranks_per_node)
    ]
