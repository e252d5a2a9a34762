"""One text for NumPy and CuPy, what its launches cost, and the kernel that takes their place."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from aisys.course import exercise, text_exercise

from . import counted
from .counted import Operation

gelu_fused = text_exercise("3.2", "gelu_fused", "gelu_fused.cu", points=1.5, language="cuda")


@dataclass(frozen=True)
class Machine:
    """What a cost model knows of a processor.

    Attributes:
        overhead: Of one launch, in seconds.
        bandwidth: Of the memory, in bytes a second.
        peak: Floating-point operations a second.
    """

    overhead: float
    bandwidth: float
    peak: float


def array_modules() -> list[ModuleType]:
    """The array modules of this process: NumPy, `aisys.cuda.counted`, and CuPy once imported.

    Each has a class `ndarray`, which its arrays are instances of.
    """
    return [np, counted, *filter(None, [sys.modules.get("cupy")])]


@exercise("3.2", points=1)
def get_array_module(*arrays: Any) -> ModuleType:
    """The module whose functions work on these arrays, so that code is written once for all.

    `cupy.get_array_module` does the same, but takes CuPy as soon as one array is CuPy's; whatever
    is NumPy's then fails later, inside some operator.

    Args:
        arrays: Arrays of the modules in `array_modules()`, and numbers (of Python or of NumPy),
            which go with the arrays of every module.

    Returns:
        The one module that the arrays are of; NumPy where there are numbers only, or nothing.

    Raises:
        TypeError: The arrays are of different modules, or an argument is neither array nor number.
    """
    found: list[ModuleType] = []
    for array in arrays:
        module = next((m for m in array_modules() if isinstance(array, m.ndarray)), None)
        if module is not None:
            found.append(module)
        elif not isinstance(array, int | float | np.generic):
            raise TypeError(f"expected arrays and numbers; {type(array).__name__} came.")
    names = sorted({module.__name__ for module in found})
    if len(names) > 1:
        raise TypeError(f"these arrays are of {' and '.join(names)}; copy them to one of the two.")
    return found[0] if found else np


@exercise("3.2", points=1.5)
def gelu(x: Any) -> Any:
    """GELU in its form with tanh, for an array of any module, by operators of that module.

    GELU(x) = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, 2016).

    Args:
        x: An array of floats of any module, of any shape. It is not changed.

    Returns:
        An array of the same module, shape and dtype, computed in at most ten launches. (A number
        of NumPy's type float64, as `np.sqrt` returns one, makes float32 arrays float64.)
    """
    xp = get_array_module(x)
    root = 0.7978845608028654  # sqrt(2 / pi), as a Python number: it takes the array's dtype
    inner = x * (root + root * 0.044715 * (x * x))
    return 0.5 * x * (1 + xp.tanh(inner))


@exercise("3.2", points=1.5)
def fusion_gain(
    operations: Sequence[Operation], fused_bytes: int, machine: Machine
) -> dict[str, float | str]:
    """What becomes of the time when one kernel takes the place of several.

    The model of a launch: it takes `machine.overhead`, and after that the longer of two times, that
    of its bytes at `machine.bandwidth` and that of its operations at `machine.peak` (the roofline
    of Lab 1). Launches follow one another. The fused kernel does all their operations and moves
    `fused_bytes`: what the operators handed on in memory stays in registers.

    Args:
        operations: The launches, one or more, with `bytes` and `flops` each.
        fused_bytes: What the fused kernel reads and writes.
        machine: What it runs on.

    Returns:
        `separate` and `fused`, in seconds; `speedup`, the first divided by the second; and `bound`,
        which of the fused kernel's three times is the longest: `"launch"`, `"memory"` or
        `"arithmetic"`.
    """

    def work(moved: int, flops: int) -> float:
        return max(moved / machine.bandwidth, flops / machine.peak)

    flops = sum(each.flops for each in operations)
    separate = sum(machine.overhead + work(each.bytes, each.flops) for each in operations)
    fused = machine.overhead + work(fused_bytes, flops)
    times = {
        "launch": machine.overhead,
        "memory": fused_bytes / machine.bandwidth,
        "arithmetic": flops / machine.peak,
    }
    bound = max(times, key=lambda name: times[name])
    return {"separate": separate, "fused": fused, "speedup": separate / fused, "bound": bound}
