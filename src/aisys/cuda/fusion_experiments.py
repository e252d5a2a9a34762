"""What 3.2's experiments measure: GELU by operators and as one kernel, and what a model says."""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from aisys.course.errors import CourseError

from . import array_module, counted
from .array_module import Machine
from .counted import Operation, counting
from .devices import launch
from .gpus import GPUS

A100 = Machine(4e-6, GPUS["A100"].bandwidth, GPUS["A100"].flops)
"""The overhead is an assumption of the
right size: Gray, "Getting Started with CUDA Graphs" (NVIDIA Developer Blog, 2019), measures 3.8
microseconds for each of many short kernels on a V100, launched without waiting in between."""
BLOCK = 256


@dataclass(frozen=True)
class Timed:
    """The time of GELU on arrays of one size, in seconds; 0 where it was not measured."""

    elements: int
    separate: float
    fused: float = 0.0


def operations_of_gelu(elements: int) -> list[Operation]:
    """What `gelu` launches for an array of float32, counted.

    Raises:
        CourseError: It launches nothing.
    """
    x = counted.asarray(np.ones(elements, np.float32))
    with counting() as operations:
        array_module.gelu(x)
    if not operations:
        raise CourseError("gelu launched nothing: does it work on the array's own module?")
    return operations


def fused_bytes(elements: int) -> int:
    """What `gelu_fused` reads and writes, in bytes, counted by the emulator."""
    x, y = np.ones((2, elements), np.float32)
    return launch(array_module.gelu_fused, 4, BLOCK, x, y, elements).global_bytes


def time_numpy(sizes: Sequence[int]) -> list[Timed]:
    """The time of `gelu` on arrays of NumPy, on this CPU."""
    found = []
    for elements in sizes:
        x = np.linspace(-3, 3, elements, dtype=np.float32)
        rounds = int(np.clip(10**6 // elements, 5, 300))
        found.append(Timed(elements, _median(partial(array_module.gelu, x), rounds)))
    return found


def time_cupy(sizes: Sequence[int], rounds: int = 21) -> list[Timed]:
    """The time of `gelu` on arrays of CuPy and of `gelu_fused`, on a GPU, in its own clock."""
    cupy = importlib.import_module("cupy")
    found = []
    for elements in sizes:
        x = cupy.linspace(-3, 3, elements, dtype=cupy.float32)
        y = cupy.empty_like(x)
        grid = _grid(elements)
        separate, fused = [], []
        for _ in range(rounds + 1):
            separate.append(_device_seconds(cupy, partial(array_module.gelu, x)))
            fused.append(
                launch(array_module.gelu_fused, grid, BLOCK, x, y, elements, device="gpu").seconds
            )
        found.append(Timed(elements, statistics.median(separate[1:]), statistics.median(fused[1:])))
    return found


def _device_seconds(cupy: Any, call: Callable[[], object]) -> float:
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(begin, end) / 1000


def _grid(elements: int) -> int:
    """A thread an element, and at most as many blocks as a large GPU holds."""
    return max(1, min(-(-elements // BLOCK), 2048))


def _median(call: Callable[[], object], rounds: int) -> float:
    times = []
    for turn in range(rounds + 2):
        start = time.perf_counter()
        call()
        if turn >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)
