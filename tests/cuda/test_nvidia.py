"""NVIDIA's own compiler takes what the lab holds, and says what a thread needs."""

from pathlib import Path

import numpy as np
import pytest

from aisys.course.compiling import CompileError
from aisys.course.errors import CourseError
from aisys.course.slots import TextSlot, of_stage, slots
from aisys.cuda.emulator.lexing import read_source
from aisys.cuda.gpu import Module, has_gpu, scalar, why_no_gpu
from aisys.cuda.nvidia import compile_error, resources, why_no_nvcc

needs_nvcc = pytest.mark.skipif(bool(why_no_nvcc()), reason=why_no_nvcc())

KERNEL = """
template <int N> __global__ void repeat(const float *x, float *out, int n) {
  __shared__ float tile[N];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x % N] = i < n ? x[i] : 0.0f;
  __syncthreads();
  if (i < n) out[i] = tile[(threadIdx.x + 1) % N];
}
template __global__ void repeat<64>(const float *, float *, int);
__global__ void zero(float *out) { out[threadIdx.x] = 0.0f; }
"""


def texts() -> list[TextSlot]:
    of_stage("3.1")
    return [slot for slot in slots() if isinstance(slot, TextSlot) and slot.language == "cuda"]


@needs_nvcc
def test_what_a_thread_needs_is_told_by_the_kernels_name() -> None:
    found = resources(KERNEL)
    assert set(found) == {"repeat<64>", "zero"}
    assert found["repeat<64>"].shared_bytes == 256
    assert 1 <= found["zero"].registers <= found["repeat<64>"].registers <= 32


@needs_nvcc
def test_what_nvcc_does_not_take_is_said_with_its_line() -> None:
    with pytest.raises(CompileError, match='^line 2: identifier "nothing" is undefined') as caught:
        resources("\n__global__ void f() { int x = nothing; }")
    assert caught.value.frames == ("line 2: __global__ void f() { int x = nothing; }",)


def test_what_nvrtc_says_becomes_a_sentence_with_the_line() -> None:
    said = (
        '/tmp/a1b2/c3.cubin.cu(2): warning #177-D: variable "y" was declared but never referenced\n'
        '/tmp/a1b2/c3.cubin.cu(3): error: identifier "n" is undefined\n    x[n] = 0;\n      ^\n\n'
        '/tmp/a1b2/c3.cubin.cu(4): error: expected a ";"\n\n2 errors detected in the compilation.\n'
    )
    error = compile_error("NVRTC", said, "__global__ void f(float *x) {\n  int y;\n  x[n] = 0;\n}")
    assert error.sentence == 'line 3: identifier "n" is undefined (1 more behind it)'
    assert str(error).endswith("\n    x[n] = 0;")
    assert error.frames == ("line 3: x[n] = 0;",)
    other = compile_error("NVRTC", "nvrtc: error: invalid value for --gpu-architecture\n", "")
    assert other.sentence == (
        "NVRTC does not take the source: nvrtc: error: invalid value for --gpu-architecture"
    )


def test_a_compiler_that_does_not_end_is_told_in_a_sentence(monkeypatch, tmp_path: Path) -> None:
    slow = tmp_path / "nvcc"
    slow.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    slow.chmod(0o755)
    monkeypatch.setattr("aisys.cuda.nvidia.find_nvcc", lambda: slow)
    monkeypatch.setattr("aisys.cuda.nvidia.SECONDS", 0.1)
    with pytest.raises(CompileError, match="nvcc took more than 0.1 seconds"):
        resources(KERNEL)


@needs_nvcc
@pytest.mark.parametrize("slot", texts(), ids=lambda slot: slot.key)
def test_nvidias_compiler_takes_every_kernel_of_the_lab(slot: TextSlot) -> None:
    found = resources(slot.text)
    kernels = read_source(slot.text).kernels.values()
    assert {each.name for each in kernels if not each.is_template} <= set(found)
    assert all(each.spilled == 0 for each in found.values())


def test_without_nvcc_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisys.cuda.nvidia.find_nvcc", lambda: None)
    with pytest.raises(CourseError, match="pip install nvidia-cuda-nvcc"):
        resources(KERNEL)


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_is_said_what_is_missing() -> None:
    with pytest.raises(CourseError, match='no device "gpu" here') as caught:
        Module(KERNEL)
    assert why_no_gpu() in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "dtype"),
    [
        ("int", 3, "int32"), ("const unsigned int", 3, "uint32"), ("float", 0.5, "float32"),
        ("double", 1, "float64"), ("long long", 1 << 40, "int64"), ("bool", True, "bool"),
        ("size_t", np.int64(7), "uint64"),
    ],
)  # fmt: skip
def test_a_number_is_passed_as_the_kernel_declares_it(kind: str, value, dtype: str) -> None:
    passed = scalar("f", "n", kind, value)
    assert (passed.dtype, passed) == (dtype, value)


def test_what_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(CourseError, match="f: `n` is one int; str came"):
        scalar("f", "n", "int", "3")
