"""Transposing a matrix three times over, and what an access of a warp costs.

The kernels' texts stand beside this module. `sectors_and_passes` is the arithmetic behind the
emulator's counts (NVIDIA, "CUDA C++ Best Practices Guide", on coalesced access and on shared
memory's banks).
"""

from collections.abc import Sequence

from aisys.course import exercise, text_exercise

transpose_naive = text_exercise(
    "3.3", "transpose_naive", "transpose_naive.cu", points=1, language="cuda"
)


@exercise("3.3", points=2)
def sectors_and_passes(offsets: Sequence[int | None]) -> tuple[int, int]:
    """What it costs if the lanes of a warp touch a 4-byte number each, with one instruction.

    Global memory comes in *sectors* of 32 bytes, which begin at multiples of 32: each sector that
    any lane touches is moved once. Shared memory is in 32 *banks*; bank b holds the 4-byte words
    b, b + 32, b + 64, and so on. In one *pass* a bank serves one word, to all lanes that want it.

    Args:
        offsets: For each lane, the bytes from the beginning of the array to its number, a multiple
            of 4; None for a lane that takes no part. The array begins where a sector begins.

    Returns:
        The sectors that are moved if the array lies in global memory, and the passes that are made
        if it lies in shared memory; for a warp with no active lane 0 and 0.
    """
    active = [offset for offset in offsets if offset is not None]
    sectors = {offset // 32 for offset in active}
    words = {offset // 4 for offset in active}
    banks = [word % 32 for word in words]
    return len(sectors), max((banks.count(bank) for bank in banks), default=0)


transpose_tiled = text_exercise(
    "3.3", "transpose_tiled", "transpose_tiled.cu", points=2, language="cuda"
)
transpose_padded = text_exercise(
    "3.3", "transpose_padded", "transpose_padded.cu", points=3, language="cuda"
)

BLOCKS = {"transpose_naive": (32, 8), "transpose_tiled": (32, 32), "transpose_padded": (32, 8)}
"""The threads of a block, in x and y, that each kernel is launched with."""
COVERED = {"transpose_naive": (32, 8), "transpose_tiled": (32, 32), "transpose_padded": (32, 32)}
"""The columns and rows of input that a block of each kernel moves."""


def grid_of(kernel: str, rows: int, columns: int) -> tuple[int, int]:
    """The blocks, in x and y, that a kernel needs for a matrix [rows, columns]."""
    wide, high = COVERED[kernel]
    return -(-columns // wide), -(-rows // high)
