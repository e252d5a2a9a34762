"""One way to launch a kernel, on the emulator and on a GPU.

`load(text)["name"][grid, block](x, y, n)` does the same on both; the emulator counts and checks,
the GPU is fast.
"""

import functools
from typing import Any

from aisys.course import TextSlot
from aisys.course.errors import CourseError

from . import emulator, extension, gpu

DEVICES = ("emulator", "gpu")
COMPILERS = {"nvrtc": gpu.Module, "nvcc": extension.Module}
"""For a GPU: while the program runs, through CuPy, or ahead, as an extension of PyTorch."""
SECONDS = 3.0
"""CPU time that a launch on the emulator may take."""


def load(
    source: str | TextSlot, device: str = "emulator", checks: str = "all", compiler: str = "nvrtc"
) -> "emulator.Module | gpu.Module":
    """The kernels of a text, compiled; the same text again gives the same module.

    Args:
        source: CUDA C++, or a text exercise: the student's text, otherwise the reference.
        device: `"emulator"` or `"gpu"`.
        checks: Of the emulator: `"all"`, `"counts"` or `"none"`; see `emulator.Module`.
        compiler: For a GPU: `"nvrtc"` or `"nvcc"`; see `COMPILERS`.

    Raises:
        SourceError, CompileError: The text is not taken.
        CourseError: There is no such device or compiler here.
    """
    text = source.as_in_cell if isinstance(source, TextSlot) else source
    if device not in DEVICES:
        raise CourseError(f'`device` is "emulator" or "gpu"; this is {device!r}.')
    if compiler not in COMPILERS:
        raise CourseError(f'`compiler` is "nvrtc" or "nvcc"; this is {compiler!r}.')
    return _emulated(text, checks) if device == "emulator" else _on_gpu(text, compiler)


def launch(
    slot: TextSlot, grid: Any, block: Any, *arguments: Any, shared_bytes: int = 0,
    device: str = "emulator", checks: str = "all", kernel: str | None = None,
    compiler: str = "nvrtc",
) -> emulator.Launch:  # fmt: skip
    """Launch the kernel that a text exercise is named after, or another one of its text.

    Args:
        slot: The text exercise.
        grid: Blocks, a number or up to three.
        block: Threads of a block, a number or up to three.
        arguments: Arrays for pointers, numbers for the rest; arrays are changed in place.
        shared_bytes: Dynamic shared memory of a block, in bytes.
        device: `"emulator"` or `"gpu"`.
        checks: See `load`.
        kernel: The kernel's name, where it is not the exercise's; with template arguments as in
            `"transpose<float, 32>"`.
        compiler: See `load`.

    Returns:
        What was seen of the launch; on a GPU only its time.

    Raises:
        KernelFault: The kernel went wrong; the message says how, and in which line.
    """
    name = kernel or slot.name
    module = _load_for(slot, name, device, checks, compiler)
    return module[name][grid, block](*arguments, shared_bytes=shared_bytes)


def _load_for(slot: TextSlot, name: str, device: str, checks: str, compiler: str) -> Any:
    """The module with a kernel; an instance of a template has its own, which is compiled once."""
    if device == "emulator" and "<" in name:
        return _emulated(slot.as_in_cell, checks, name)
    return load(slot, device, checks, compiler)


@functools.lru_cache(maxsize=32)
def _emulated(text: str, checks: str, *kernels: str) -> emulator.Module:
    return emulator.Module(text, checks, SECONDS, kernels=kernels)


@functools.lru_cache(maxsize=64)
def _on_gpu(text: str, compiler: str) -> gpu.Module:
    return COMPILERS[compiler](text)
