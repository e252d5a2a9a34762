"""The operator in C++: its texts, how they are compiled, and what makes it PyTorch's own.

The texts stand beside this module. `gelu_rows`, `blocked_product` and `scale_and_sum` are plain
C++; `linear_gelu` puts the first and the last together into an operator on PyTorch's stable ABI.
"""

import ctypes
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aisys.course import TextSlot, text_exercise
from aisys.course.compiling import Built, compile_shared, compiler_version, find_compiler

gelu_rows = text_exercise("2.7", "gelu_rows", "gelu_rows.cpp", points=2, language="cpp")
blocked_product = text_exercise(
    "2.7", "blocked_product", "blocked_product.cpp", points=3, language="cpp"
)
scale_and_sum = text_exercise("2.7", "scale_and_sum", "scale_and_sum.cpp", points=1, language="cpp")
linear_gelu = text_exercise("2.7", "linear_gelu", "linear_gelu.cpp", points=3, language="cpp")

NATIVE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
OPTIMISE = (
    "-std=c++17",
    "-O2",
    # Of -O3 what makes vectors.
    "-ftree-vectorize",
    "-funswitch-loops",
    NATIVE,
    # No function sets errno, no operation traps: what may be vectorised without changing a result.
    "-fno-math-errno",
    "-fno-trapping-math",
)
VECTOR_REMARKS = ("-fvect-cost-model=dynamic", "-fopt-info-vec-optimized")
"""Of g++: vectorise where it pays as -O3 does, and say which loops."""
TORCH = Path(torch.__file__).parent

Matrix = np.ndarray


def build(slot: TextSlot, *others: TextSlot) -> Built:
    """Compile a text of plain C++; files by the exercise's name, so that errors name it.

    Args:
        slot: The text that is compiled.
        others: Texts that it includes.

    Raises:
        CompileError, NoCompiler: See `aisys.course.compiling`.
    """
    return compile_shared(_files(slot, *others), (*OPTIMISE, *_remarks()))


def build_operator() -> Built:
    """Compile `linear_gelu` with the loops that it includes, against PyTorch's stable ABI."""
    libraries = (f"-L{TORCH / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")
    options = (*OPTIMISE, *_remarks(), f"-I{TORCH / 'include'}")
    return compile_shared(_files(linear_gelu, gelu_rows, scale_and_sum), options, libraries)


def load_operator() -> Any:
    """The operator's namespace in `torch.ops`, compiled and registered where it was not before.

    Beside what the C++ registers for the CPU, `linear_gelu` gets a fake implementation and its
    gradient here. A text that was changed is another namespace; the old one stays unused.
    """
    built = build_operator()
    namespace = getattr(torch.ops, built.namespace)
    if built.namespace not in _registered:
        torch.ops.load_library(str(built.path))
        _registered[built.namespace] = _make_citizen(namespace, built.namespace)
    return namespace


def call_gelu_rows(
    product: Matrix, bias: Matrix, with_slope: bool = True
) -> tuple[Matrix, Matrix | None]:
    """Call the compiled `gelu_rows`.

    Args:
        product: [rows, columns], float32; it is not changed.
        bias: [columns], float32.
        with_slope: Whether the slope is asked for, too.

    Returns:
        Value and slope, or None in the slope's place: [rows, columns].
    """
    result, offset = product.astype(np.float32, order="C"), bias.astype(np.float32)
    slope = np.full_like(result, np.nan) if with_slope else None
    function = _function(build(gelu_rows), "gelu_rows")
    function(_floats(result), _floats(offset), _floats(slope), *map(ctypes.c_int64, result.shape))
    return result, slope


def call_scale_and_sum(upstream: Matrix, slope: Matrix) -> tuple[Matrix, Matrix]:
    """Call the compiled `scale_and_sum` on float32 matrices [rows, columns].

    Returns:
        The product [rows, columns] and the bias's gradient [columns].
    """
    left, right = (matrix.astype(np.float32, order="C") for matrix in (upstream, slope))
    result = np.full_like(left, np.nan)
    sums = np.full(left.shape[1], np.nan, np.float32)
    function = _function(build(scale_and_sum), "scale_and_sum")
    pointers = map(_floats, (left, right, result, sums))
    function(*pointers, *map(ctypes.c_int64, left.shape))
    return result, sums


def call_blocked_product(x: Matrix, weight: Matrix) -> Matrix:
    """Call the compiled `blocked_product`: x [rows, inner] times weight [columns, inner] turned."""
    left, right = (matrix.astype(np.float32, order="C") for matrix in (x, weight))
    result = np.full((len(left), len(right)), np.nan, np.float32)
    function = _function(_product_driver(), "product_of_floats")
    sizes = (len(left), left.shape[1], len(right))
    function(*map(_floats, (left, right, result)), *map(ctypes.c_int64, sizes))
    return result


def misses_of_product(rows: int, inner: int, columns: int) -> int:
    """The misses of a `blocked_product` of these sizes in a cache of 32 KB, counted."""
    function = _function(_product_driver(), "misses_of_product")
    function.restype = ctypes.c_int64
    return int(function(*map(ctypes.c_int64, (rows, inner, columns))))


def vectorised_lines(built: Built, name: str) -> list[int]:
    """The lines of a file in which g++ vectorised a loop; empty under another compiler."""
    found = set()
    for line in built.remarks.splitlines():
        place, _, remark = line.partition(": optimized: ")
        file, _, rest = place.partition(":")
        if remark.startswith("loop vectorized") and file.rpartition("/")[2] == name:
            found.add(int(rest.partition(":")[0]))
    return sorted(found)


def says_vectorised() -> bool:
    """Whether the compiler is g++, which says which loops it vectorised."""
    return "Free Software Foundation" in compiler_version(find_compiler())


_registered: dict[str, Any] = {}


def _make_citizen(namespace: Any, name: str) -> Any:
    """Register what Python can for the operator: shapes without data, and the gradient."""

    class LinearGelu(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                value, slope = namespace.linear_gelu_slope(x, weight, bias)
            ctx.save_for_backward(slope, x, weight)
            return value

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            return namespace.linear_gelu_backward(upstream, *ctx.saved_tensors)

    def with_gradient(x: Any, weight: Any, bias: Any) -> Any:
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias)):
            return LinearGelu.apply(x, weight, bias)
        with torch._C._AutoDispatchBelowAutograd():
            return namespace.linear_gelu(x, weight, bias)

    def fake(x: Any, weight: Any, bias: Any) -> Any:
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    library = torch.library.Library(name, "FRAGMENT")
    library.impl("linear_gelu", with_gradient, "Autograd")
    torch.library.register_fake(f"{name}::linear_gelu", fake, lib=library)
    return library


def _files(*slots: TextSlot) -> dict[str, str]:
    return {slot.file: slot.as_in_cell for slot in slots}


def _product_driver() -> Built:
    driver = (Path(__file__).parent / "blocked_product_driver.cpp").read_text(encoding="utf-8")
    files = {"blocked_product_driver.cpp": driver, **_files(blocked_product)}
    return compile_shared(files, (*OPTIMISE, *_remarks()))


def _remarks() -> tuple[str, ...]:
    return VECTOR_REMARKS if says_vectorised() else ()


def _function(built: Built, name: str) -> Any:
    function = getattr(ctypes.CDLL(str(built.path)), name)
    function.restype = None
    return function


def _floats(array: np.ndarray | None) -> Any:
    return None if array is None else array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
