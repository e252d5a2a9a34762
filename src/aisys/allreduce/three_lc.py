"""3LC: three values an element, five of them in a byte, and one byte for up to seventy zeros.

Lim, Andersen and Kaminsky, "3LC: lightweight and effective traffic compression for distributed
machine learning" (MLSys 2019), section 3. There the five values of a byte come from five parts of
the array; here they are neighbours.
"""

from dataclasses import dataclass

import numpy as np

from aisys.allreduce.compression import check_finite, check_length, joined
from aisys.course import exercise

FIVE = 5
"""Values in a byte: 3 ** 5 = 243 of the 256 numbers that it can be."""

ZEROS = 121
"""The byte of five zeros: digits 1, 1, 1, 1, 1 to the base 3."""

FIRST_RUN, MOST_ZEROS = 243, 14
"""Byte 243 stands for two bytes of zeros, 244 for three, up to 255 for fourteen."""


@exercise("4.6", points=0.5)
def quantise_3lc(gradient: np.ndarray, sparsity: float = 1.0) -> tuple[np.ndarray, float]:
    """Round each element to -1, 0 or 1 times one scale for the whole gradient.

    The scale is the largest magnitude times the sparsity multiplier. An element becomes the one of
    the three whose product with the scale is nearest to it. Where all elements are 0, the scale is
    0, too.

    Args:
        gradient: float32 [n], n from 0.
        sparsity: The multiplier, from 1 to below 2: the larger, the more elements become 0.

    Returns:
        The values, int8 [n], and the scale.

    Raises:
        ValueError: An element is NaN or infinite (`check_finite`).
    """
    check_finite(gradient)
    scale = sparsity * np.float64(np.abs(gradient).max(initial=0))  # may be beyond float32
    values = np.rint(gradient / scale) if scale else np.zeros(len(gradient))
    return values.astype(np.int8), float(scale)


@exercise("4.6", points=0.5)
def pack_3lc(values: np.ndarray) -> np.ndarray:
    """Put five values into each byte: one more than each of them is a digit to the base 3.

    The first of five neighbours is the highest digit: it counts 81, then 27, 9, 3 and 1. The last
    five are filled up with zeros.

    Args:
        values: Each of them -1, 0 or 1; integers [n], n from 0.

    Returns:
        uint8 [ceil(n / 5)], each from 0 to 242.
    """
    digits = np.ones((-(-len(values) // FIVE), FIVE), np.uint8)
    digits.reshape(-1)[: len(values)] = values + 1
    return (digits * np.array([81, 27, 9, 3, 1], np.uint8)).sum(axis=1, dtype=np.uint8)


@exercise("4.6", points=0.5)
def unpack_3lc(packed: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `pack_3lc`.

    Args:
        packed: uint8 [ceil(n / 5)].
        n: How many values there are.

    Returns:
        int8 [n].
    """
    digits = packed[:, None] // np.array([81, 27, 9, 3, 1], np.uint8) % 3
    return digits.reshape(-1)[:n].astype(np.int8) - 1


@exercise("4.6", points=1)
def run_lengths_3lc(packed: np.ndarray) -> np.ndarray:
    """Replace runs of zeros by the byte values that packing leaves over.

    Two to fourteen bytes 121 (five zeros each) that follow each other become one byte, 241 plus
    their number. A longer run becomes several such bytes, as few as possible, the full ones first;
    a single 121 stays.

    Args:
        packed: As from `pack_3lc`: uint8 [bytes], each from 0 to 242.

    Returns:
        uint8, of at most the same length.
    """
    places = np.arange(len(packed))
    is_zeros = packed == ZEROS
    last_other = np.maximum.accumulate(np.where(is_zeros, -1, places))
    place_in_run = places - last_other - 1  # -1 where the byte is another
    starts = np.flatnonzero(~is_zeros | (place_in_run % MOST_ZEROS == 0))
    lengths = np.diff(starts, append=len(packed))
    return np.where(lengths > 1, FIRST_RUN - 2 + lengths, packed[starts]).astype(np.uint8)


@exercise("4.6", points=0.5)
def expand_runs_3lc(encoded: np.ndarray) -> np.ndarray:
    """The inverse of `run_lengths_3lc`.

    Args:
        encoded: uint8 [bytes].

    Returns:
        uint8, each from 0 to 242.
    """
    is_run = encoded >= FIRST_RUN
    lengths = np.where(is_run, encoded.astype(np.int64) - FIRST_RUN + 2, 1)
    return np.repeat(np.where(is_run, np.uint8(ZEROS), encoded), lengths)


@dataclass(frozen=True)
class ThreeLC:
    """The three steps after each other; a payload is the scale, float32, and the bytes.

    Attributes:
        sparsity: The multiplier of `quantise_3lc`.
    """

    sparsity: float = 1.0

    def compress(self, gradient: np.ndarray) -> np.ndarray:
        """From 0.11 bits an element, where nearly all become 0, to 1.6."""
        values, scale = quantise_3lc(gradient, self.sparsity)
        with np.errstate(over="ignore"):
            sent_scale = np.array([scale]).astype(np.float32)
        check_finite(sent_scale)
        return joined(sent_scale, run_lengths_3lc(pack_3lc(values)))

    def decompress(self, payload: np.ndarray, n: int) -> np.ndarray:
        """The values times the scale."""
        packed = expand_runs_3lc(payload[4:])
        check_length("3LC, expanded,", packed, -(-n // FIVE))
        return payload[:4].view(np.float32) * unpack_3lc(packed, n)
