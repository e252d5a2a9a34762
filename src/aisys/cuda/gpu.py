"""Kernels on a GPU: compiled by NVRTC and launched through CuPy, called as on the emulator.

Arrays of NumPy and PyTorch tensors on the CPU are copied to the GPU and back, as the emulator does;
CuPy's arrays and tensors on the GPU stay where they are. NVRTC: NVIDIA, "NVRTC: CUDA Runtime
Compilation". The other way to a GPU, nvcc, is in `extension`; what is called is the same.
"""

import functools
import importlib
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aisys.course.errors import CourseError

from .emulator import KernelFault, Launch
from .emulator.kernel import three
from .emulator.lexing import KernelSource, SourceError, read_source
from .nvidia import compile_error

SCALARS = {
    "float": np.float32, "double": np.float64, "int": np.int32, "unsigned": np.uint32,
    "unsigned int": np.uint32, "long long": np.int64, "unsigned long long": np.uint64,
    "size_t": np.uint64, "int64_t": np.int64, "uint64_t": np.uint64, "int32_t": np.int32,
    "uint32_t": np.uint32, "bool": np.bool_, "char": np.int8, "unsigned char": np.uint8,
    "short": np.int16, "unsigned short": np.uint16, "half": np.float16, "__half": np.float16,
}  # fmt: skip
STATIC_SHARED = 48 << 10
"""So much shared memory of a block, in bytes, needs no attribute of the kernel."""


@functools.cache
def why_no_gpu() -> str:
    """`""` where kernels can run on a GPU here, otherwise what is missing and how to get it."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return (
            "CuPy, which would launch kernels on a GPU, is not installed. With an NVIDIA GPU whose "
            "driver is for CUDA 13: `pip install 'cupy-cuda13x[ctk]'`."
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"CuPy finds no GPU: {str(error).splitlines()[0]}"
    return "" if count else "CuPy finds no GPU."


def has_gpu() -> bool:
    """Whether kernels can run on a GPU here."""
    return not why_no_gpu()


class Function(Protocol):
    """A compiled kernel on the GPU; arrays are those of the library that launches it."""

    def on_gpu(self, value: Any) -> Any:
        """An array on the GPU: the value itself where it lies there, otherwise a copy."""

    def run(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any], shared_bytes: int
    ) -> float:
        """Launch the kernel, wait for its end, and return its time in seconds."""

    def copy_back(self, array: Any, value: Any) -> None:
        """Write a copy's elements to where they came from."""


class Module:
    """The kernels of one source, on the GPU.

    Args:
        source: CUDA C++; what the emulator refuses is refused here, too.

    Raises:
        SourceError: The source has no kernel, or holds what the course's kernels may not.
        CourseError: There is no GPU here; the message says what is missing.
    """

    def __init__(self, source: str) -> None:
        missing = self.why_not()
        if missing:
            raise CourseError(f'There is no device "gpu" here. {missing}')
        self.source = source
        self._read = read_source(source)
        self._compiled: dict[str, Function] = {}

    def why_not(self) -> str:
        """`""` where kernels can be compiled and run so, otherwise what is missing."""
        return why_no_gpu()

    def compile(self, name: str) -> Function:
        """Compile a kernel of the source; raises CompileError."""
        return _ByCuPy(_compile(self.source, name))

    @property
    def kernels(self) -> list[str]:
        """The names of the kernels; of templates, those without arguments."""
        return list(self._read.kernels)

    def __getitem__(self, name: str) -> "Kernel":
        base = name.partition("<")[0]
        if base not in self._read.kernels:
            there = ", ".join(self._read.kernels)
            raise SourceError(f"There is no kernel `{name}`; the kernels are {there}.")
        if name not in self._compiled:
            self._compiled[name] = self.compile(name)
        return Kernel(self._read.kernels[base], name, self._compiled[name])

    def __getattr__(self, name: str) -> "Kernel":
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def close(self) -> None:
        """Nothing: the emulator's modules have a process to end."""


@dataclass(frozen=True)
class Kernel:
    """One kernel on the GPU; `kernel[grid, block]` is ready to be called."""

    declared: KernelSource
    name: str
    function: Function

    def __getitem__(self, shape: tuple[Any, Any]) -> "Configured":
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise CourseError(f"A launch is written {self.name}[grid, block](...), with two sizes.")
        return Configured(self, three("grid", shape[0]), three("block", shape[1]))


