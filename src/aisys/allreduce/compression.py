"""Compressors of gradients: float16, int8, top-k and one bit; each makes bytes of an array.

A compressed gradient, the *payload*, is one array of uint8, made by `joined`; its length in bytes
is what is sent. Three-value quantisation is in `three_lc`; `error_feedback` keeps what compression
loses, and passes payloads between ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aisys.course import exercise

CHUNK = 256
"""Elements that share a scale in int8."""


class Compressor(Protocol):
    """Makes bytes of a gradient, and of these a gradient again, with a loss."""

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """The payload, uint8 [bytes], of a gradient, float32 [n].

        Raises:
            ValueError: An element is NaN or infinite.
        """
        ...

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """What is left of the gradient: float32 [n].

        Raises:
            ValueError: The payload is none of a gradient of n elements.
        """
        ...


def check_finite(values: np.ndarray) -> None:
    """Refuse what a diverged run would send.

    Args:
        values: Of any shape.

    Raises:
        ValueError: One of them is NaN or infinite.
    """
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise ValueError(
            f"{bad:,} of {values.size:,} values to be sent are NaN or infinite: the run has "
            "diverged, and nothing is sent."
        )


def joined(*arrays: np.ndarray) -> np.ndarray:
    """The bytes of several arrays, one after another, as one array of uint8: a payload."""
    return np.concatenate([np.ascontiguousarray(array).view(np.uint8) for array in arrays])


@exercise("4.6", points=1)
def compress_int8(gradient: np.ndarray) -> np.ndarray:
    """Round a gradient to 8 bits an element, with a scale of its own for each 256 elements.

    The scale of a chunk is its largest magnitude divided by 127; an element becomes the whole
    number, from -127 to 127, whose product with the scale is nearest to it. The last chunk may be
    shorter. A chunk of zeros has the scale 0.

    Args:
        gradient: float32 [n], n from 0; it is not changed.

    Returns:
        The payload: the scales, float32 [chunks], then the numbers, int8 [n].

    Raises:
        ValueError: An element is NaN or infinite (`check_finite`).
    """
    check_finite(gradient)
    chunks = -(-len(gradient) // CHUNK)
    padded = np.zeros((chunks, CHUNK), np.float32)
    padded.reshape(-1)[: len(gradient)] = gradient
    scales = np.abs(padded).max(axis=1) / np.float32(127)
    codes = np.rint(padded / np.where(scales > 0, scales, 1)[:, None])
    codes = codes.clip(-127, 127).astype(np.int8)
    return joined(scales, codes.reshape(-1)[: len(gradient)])


@exercise("4.6", points=0.5)
def decompress_int8(payload: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `compress_int8`, up to the rounding.

    Args:
        payload: uint8, as `compress_int8` returns it.
        n: The number of elements; the number of scales follows from it.

    Returns:
        float32 [n].
    """
    chunks = -(-n // CHUNK)
    scales = payload[: 4 * chunks].view(np.float32)
    codes = payload[4 * chunks :].view(np.int8)
    return codes * np.repeat(scales, CHUNK)[:n]


@exercise("4.6", points=1)
def top_k(gradient: np.ndarray, k: int) -> np.ndarray:
    """Keep the k elements of the largest magnitude.

    Args:
        gradient: float32 [n].
        k: How many are kept, from 0 to n. It is exactly k also where elements are equal; then it
            does not matter which.

    Returns:
        The payload: the elements' places, int32 [k], in any order, then the elements themselves,
        float32 [k], in the same order.

    Raises:
        ValueError: An element is NaN or infinite (`check_finite`).
    """
    check_finite(gradient)
    if 0 < k < len(gradient):
        places = np.argpartition(-np.abs(gradient), k)[:k]
    else:
        places = np.arange(k)
    return joined(places.astype(np.int32), gradient[places])


@exercise("4.6", points=1)
def one_bit(gradient: np.ndarray) -> np.ndarray:
    """Keep one bit of each element: whether it is at least 0.

    All elements that are at least 0 are replaced by their mean, all below 0 by theirs. Where there
    are none of a kind, its mean is 0.

    Args:
        gradient: float32 [n].

    Returns:
        The payload: the two means, float32 [2], that of the elements below 0 first; then the bits,
        1 for an element of at least 0, packed by `np.packbits` in its default order.

    Raises:
        ValueError: An element is NaN or infinite (`check_finite`).

    Source:
        Seide, Fu, Droppo, Li and Yu, "1-bit stochastic gradient descent and its application to
        data-parallel distributed training of speech DNNs" (Interspeech 2014), section 3.2.
    """
    check_finite(gradient)
    bits = gradient >= 0
    means = np.zeros(2, np.float32)
    for kind in (0, 1):
        members = gradient[bits == kind]
        if len(members):
            means[kind] = members.mean(dtype=np.float64)
    return joined(means, np.packbits(bits))


@dataclass(frozen=True)
class Float16:
    """Half precision (Micikevicius et al., "Mixed precision training", ICLR 2018).

    A payload of it is the only one here that is also a number an element: viewed as float16 it can
    be added up.
    """

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """Two bytes an element; what is beyond float16's 65,504 is refused as infinite."""
        with np.errstate(over="ignore"):
            half = gradient.astype(np.float16)
        check_finite(half)
        return joined(half)

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """The elements, in float32."""
        check_length("float16", payload, 2 * n)
        return payload.view(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Int8:
    """One byte an element and four a chunk."""

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """As `compress_int8`."""
        return compress_int8(gradient)

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """As `decompress_int8`."""
        check_length("int8", payload, n + 4 * -(-n // CHUNK))
        return decompress_int8(payload, n)


@dataclass(frozen=True)
class TopK:
    """The largest elements only (Lin et al., "Deep gradient compression", ICLR 2018).

    Attributes:
        share: The share of the elements that is kept; of a gradient that is not empty at least one.
    """

    share: float = 0.01

    def count(self, n: int) -> int:
        """How many of n elements are kept."""
        return min(n, max(1, round(self.share * n)))

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """As `top_k`: eight bytes for each element that is kept."""
        return top_k(gradient, self.count(len(gradient)))

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """The elements at their places, and zeros."""
        k = self.count(n)
        check_length("top-k", payload, 8 * k)
        gradient = np.zeros(n, np.float32)
        gradient[payload[: 4 * k].view(np.int32)] = payload[4 * k :].view(np.float32)
        return gradient


@dataclass(frozen=True)
class OneBit:
    """One bit an element and eight bytes in all."""

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """As `one_bit`."""
        return one_bit(gradient)

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """The mean of its kind for each element."""
        check_length("one-bit", payload, 8 + -(-n // 8))
        return payload[:8].view(np.float32)[np.unpackbits(payload[8:], count=n)]


def check_length(kind: str, payload: np.ndarray, nbytes: int) -> None:
    """Refuse a payload of another length than the format has; raises ValueError."""
    if payload.nbytes != nbytes:
        raise ValueError(
            f"A payload of {payload.nbytes:,} bytes came where {kind} has {nbytes:,}: do all ranks "
            "have the same gradients and the same compressor?"
        )


def lossy(compressor: Compressor) -> Callable[[np.ndarray], np.ndarray]:
    """A function that compresses a gradient and decompresses it again."""
    return lambda gradient: compressor.decompress(compressor.compress(gradient), len(gradient))
