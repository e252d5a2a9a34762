"""All-reduce by halving and doubling (4.4): few steps and few bytes, for any number of ranks.

Rabenseifner, "Optimization of collective reduction operations", International Conference on
Computational Science (2004); Thakur, Rabenseifner and Gropp, International Journal of High
Performance Computing Applications 19 (2005), section 4.5.
"""

import numpy as np

from aisys.allreduce.transport import Transport
from aisys.course import exercise


@exercise("4.4", points=1)
def fold(transport: Transport, data: np.ndarray) -> list[int]:
    """Let a power of two of ranks go on, with the sum of all arrays spread over them.

    Let p be the largest power of two that is not above `world_size`; so `world_size - p` ranks are
    too many. The first `2 * (world_size - p)` ranks form pairs (0, 1), (2, 3), ...: the even rank
    sends its array to the odd one, which adds it to its own and goes on for both. The others go on
    alone.

    Args:
        transport: This rank's place.
        data: C-contiguous; the same shape and dtype on all ranks. It is changed on the odd ranks of
            the pairs.

    Returns:
        The p ranks that go on, in ascending order; the same list on every rank.
    """
    rank, world_size = transport.rank, transport.world_size
    pairs = world_size - (1 << (world_size.bit_length() - 1))
    if rank < 2 * pairs:
        if rank % 2 == 0:
            transport.send(data, rank + 1)
        else:
            arrived = np.empty_like(data)
            transport.recv(arrived, rank - 1)
            data += arrived
    return [*range(1, 2 * pairs, 2), *range(2 * pairs, world_size)]


@exercise("4.4", points=1)
def unfold(transport: Transport, data: np.ndarray) -> None:
    """Give the result to the ranks that `fold` left out: the odd rank of a pair sends it back.

    Args:
        transport: This rank's place.
        data: C-contiguous; the result on the ranks that went on. On the others it is filled.
    """
    rank, world_size = transport.rank, transport.world_size
    pairs = world_size - (1 << (world_size.bit_length() - 1))
    if rank < 2 * pairs:
        if rank % 2 == 0:
            transport.recv(data, rank + 1)
        else:
            transport.send(data, rank - 1)


@exercise("4.4", points=1)
def recursive_doubling_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """The sum of all ranks' arrays, the same on every rank, bit for bit; for small arrays.

    Of the ranks that go on after `fold`, number i exchanges its whole array with number
    i XOR 1, then with i XOR 2, i XOR 4, and so on; each adds what arrives to its own.

    Args:
        transport: This rank's place.
        data: Of any shape, also empty, not contiguous, or of integers; it is not changed.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    total = np.array(data, order="C", copy=True)
    members = fold(transport, total)
    if transport.rank in members:
        me, arrived = members.index(transport.rank), np.empty_like(total)
        distance = 1
        while distance < len(members):
            partner = members[me ^ distance]
            transport.sendrecv(total, partner, arrived, partner)
            total += arrived
            distance *= 2
    unfold(transport, total)
    return total


@exercise("4.4", points=1)
def halving_window(number: int, members: int, n: int, step: int) -> slice:
    """The part of the array that a rank still works on after so many halvings.

    At first it is the whole array; in each step a rank keeps one half and leaves the other to its
    partner. The array has as many chunks as there are members: chunk i is what number i has in
    the end. Chunk i begins at element `i * n // members`, so that no chunk has more than one
    element more than another, whatever n is.

    Args:
        number: The rank's number among the members, from 0.
        members: How many there are, a power of two.
        n: The number of elements; it may be smaller than the number of members.
        step: How many halvings are over, from 0 to log2 of `members`.

    Returns:
        A slice with a start and a stop, of `members / 2**step` chunks, among them the own.
    """
    chunks = members >> step
    first = number // chunks * chunks
    return slice(first * n // members, (first + chunks) * n // members)


@exercise("4.4", points=1)
def halving_reduce_scatter(transport: Transport, data: np.ndarray, members: list[int]) -> None:
    """Add up the members' arrays by recursive halving, so that each ends with a part of the sum.

    In step 1, 2, ... number i of the members works with number i XOR p/2, i XOR p/4, ...: it sends
    what the partner keeps, receives what it keeps itself, and adds that. What is kept is the
    `halving_window` after the step.

    Args:
        transport: This rank's place; it is one of the members.
        data: [n], C-contiguous; the same n and dtype on all members. It is changed: the last window
            holds the sum, the rest what came by.
        members: The ranks that take part, a power of two, the same list on all of them.
    """
    n, p, me = len(data), len(members), members.index(transport.rank)
    arrived = np.empty(n - n // 2, data.dtype)
    for step in range(1, p.bit_length()):
        partner = me ^ (p >> step)
        mine, theirs = halving_window(me, p, n, step), halving_window(partner, p, n, step)
        part = arrived[: mine.stop - mine.start]
        transport.sendrecv(data[theirs], members[partner], part, members[partner])
        data[mine] += part


@exercise("4.4", points=1)
def doubling_all_gather(transport: Transport, data: np.ndarray, members: list[int]) -> None:
    """Gather the parts of the sum by recursive doubling: the same exchanges, the last one first.

    Args:
        transport: This rank's place; it is one of the members.
        data: [n], C-contiguous, of which the last `halving_window` is complete. It is filled.
        members: The ranks that take part, a power of two, the same list on all of them.
    """
    n, p, me = len(data), len(members), members.index(transport.rank)
    for step in reversed(range(1, p.bit_length())):
        partner = me ^ (p >> step)
        mine, theirs = halving_window(me, p, n, step), halving_window(partner, p, n, step)
        transport.sendrecv(data[mine], members[partner], data[theirs], members[partner])


@exercise("4.4", points=1)
def halving_doubling_allreduce(transport: Transport, data: np.ndarray) -> np.ndarray:
    """The sum of all ranks' arrays, the same on every rank, bit for bit; for large arrays.

    Fold, reduce-scatter, all-gather, unfold.

    Args:
        transport: This rank's place.
        data: Of any shape, also empty, not contiguous, or of integers; it is not changed.

    Returns:
        A new C-contiguous array of the same shape and dtype.
    """
    total = np.array(data, order="C", copy=True)
    flat = total.reshape(-1)
    members = fold(transport, flat)
    if transport.rank in members:
        halving_reduce_scatter(transport, flat, members)
        doubling_all_gather(transport, flat, members)
    unfold(transport, flat)
    return total
