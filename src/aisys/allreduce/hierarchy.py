"""All-reduce in two levels (4.5): few bytes and few messages on the slow links between nodes.

Reduce-scatter, all-reduce, all-gather as in Horovod's `NCCLHierarchicalAllreduce`. Jia et al.,
"Highly scalable deep learning training system with mixed precision: training ImageNet in four
minutes" (2018), reduce to one rank of each group instead, and broadcast from it.
"""

import numpy as np

from aisys.allreduce.group import Group
from aisys.allreduce.ring import all_gather, chunk_bounds, reduce_scatter, ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course import exercise
from aisys.course.errors import CourseError


@exercise("4.5", points=1)
def node_groups(rank: int, world_size: int, ranks_per_node: int) -> tuple[list[int], list[int]]:
    """With whom a rank works inside its node, and with whom between the nodes.

    The first `ranks_per_node` ranks are on node 0, the next on node 1, and so on.

    Args:
        rank: This rank.
        world_size: How many ranks there are.
        ranks_per_node: How many ranks each node has.

    Returns:
        The ranks of its node, in order; and the ranks that have its place on their nodes, in the
        order of the nodes. It is in both.

    Raises:
        CourseError: The ranks do not fill the nodes.
    """
    if ranks_per_node < 1 or world_size % ranks_per_node:
        raise CourseError(
            f"{world_size} ranks do not fill nodes of {ranks_per_node}: the number of ranks must "
            "be a multiple of the ranks of a node."
        )
    node, place = divmod(rank, ranks_per_node)
    first = node * ranks_per_node
    inside = list(range(first, first + ranks_per_node))
    between = list(range(place, world_size, ranks_per_node))
    return inside, between


@exercise("4.5", points=3)
def hierarchical_allreduce(
    transport: Transport, data: np.ndarray, ranks_per_node: int
) -> np.ndarray:
    """The sum of all ranks' arrays in two levels, the same on every rank, bit for bit.

    Reduce-scatter inside each node leaves each of its ranks with one chunk of the node's sum.
    Ranks of the same place have the same chunk, and all-reduce it between the nodes. All-gather
    inside each node puts the chunks together.

    Args:
        transport: This rank's place among all; the nodes are those of `node_groups`.
        data: Of any shape, also empty, not contiguous, or of integers; it is not changed.
        ranks_per_node: How many ranks each node has.

    Returns:
        A new C-contiguous array of the same shape and dtype.

    Raises:
        CourseError: The ranks do not fill the nodes.
    """
    inside, between = node_groups(transport.rank, transport.world_size, ranks_per_node)
    node, peers = Group(transport, inside), Group(transport, between)
    total = np.array(data, order="C", copy=True)
    flat = total.reshape(-1)
    complete = reduce_scatter(node, flat)
    bounds = chunk_bounds(len(flat), ranks_per_node)
    chunk = flat[bounds[complete] : bounds[complete + 1]]
    chunk[:] = ring_allreduce(peers, chunk)
    all_gather(node, flat, complete)
    return total
