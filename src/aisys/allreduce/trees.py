"""All-reduce over binomial trees (4.2): few steps, and in each of them the whole array.

Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
International Journal of High Performance Computing Applications 19 (2005), section 4.
"""

import numpy as np

from aisys.allreduce.transport import Transport
from aisys.course import exercise


@exercise("4.2", points=2)
def tree_neighbours(rank: int, world_size: int, root: int = 0) -> tuple[int | None, list[int]]:
    """The ranks above and below a rank in the binomial tree.

    The tree is told in relative ranks, `(rank - root) % world_size`, so that the root is 0. The
    parent of a relative rank is what is left of it without its lowest one bit: 6 = 110 hangs below
    4 = 100. So the children of the root are 1, 2, 4, ..., as far as there are ranks.

    Args:
        rank: The rank, from 0.
        world_size: How many ranks there are; any number from 1.
        root: The rank at the top.

    Returns:
        The parent, None for the root, and the children, the nearest first: of relative rank 4 the
        relative ranks 5 and 6. All of them are ranks, not relative ones.
    """
    relative = (rank - root) % world_size
    children, distance = [], 1
    while relative & distance == 0 and relative + distance < world_size:
        children.append((rank + distance) % world_size)
        distance *= 2
    without_lowest_bit = relative & (relative - 1)
    parent = None if relative == 0 else (without_lowest_bit + root) % world_size
    return parent, children


@exercise("4.2", points=1)
def broadcast(transport: Transport, data: np.ndarray, root: int = 0) -> np.ndarray:
    """The root's array, on every rank.

    Each rank receives it from its parent and sends it to its children, the farthest first: that one
    has the largest part of the tree below it.

    Args:
        transport: This rank's place.
        data: On the root the array, of any shape, also empty, not contiguous, or of integers. On
            the others an array of the same shape and dtype whose values do not matter. It is not
            changed.
        root: Whose array it is.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    parent, children = tree_neighbours(transport.rank, transport.world_size, root)
    if parent is None:
        received = np.array(data, order="C", copy=True)
    else:
        received = np.empty(data.shape, data.dtype)
        transport.recv(received, parent)
    for child in reversed(children):
        transport.send(received, child)
    return received


@exercise("4.2", points=2)
def reduce(transport: Transport, data: np.ndarray, root: int = 0) -> np.ndarray | None:
    """The sum of all ranks' arrays, on the root.

    The same tree upwards: each rank adds to its own array what its children have added up, the
    nearest child first, since that one is done first, and sends the sum to its parent.

    Args:
        transport: This rank's place.
        data: Of any shape, also empty, not contiguous, or of integers; the same shape and dtype on
            all ranks. It is not changed.
        root: Who gets the sum.

    Returns:
        On the root a new C-contiguous array of the same shape and dtype; on the others None.
    """
    parent, children = tree_neighbours(transport.rank, transport.world_size, root)
    total = np.array(data, order="C", copy=True)
    arrived = np.empty_like(total)
    for child in children:
        transport.recv(arrived, child)
        total += arrived
    if parent is None:
        return total
    transport.send(total, parent)
    return None


@exercise("4.2", points=1)
def tree_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """The sum of all ranks' arrays, the same on every rank, bit for bit: up a tree and down again.

    Args:
        transport: This rank's place.
        data: Of any shape, also empty, not contiguous, or of integers; it is not changed.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    total = reduce(transport, data)
    return broadcast(transport, data if total is None else total)


@exercise("4.2", points=1)
def tree_cost(world_size: int, nbytes: int) -> tuple[int, int, int]:
    """What `tree_allreduce` costs, in closed form.

    Args:
        world_size: How many ranks there are, from 1.
        nbytes: The size of the array, in bytes.

    Returns:
        The messages on the critical path, which follow one another; the bytes of those messages
        together; and the bytes that all ranks send together.
    """
    steps = 2 * (world_size - 1).bit_length()
    return steps, steps * nbytes, 2 * (world_size - 1) * nbytes
