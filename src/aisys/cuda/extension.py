"""Kernels on a GPU the second way: compiled by nvcc ahead, as an extension of PyTorch.

The text of a kernel and a generated part for the host become one library. Loaded, it registers an
operator for each kernel, on PyTorch's stable ABI (PyTorch documentation, "LibTorch Stable ABI"),
which launches the kernel on PyTorch's current stream with the tensors' pointers. The library is
compiled and loaded without a GPU, too; only a launch needs one. CuPy is not needed.
"""

import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisys.course.compiling import Built, compile_shared, find_compiler
from aisys.course.errors import CourseError

from . import gpu
from .emulator.lexing import KernelSource, SourceError, read_source
from .nvidia import find_nvcc, why_no_nvcc

TORCH = Path(torch.__file__).parent
OLDEST_TORCH = "0x020a000000000000"
"""2.10: a library runs on this version of PyTorch and on every later one."""
ARCHITECTURES = ("sm_80", "sm_90")
"""What is compiled for where no GPU says what it is: the A100 and the H100."""
SECONDS = 60
"""CPU time that nvcc and its helpers may take each."""
SCALAR_TYPES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "int8": "Char", "int16": "Short",
    "int32": "Int", "int64": "Long", "uint8": "Byte", "uint16": "UInt16", "uint32": "UInt32",
    "uint64": "UInt64", "bool": "Bool",
}  # fmt: skip
"""PyTorch's names in C++ of NumPy's types."""


def why_not() -> str:
    """`""` where extensions can be compiled and run, otherwise what is missing."""
    if why_no_nvcc():
        return why_no_nvcc()
    if torch.version.cuda is None:
        return (
            "This PyTorch was built without CUDA; https://pytorch.org/get-started names the one "
            "for your GPU."
        )
    return "" if torch.cuda.is_available() else "PyTorch finds no GPU."


def architectures() -> tuple[str, ...]:
    """The architecture of the GPU here, such as `"sm_90"`; without one, ARCHITECTURES."""
    if not torch.cuda.is_available():
        return ARCHITECTURES
    major, minor = torch.cuda.get_device_capability()
    return (f"sm_{major}{minor}",)


def build(source: str, targets: Sequence[str] = ()) -> Built:
    """Compile the kernels of a text as an extension, or find the result of an earlier time.

    Args:
        source: CUDA C++; templates in it get no operator.
        targets: Architectures; empty: those of `architectures`.

    Raises:
        SourceError: The text holds what the course's kernels may not, or a kernel takes what no
            operator can give it.
        CompileError: nvcc does not take the text; the message names the line.
        CourseError: There is no nvcc, or no C++ compiler for the host's part.
    """
    files = {"operators.cpp": operators(source), "kernel.cu": source, "table.cu": _table(source)}
    header = Path(__file__).parent / "extension.h"
    files[header.name] = header.read_text(encoding="utf-8")
    nvcc = find_nvcc()
    if nvcc is None:
        raise CourseError(why_no_nvcc())
    find_compiler()
    codes = [
        f"-gencode=arch={target.replace('sm', 'compute')},code={target}"
        for target in targets or architectures()
    ]
    options = [
        "-std=c++17", "-cudart=static", *codes, f"-DTORCH_TARGET_VERSION={OLDEST_TORCH}",
        f"-I{TORCH / 'include'}",
    ]  # fmt: skip
    # PyTorch's libraries are named as needed though nothing that must be found comes from some.
    needed = ["-Xlinker", "--no-as-needed", f"-L{TORCH / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    return compile_shared(
        files, options, ["table.cu", *needed], SECONDS, (str(nvcc), "-Xcompiler", "-fPIC")
    )


def load(built: Built) -> Any:
    """The operators of a library, a namespace of `torch.ops`; a library is loaded once.

    Each is called `(grid, block, shared_bytes, *arguments)`: three sizes, three sizes, bytes, and
    what the kernel takes, with tensors for pointers. It does not wait for the kernel.
    """
    if built.path not in _loaded:
        torch.ops.load_library(str(built.path))
        _loaded.add(built.path)
    return getattr(torch.ops, built.namespace)


