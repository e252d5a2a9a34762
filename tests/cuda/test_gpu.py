"""A launch on a GPU, as far as it is told without one: what is refused, copied and said."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from aisys.course.errors import CourseError
from aisys.cuda import devices
from aisys.cuda.emulator import KernelFault
from aisys.cuda.emulator.lexing import read_source
from aisys.cuda.gpu import Configured, Kernel, element_of, require_array

SOURCE = """
__global__ void scale(const float *x, float * __restrict__ out, float by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = by * x[i];
}
"""


@dataclass
class OnPaper:
    """What a library for a GPU does, on the CPU: copies, and a kernel in NumPy."""

    fails: Exception | None = None
    seen: list[Any] = field(default_factory=list)

    def on_gpu(self, value: Any) -> Any:
        return np.array(value)

    def run(self, grid: Any, block: Any, arguments: list[Any], shared_bytes: int) -> float:
        if self.fails is not None:
            raise self.fails
        x, out, by, n = arguments
        self.seen = [grid, block, shared_bytes, by.dtype.name, n.dtype.name]
        out[:n] = by * x[:n]
        x[:] = -1
        return 0.25

    def copy_back(self, array: Any, value: Any) -> None:
        value[...] = array


def scale(function: OnPaper, grid: Any = 2, block: Any = (32, 2)) -> Configured:
    return Kernel(read_source(SOURCE).kernels["scale"], "scale", function)[grid, block]


def test_what_the_kernel_wrote_comes_back_and_what_it_only_reads_does_not() -> None:
    paper, x, out = OnPaper(), np.ones(4, np.float32), np.zeros(4, np.float32)
    launch = scale(paper)(x, out, 2.5, 3, shared_bytes=64)
    assert out.tolist() == [2.5, 2.5, 2.5, 0]
    assert x.tolist() == [1, 1, 1, 1]
    assert paper.seen == [(2, 1, 1), (32, 2, 1), 64, "float32", "int32"]
    assert (launch.kernel, launch.seconds, launch.shared_bytes) == ("scale", 0.25, 64)


def test_what_goes_wrong_on_the_gpu_is_a_sentence() -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors")
    x = np.ones(4, np.float32)
    with pytest.raises(
        KernelFault, match="illegal memory access was encountered\\); `device="
    ) as e:
        scale(OnPaper(error))(x, x.copy(), 1, 4)
    assert e.value.kind == "gpu"
    assert "\n" not in str(e.value)


NUMBERS = np.zeros((4, 4), np.float32)
FIXED = np.zeros(4, np.float32)
FIXED.flags.writeable = False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3.0, "is a pointer: give it an array; float came"),
        (np.float32(3), "is a pointer: give it an array; float32 came"),
        ([1.0], "is a pointer: give it an array; list came"),
        (NUMBERS.astype(np.float64), "points to float32; the array holds float64"),
        (torch.zeros(4, dtype=torch.float64), "points to float32; the array holds float64"),
        (NUMBERS[:, 1], "must lie in memory row by row"),
        (torch.from_numpy(NUMBERS).T[:2], "must lie in memory row by row"),
        (FIXED, "the kernel writes to `out`, and this array is read-only"),
    ],
)  # fmt: skip
def test_what_a_pointer_cannot_be_given_is_refused_as_the_emulator_does(value, said: str) -> None:
    x = np.ones(4, np.float32)
    with pytest.raises(CourseError, match=f"scale: .*{said}"):
        scale(OnPaper())(x, value, 1, 4)


def test_a_pointer_to_what_numpy_has_no_name_for_takes_any_elements() -> None:
    require_array("f", "x", "const float4 *", np.zeros(8, np.float32))
    assert element_of("const unsigned int * __restrict__") == "unsigned int"


def test_a_kernel_that_only_reads_takes_a_read_only_array() -> None:
    out = np.zeros(4, np.float32)
    scale(OnPaper())(FIXED, out, 1, 4)


def test_an_unknown_compiler_is_refused() -> None:
    with pytest.raises(CourseError, match='`compiler` is "nvrtc" or "nvcc"; this is \'gcc\''):
        devices.load(SOURCE, "gpu", compiler="gcc")
