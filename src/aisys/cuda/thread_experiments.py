"""What 3.1's experiments measure: who touches what, and what the size of the grid changes."""

import importlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisys.course.errors import CourseError

from . import threads
from .devices import launch, load
from .emulator import ARCHITECTURES, Launch, occupancy

PIECES = """
__global__ void saxpy_pieces(float a, const float *x, float *y, int n) {
    const int threads = gridDim.x * blockDim.x, piece = (n + threads - 1) / threads;
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * piece;
    for (int i = first; i < first + piece && i < n; ++i) y[i] = a * x[i] + y[i];
}
"""
"""`saxpy` as one would write it for a CPU: every thread takes a piece of neighbouring elements."""


@dataclass(frozen=True)
class Swept:
    """One grid of a sweep.

    Attributes:
        grid: Blocks.
        steps: Of the busiest warp of the first block, on the emulator.
        sectors: Read and written by all, on the emulator.
        seconds: On a GPU, otherwise 0.
    """

    grid: int
    steps: int = 0
    sectors: int = 0
    seconds: float = 0.0


def saxpy_in_pieces(n: int, grid: int, block: int) -> Launch:
    """A launch of `PIECES`."""
    x, y = np.ones((2, n), np.float32)
    return load(PIECES)["saxpy_pieces"][grid, block](2.0, x, y, n)


def line_of(seen: Launch, access: str, array: str) -> int:
    """The first line in which a warp reads or writes an array.

    Raises:
        CourseError: There is none.
    """
    lines = [s.line for s in seen.samples if (s.access, s.array) == (access, array)]
    if not lines:
        raise CourseError(f"The kernel has no {access} of `{array}`.")
    return min(lines)


def sweep(n: int, block: int, grids: Sequence[int]) -> list[Swept]:
    """`saxpy` on n elements with grids of several sizes, counted by the emulator."""
    found = []
    for grid in grids:
        x, y = np.ones((2, n), np.float32)
        seen = launch(threads.saxpy, grid, block, 2.0, x, y, n)
        steps = max(sum(stretch[w] for stretch in seen.timeline) for w in range(block // 32))
        found.append(Swept(grid, steps, seen.total("global").sectors))
    return found


def sweep_on_gpu(n: int, block: int, grids: Sequence[int], rounds: int = 7) -> list[Swept]:
    """The same on a GPU: the median time of a launch, after one for warmth."""
    cupy = importlib.import_module("cupy")
    x, y = (cupy.ones(n, cupy.float32) for _ in range(2))
    found = []
    for grid in grids:
        seconds = [
            launch(threads.saxpy, grid, block, 1e-3, x, y, n, device="gpu").seconds
            for _ in range(rounds + 1)
        ]
        found.append(Swept(grid, seconds=statistics.median(seconds[1:])))
    return found


def this_gpu(block: int) -> tuple[str, int, int]:
    """The GPU's name, its multiprocessors, and how many blocks of this size each has room for."""
    cupy = importlib.import_module("cupy")
    device = cupy.cuda.Device()
    properties: Any = cupy.cuda.runtime.getDeviceProperties(device.id)
    architecture = f"sm_{device.compute_capability}"
    known = architecture if architecture in ARCHITECTURES else "sm_80"
    name = properties["name"].decode()
    return name, int(properties["multiProcessorCount"]), occupancy(known, block).blocks
