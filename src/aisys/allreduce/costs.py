"""What a message costs: measured by a ping-pong, fitted by two numbers, and used to choose by.

The model is that of Hockney, "The communication challenge for MPP" (Parallel Computing 20, 1994);
what algorithms cost in it is worked out by Thakur, Rabenseifner and Gropp (2005).
"""

from collections.abc import Callable
from math import floor, sqrt
from time import perf_counter

import numpy as np

from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.transport import Transport
from aisys.course import exercise


@exercise("4.1", points=2)
def ping_pong(
    transport: Transport, nbytes: int, repeats: int, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """The seconds of each of several round trips of a message between ranks 0 and 1.

    Rank 0 sends a message, and rank 1 sends one of the same size back once it has it. One round
    trip comes before those that count: it waits until the other rank is there, and it opens and
    touches what is opened and touched on first use. Nothing else is sent. The clock is read right
    before and right after each round trip. Other ranks do nothing.

    Args:
        transport: This rank's; it has at least two ranks.
        nbytes: The size of each message in bytes, from 0.
        repeats: How many round trips count, from 0.
        clock: Returns the time in seconds.

    Returns:
        On rank 0 the seconds of each round trip that counts, in order; elsewhere an empty list.
    """
    if transport.rank > 1:
        return []
    message = np.zeros(nbytes, np.uint8)
    seconds = []
    for _ in range(1 + repeats):
        before = clock()
        if transport.rank == 0:
            transport.send(message, 1)
            transport.recv(message, 1)
        else:
            transport.recv(message, 0)
            transport.send(message, 0)
        seconds.append(clock() - before)
    return seconds[1:] if transport.rank == 0 else []


@exercise("4.1", points=1)
def one_way_seconds(round_trips: np.ndarray) -> np.ndarray:
    """What one message of each size takes: half of the median of its round trips.

    Args:
        round_trips: Seconds [rounds, sizes]; some of them may be far too long.

    Returns:
        Seconds [sizes].
    """
    return np.median(round_trips, axis=0) / 2


@exercise("4.1", points=2)
def fit_alpha_beta(sizes: np.ndarray, seconds: np.ndarray) -> CostModel:
    """The model alpha + n * beta that fits measured times best, by relative errors.

    It minimises the sum of ((alpha + n * beta - t) / t)^2 over all sizes n and their times t. Each
    size counts alike, the 8 bytes that take microseconds and the megabytes that take milliseconds.

    Args:
        sizes: The bytes of each message, integers [sizes]; at least two of them differ.
        seconds: What each of them took, above 0, [sizes].

    Returns:
        `CostModel(alpha, beta)`.
    """
    rows = np.stack([1 / seconds, sizes / seconds], axis=1)
    alpha, beta = np.linalg.lstsq(rows, np.ones(len(rows)))[0]
    return CostModel(float(alpha), float(beta))


@exercise("4.1", points=1)
def size_for_share(model: CostModel, share: float) -> float:
    """The size of a message that moves its bytes at a given share of the link's bandwidth.

    What a message reaches is its bytes divided by its time; the bandwidth of the link is 1 / beta.
    For a share of one half this is the n_1/2 of Hockney (1994).

    Args:
        model: Of the link.
        share: Above 0 and below 1.

    Returns:
        Bytes; they need not be whole.
    """
    return share / (1 - share) * model.alpha / model.beta


@exercise("4.1", points=1)
def best_pieces(model: CostModel, nbytes: int, hops: int) -> int:
    """Into how many pieces to cut a message that is passed on along a chain of ranks.

    All pieces have the same size (as the model sees it, where a piece need not have whole bytes). A
    rank passes a piece on as soon as it has it, and receives the next one meanwhile. So the last
    rank has the last piece after as many messages, one after another, as there are hops and further
    pieces: hops - 1 + pieces. A piece is a message of its own.

    Args:
        model: Of every link; alpha is above 0.
        nbytes: The whole message in bytes, from 1.
        hops: How often it is passed on, from 1.

    Returns:
        The number of pieces, from 1, with the shortest time.
    """

    def chain_seconds(pieces: int) -> float:
        steps = hops - 1 + pieces
        return model.seconds(steps, steps * nbytes / pieces)

    # (hops - 1 + m) (alpha + n beta / m) has its minimum where m alpha = (hops - 1) n beta / m.
    below = floor(sqrt((hops - 1) * nbytes * model.beta / model.alpha))
    return min(max(1, below), below + 1, key=chain_seconds)