class Module(gpu.Module):
    """The kernels of one source, compiled by nvcc; see `gpu.Module`."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._operators: Any = None

    def why_not(self) -> str:
        """`""` where kernels can be compiled and run so, otherwise what is missing."""
        return why_not()

    def compile(self, name: str) -> gpu.Function:
        """Compile the source; raises SourceError for a template, CompileError and the like."""
        if "<" in name or self._read.kernels[name].is_template:
            raise SourceError(f'`{name}` is a template, which `compiler="nvcc"` does not launch.')
        if self._operators is None:
            self._operators = load(build(self.source))
        return _ByTorch(getattr(self._operators, name))


def operators(source: str) -> str:
    """The host's part of an extension in C++: the operators, without the kernels.

    Raises:
        SourceError: See `build`.
    """
    parts, schemas = [], []
    for number, kernel in enumerate(_kernels(source)):
        taken = [_Parameter.of(kernel, *each) for each in _parameters(kernel)]
        declared = "".join(f",\n    {each.declaration}" for each in taken)
        given = "\n".join(f"  launch.{each.step};" for each in taken)
        parts.append(
            f"static void launch_{number}(\n"
            "    std::vector<int64_t> grid, std::vector<int64_t> block, int64_t shared_bytes"
            f"{declared}) {{\n"
            f'  Launch launch("{kernel.name}", {number}, grid, block, shared_bytes);\n'
            f"{given}\n  launch.start();\n}}\n"
        )
        names = "".join(f", {each.schema(i)}" for i, each in enumerate(taken))
        schema = f"{kernel.name}(int[] grid, int[] block, int shared_bytes{names}) -> ()"
        schemas.append((kernel.name, number, schema))
    definitions = "".join(f'  library.def("{schema}");\n' for _, _, schema in schemas)
    # One implementation for every device: it says what it thinks of tensors on the CPU.
    registered = "".join(
        f'  library.impl("{name}", TORCH_BOX(&launch_{number}));\n' for name, number, _ in schemas
    )
    return "\n".join(
        [
            '#include "extension.h"\n',
            *parts,
            f"STABLE_TORCH_LIBRARY_FRAGMENT(AISYS_NAMESPACE, library) {{\n{definitions}}}\n",
            "STABLE_TORCH_LIBRARY_IMPL(AISYS_NAMESPACE, CompositeExplicitAutograd, library) {\n"
            f"{registered}}}\n",
        ]
    )


_loaded: set[Path] = set()


@dataclass(frozen=True)
class _Parameter:
    """A kernel's parameter: its C++ type, and PyTorch's; of a pointer, those of the elements."""

    name: str
    kind: str
    scalar_type: str
    is_pointer: bool
    is_const: bool

    @classmethod
    def of(cls, kernel: KernelSource, name: str, kind: str) -> "_Parameter":
        words = kind.split()
        stars, element = words.count("*"), gpu.element_of(kind)
        dtype = np.dtype(gpu.SCALARS[element]).name if element in gpu.SCALARS else ""
        if not dtype or stars > 1 or (stars == 0 and dtype == "float16"):
            raise SourceError(
                f"Line {kernel.line}: `{name}` of {kernel.name} is {kind}; an operator passes "
                "pointers to numbers, and numbers."
            )
        return cls(name, element, SCALAR_TYPES[dtype], stars == 1, "const" in words)

    @property
    def given(self) -> str:
        """What an operator takes for it, in C++."""
        if self.is_pointer:
            return "Tensor"
        if self.scalar_type == "Bool":
            return "bool"
        return "double" if self.scalar_type in ("Float", "Double") else "int64_t"

    @property
    def declaration(self) -> str:
        return f"{self.given} {self.name}_"  # `_`: the text may call something `launch`

    @property
    def step(self) -> str:
        """The call of `Launch` that looks at it and passes it."""
        if self.is_pointer:
            return f'array("{self.name}", {self.name}_, ScalarType::{self.scalar_type})'
        return f'number<{_NUMBERS[self.scalar_type]}>("{self.name}", {self.name}_)'

    def schema(self, number: int) -> str:
        """Its part of the schema; the number tells apart what the kernel writes to."""
        # What is a word of Python's or one of the operator's own is no name there.
        is_free = not keyword.iskeyword(self.name) and self.name not in _OWN
        name = self.name if is_free else f"{self.name}_"
        if self.is_pointer:
            return f"Tensor {name}" if self.is_const else f"Tensor(a{number}!) {name}"
        return f"{ {'double': 'float', 'int64_t': 'int', 'bool': 'bool'}[self.given] } {name}"


_OWN = ("grid", "block", "shared_bytes")
_NUMBERS = {
    "Float": "float", "Double": "double", "Char": "int8_t", "Short": "int16_t", "Int": "int32_t",
    "Long": "int64_t", "Byte": "uint8_t", "UInt16": "uint16_t", "UInt32": "uint32_t",
    "UInt64": "uint64_t", "Bool": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class _ByTorch:
    """A kernel that an operator of PyTorch launches."""

    call: Any

    def on_gpu(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value if value.is_cuda else value.detach().cuda()
        if isinstance(value, np.ndarray):
            return torch.tensor(value, device="cuda")
        return torch.from_dlpack(value)  # of CuPy

    def run(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Any], shared_bytes: int
    ) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        numbers = [each.item() if isinstance(each, np.generic) else each for each in arguments]
        with torch.no_grad():
            begin.record()
            self.call(list(grid), list(block), shared_bytes, *numbers)
            end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def copy_back(self, array: Any, value: Any) -> None:
        if isinstance(value, Tensor):
            value.detach().copy_(array)
        elif isinstance(value, np.ndarray):
            value[...] = array.cpu().numpy()


def _kernels(source: str) -> list[KernelSource]:
    """The kernels that get an operator: those that are no templates."""
    found = [each for each in read_source(source).kernels.values() if not each.is_template]
    for kernel in found:
        if keyword.iskeyword(kernel.name):
            raise SourceError(
                f"Line {kernel.line}: an operator cannot be called `{kernel.name}`, a word of "
                "Python's; give the kernel another name."
            )
    return found


def _parameters(kernel: KernelSource) -> list[tuple[str, str]]:
    return list(zip(kernel.parameters, kernel.types, strict=True))


def _table(source: str) -> str:
    """What nvcc compiles: the text, and behind it where its kernels are found by number."""
    names = "".join(f"\n    (const void *){kernel.name}," for kernel in _kernels(source))
    return (
        '#include "kernel.cu"\n\n'
        '__attribute__((visibility("hidden"))) const void *aisys_kernel(int number) {\n'
        f"  static const void *const kernels[] = {{{names}\n    nullptr}};\n"
        "  return kernels[number];\n}\n"
    )
