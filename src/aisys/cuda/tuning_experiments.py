"""Measuring for 3.8: what tiles move on the emulator, and how long they take on a GPU."""

from collections.abc import Sequence

import numpy as np

from . import matmul
from .gpus import GPU
from .matmul import Tile, multiply, predicted_bytes
from .tuning import choose_tile, predicted_seconds


def counted_traffic(
    tiles: Sequence[Tile], rows: int, inner: int, columns: int
) -> list[tuple[int, int]]:
    """For each tile, the bytes of global memory that the emulator counts, and those predicted."""
    a, b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    found = []
    for tile in tiles:
        _, seen = multiply(matmul.matmul_registers, a, b, tile, checks="counts")
        predicted = predicted_bytes(rows, inner, columns, tile.rows, tile.columns)
        found.append((seen.global_bytes, predicted))
    return found


def predicted_rates(machine: GPU, tile: Tile, sizes: Sequence[int]) -> list[float]:
    """FLOP a second predicted for square matrices of these sizes."""
    return [2 * n**3 / predicted_seconds(machine, tile, n, n, n)["seconds"] for n in sizes]


def choices(machine: GPU, tiles: Sequence[Tile], sizes: Sequence[int]) -> list[Tile]:
    """The tile chosen for square matrices of each of these sizes."""
    return [choose_tile(machine, tiles, n, n, n) for n in sizes]


def measured_seconds(tiles: Sequence[Tile], n: int, rounds: int = 5) -> list[float]:
    """The median time of each tile for n x n matrices on the GPU, taking turns after a warm-up."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, n, n)).astype(np.float32)
    times = np.empty((rounds + 1, len(tiles)))
    for turn in range(rounds + 1):
        for number, tile in enumerate(tiles):
            _, seen = multiply(matmul.matmul_registers, a, b, tile, device="gpu")
            times[turn, number] = seen.seconds
    return [float(each) for each in np.median(times[1:], axis=0)]