@dataclass(frozen=True)
class Configured:
    """A kernel with its grid and block."""

    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]

    def __call__(self, *arguments: Any, shared_bytes: int = 0) -> Launch:
        """Run the kernel, wait for it, and return its time; see the emulator's `Configured`."""
        declared, name, function = self.kernel.declared, self.kernel.name, self.kernel.function
        if len(arguments) != len(declared.types):
            wanted = ", ".join(map(" ".join, zip(declared.types, declared.parameters, strict=True)))
            raise CourseError(
                f"{name} takes {len(declared.types)} arguments ({wanted}); {len(arguments)} came."
            )
        passed, copied = [], []
        for parameter, kind, value in zip(
            declared.parameters, declared.types, arguments, strict=True
        ):
            if "*" in kind.split():
                require_array(name, parameter, kind, value)
                array = function.on_gpu(value)
                passed.append(array)
                if "const" not in kind.split() and array is not value:
                    copied.append((array, value))
            else:
                passed.append(scalar(name, parameter, kind, value))
        try:
            seconds = function.run(self.grid, self.block, passed, shared_bytes)
            for array, value in copied:
                function.copy_back(array, value)
        except CourseError:
            raise
        except Exception as error:
            said = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            raise KernelFault(
                name, "gpu", 0,
                f'the GPU did not run it to its end ({said}); `device="emulator"` says in which '
                "line and why. After an illegal access nothing runs on the GPU until this process "
                "is started again: restart the notebook's kernel",
            ) from None  # fmt: skip
        return Launch(name, self.grid, self.block, shared_bytes=shared_bytes, seconds=seconds)


def element_of(kind: str) -> str:
    """What a pointer points to, without qualifiers: `"float"` of `"const float * __restrict__"`."""
    left_out = ("*", "const", "signed", "__restrict__", "__restrict", "volatile")
    return " ".join(word for word in kind.split() if word not in left_out)


def require_array(kernel: str, parameter: str, kind: str, value: Any) -> None:
    """Refuse what a pointer cannot be given: no array, other elements, gaps between them.

    Args:
        kernel: The kernel's name.
        parameter: The parameter's.
        kind: Its type.
        value: What came: an array of NumPy or CuPy, or a tensor.

    Raises:
        CourseError: See above.
    """
    if not hasattr(value, "dtype") or not hasattr(value, "shape") or isinstance(value, np.generic):
        raise CourseError(
            f"{kernel}: `{parameter}` is a pointer: give it an array; {type(value).__name__} came."
        )
    wanted, found = SCALARS.get(element_of(kind)), str(value.dtype).removeprefix("torch.")
    if wanted is not None and np.dtype(wanted).name != found:
        raise CourseError(
            f"{kernel}: `{parameter}` points to {np.dtype(wanted).name}; the array holds {found}."
        )
    flags = getattr(value, "flags", None)
    if not (value.is_contiguous() if flags is None else flags.c_contiguous):
        raise CourseError(
            f"{kernel}: `{parameter}` must lie in memory row by row: use np.ascontiguousarray, "
            "or .contiguous() of a tensor."
        )
    if "const" not in kind.split() and not getattr(flags, "writeable", True):
        raise CourseError(
            f"{kernel}: the kernel writes to `{parameter}`, and this array is read-only."
        )


def scalar(kernel: str, parameter: str, kind: str, value: Any) -> Any:
    """A number as the type that a kernel declares: a NumPy scalar.

    Raises:
        CourseError: The value is no number, or the type none that a number is passed as.
    """
    words = " ".join(word for word in kind.split() if word not in ("const", "signed"))
    if words not in SCALARS:
        raise CourseError(f"{kernel}: `{parameter}` is {kind}; no value is passed as that.")
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        raise CourseError(f"{kernel}: `{parameter}` is one {kind}; {type(value).__name__} came.")
    return SCALARS[words](value)


def _compile(source: str, name: str) -> Any:
    cupy = importlib.import_module("cupy")
    extern = re.search(r'extern\s+"C"', source) is not None
    options = ("-std=c++17",)
    try:
        if extern:
            return cupy.RawModule(code=source, options=options).get_function(name)
        module = cupy.RawModule(code=source, options=options, name_expressions=(name,))
        return module.get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise compile_error("NVRTC", error.get_message(), source) from None


@dataclass(frozen=True)
class _ByCuPy:
    """A kernel that NVRTC compiled."""

    function: Any

    def on_gpu(self, value: Any) -> Any:
        cupy = importlib.import_module("cupy")
        if isinstance(value, cupy.ndarray):
            return value
        if hasattr(value, "detach"):
            value = value.detach()
            return cupy.from_dlpack(value) if value.is_cuda else cupy.asarray(value.numpy())
        return cupy.asarray(value)

    def run(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any], shared_bytes: int
    ) -> float:
        cupy = importlib.import_module("cupy")
        if shared_bytes > STATIC_SHARED:
            self.function.max_dynamic_shared_size_bytes = shared_bytes
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        self.function(grid, block, tuple(arguments), shared_mem=shared_bytes)
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / 1000

    def copy_back(self, array: Any, value: Any) -> None:
        if hasattr(value, "detach"):
            if not value.is_cuda:
                value.detach().numpy()[...] = array.get()
        elif isinstance(value, np.ndarray):
            value[...] = array.get()
