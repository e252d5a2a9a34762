"""Fingerprints of programs.

Schleimer, Wilkerson and Aiken: Winnowing: local algorithms for document fingerprinting, SIGMOD
2003. Every run of `RUN` tokens is hashed; of each `WINDOW` neighbouring hashes the least is kept as
a fingerprint. So two texts that share RUN + WINDOW - 1 tokens in a row share a fingerprint, and
nothing shorter than RUN counts. What the skeleton has too is no fingerprint.

copydetect does this for folders of files. It compares every pair by itself (with twenty exercises
of a thousand students ten million comparisons) and knows no rarity, which is what tells a copy of a
short exercise from a coincidence; so it does not serve here.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .tokens import tokens

RUN, WINDOW = 10, 6

_ODD = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.array([pow(int(_ODD), place, 2**64) for place in range(RUN)], np.uint64)
_NONE = np.uint64(2**64 - 1)


def run_hashes(text: str, language: str = "python") -> np.ndarray:
    """The hash of every run of `RUN` tokens, `[tokens - RUN + 1]`; the same in every process."""
    sequence = tokens(text, language).astype(np.uint64)
    if len(sequence) < RUN:
        return np.zeros(0, np.uint64)
    hashes = sliding_window_view(sequence, RUN) @ _POWERS
    # Bits are mixed, so that the least hash of a window is any of them.
    hashes = (hashes ^ (hashes >> np.uint64(29))) * _ODD
    return np.asarray(hashes ^ (hashes >> np.uint64(32)), np.uint64)


def fingerprints(text: str, skeleton: np.ndarray, language: str = "python") -> np.ndarray:
    """A text's fingerprints, each once, sorted.

    Args:
        text: The program.
        skeleton: The hashes of the skeleton's runs.
        language: The language of both.
    """
    hashes = run_hashes(text, language)
    if not len(hashes):
        return hashes
    hashes = np.where(np.isin(hashes, skeleton), _NONE, hashes)
    least = np.unique(sliding_window_view(hashes, min(WINDOW, len(hashes))).min(axis=1))
    return least[least != _NONE]
