"""What goes around a compressor: the memory of what it loses, and the way of payloads to all ranks.

Error feedback is of Seide et al. (Interspeech 2014); that SGD then converges as if nothing were
lost was shown by Stich, Cordonnier and Jaggi, "Sparsified SGD with memory" (NeurIPS 2018), and
Karimireddy et al., "Error feedback fixes SignSGD" (ICML 2019).
"""

import numpy as np

from aisys.allreduce.compression import Compressor, Float16
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course import exercise


class ErrorFeedback:
    """A compressor that sends later what another one loses now.

    Each rank, and each array that it sends step after step, has one of its own.

    Args:
        compressor: The one that loses something.
        n: The number of elements of each gradient.

    Attributes:
        compressor: As given.
        residual: What was lost so far and not sent yet, float32 [n].
    """

    def __init__(self, compressor: Compressor, n: int) -> None:
        self.compressor = compressor
        self.residual = np.zeros(n, np.float32)

    @exercise("4.6", points=1)
    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """Compress a gradient together with what was lost before, and keep what is lost now.

        So the sum of what was sent, and the residual, are the sum of all gradients. A gradient that
        the compressor refuses leaves the residual as it was.

        Args:
            gradient: float32 [n]; it is not changed.

        Returns:
            The compressor's payload.

        Raises:
            ValueError: The compressor refuses what it is given.
        """
        wanted = gradient + self.residual
        payload = self.compressor.compress(wanted)
        self.residual = wanted - self.compressor.decompress(payload, len(wanted))
        return payload

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """As the compressor does it: the residual has no part in it."""
        return self.compressor.decompress(payload, n)


@exercise("4.6", points=1)
def gather_payloads(transport: Transport, payload: np.ndarray) -> list[np.ndarray]:
    """Give every rank the payloads of all ranks, which may differ in length.

    A receiver has to know how long a message is before it comes. So the lengths travel first, as
    int64, then the payloads, and no payload is sent longer than it is. Each payload is sent once
    for each other rank, and no more often: by its own rank, or passed on from rank to rank.

    Args:
        transport: This rank's place.
        payload: uint8 [bytes], also of length 0.

    Returns:
        The payloads of ranks 0, 1, 2, ..., the own one among them.
    """
    rank, world_size = transport.rank, transport.world_size
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    lengths = np.zeros(world_size, np.int64)
    lengths[rank] = len(payload)
    for step in range(world_size - 1):
        sent, received = (rank - step) % world_size, (rank - step - 1) % world_size
        arriving = lengths[received : received + 1]
        transport.sendrecv(lengths[sent : sent + 1], after, arriving, before)
    payloads = [np.empty(length, np.uint8) for length in lengths]
    payloads[rank] = payload
    for step in range(world_size - 1):
        sent, received = (rank - step) % world_size, (rank - step - 1) % world_size
        transport.sendrecv(payloads[sent], after, payloads[received], before)
    return payloads


@exercise("4.6", points=0.5)
def allreduce_compressed(
    transport: Transport, gradient: np.ndarray, compressor: Compressor
) -> np.ndarray:
    """The mean of all ranks' gradients as far as their payloads tell, the same on all ranks.

    Payloads cannot be added up, so every rank gets all of them, decompresses all of them, the own
    one too, and adds them up in the order of the ranks: then all ranks have the same, bit for bit.

    Args:
        transport: This rank's place.
        gradient: float32 [n].
        compressor: This rank's; its `compress` is called once, for it may remember something.

    Returns:
        float32 [n].
    """
    payloads = gather_payloads(transport, compressor.compress(gradient))
    total = np.zeros(len(gradient), np.float32)
    for payload in payloads:
        total += compressor.decompress(payload, len(gradient))
    return total / np.float32(transport.world_size)


def allreduce_float16(
    transport: Transport, gradient: np.ndarray, compressor: Compressor | None = None
) -> np.ndarray:
    """The mean of all ranks' gradients, added up in float16 by `ring_allreduce`.

    Every rank divides first, so that the sum does not leave float16's range if no gradient does.
    The additions round, too; error feedback does not see that.

    Args:
        transport: This rank's place.
        gradient: float32 [n].
        compressor: `Float16()`, or error feedback around it; by default the former.

    Returns:
        float32 [n], the same on all ranks, bit for bit.
    """
    half = (compressor or Float16()).compress(gradient / np.float32(transport.world_size))
    return ring_allreduce(transport, half.view(np.float16)).astype(np.float32)
