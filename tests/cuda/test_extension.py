"""A kernel's text becomes an extension of PyTorch: generated, compiled, loaded without a GPU."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from aisys.course.compiling import CompileError, compile_shared, has_compiler
from aisys.course.errors import CourseError
from aisys.course.slots import TextSlot
from aisys.cuda import devices, extension, operator
from aisys.cuda.emulator import SourceError
from aisys.cuda.nvidia import find_nvcc, why_no_nvcc

needs_nvcc = pytest.mark.skipif(bool(why_no_nvcc()), reason=why_no_nvcc())
needs_gpu = pytest.mark.skipif(bool(extension.why_not()), reason=extension.why_not())
needs_gcc = pytest.mark.skipif(not has_compiler(), reason="there is no C++ compiler")
SLOTS = [
    operator.linear_gelu_forward, operator.linear_gelu_backward, operator.softmax_rows,
    operator.layer_norm_rows,
]  # fmt: skip
KERNELS = {
    "linear_gelu_forward": 9, "gradient_of_x": 7, "gradient_of_weight": 8, "softmax_rows": 3,
    "layer_norm_rows": 6,
}  # fmt: skip
"""What 3.6 declares, and how much each takes."""
FAKE = Path(__file__).parent / "fake_runtime"

ALL_KINDS = """
__global__ void all_kinds(
    double *out, const float *in, float a, double b, int c, unsigned d, long long e, bool f,
    unsigned char g, size_t h, int grid) {}
template <int N> __global__ void no_operator(float *x) {}
__global__ void nothing() {}
"""
PLAYED = """
#include "cuda_runtime_api.h"
static void all_kinds(const FakeLaunch& launch, void** given) {
  double* out = *(double**)given[0];
  const double seen[] = {
    (double)launch.grid.x, (double)launch.grid.y, (double)launch.grid.z, (double)launch.block.x,
    (double)launch.shared_bytes, (double)launch.most_shared_bytes, (double)(size_t)launch.stream,
    (*(const float**)given[1])[1], *(float*)given[2], *(double*)given[3], (double)*(int*)given[4],
    (double)*(unsigned*)given[5], (double)*(long long*)given[6], (double)*(bool*)given[7],
    (double)*(unsigned char*)given[8], (double)*(size_t*)given[9], (double)*(int*)given[10]};
  for (int i = 0; i < 17; i++) out[i] = seen[i];
}
static void nothing(const FakeLaunch&, void**) {}
__attribute__((visibility("hidden"))) const void* aisys_kernel(int number) {
  return number == 0 ? (const void*)all_kinds : (const void*)nothing;
}
extern "C" __attribute__((visibility("default"))) int aoti_torch_get_current_cuda_stream(
    int32_t device, void** stream) {
  *stream = (void*)7;
  return 0;
}
"""


@pytest.fixture(scope="module")
def played() -> Any:
    """The operators of ALL_KINDS on a runtime that calls a function on the CPU."""
    if not has_compiler():
        pytest.skip("there is no C++ compiler")
    header = Path(extension.__file__).with_name("extension.h").read_text(encoding="utf-8")
    fake = (FAKE / "cuda_runtime_api.h").read_text(encoding="utf-8")
    files = {
        "operators.cpp": extension.operators(ALL_KINDS), "played.cpp": PLAYED,
        "extension.h": header, "cuda_runtime_api.h": fake,
    }  # fmt: skip
    options = [
        "-std=c++17", "-I.", f"-I{extension.TORCH / 'include'}",
        f"-DTORCH_TARGET_VERSION={extension.OLDEST_TORCH}",
    ]  # fmt: skip
    libraries = ["played.cpp", f"-L{extension.TORCH / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    return extension.load(compile_shared(files, options, libraries, seconds=60))


def arguments(**changed: Any) -> list[Any]:
    """The arguments of `all_kinds` after the launch's own."""
    given = {
        "out": torch.zeros(17, dtype=torch.float64), "in": torch.tensor([1.0, 2.5]), "a": 0.5,
        "b": 0.1, "c": -3, "d": 4_000_000_000, "e": -(1 << 40), "f": True, "g": 255, "h": 1 << 50,
        "grid": 9,
    }  # fmt: skip
    return list((given | changed).values())


def test_a_kernel_gets_what_it_declares_and_the_launch_that_was_asked_for(played: Any) -> None:
    given = arguments()
    played.all_kinds([5, 4, 3], [64, 2, 1], 60_000, *given)
    launch = [5, 4, 3, 64, 60_000, 60_000, 7]
    assert given[0].tolist() == [*launch, 2.5, 0.5, 0.1, -3, 4e9, -(2.0**40), 1, 255, 2.0**50, 9]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"in": torch.zeros(2, dtype=torch.float64)}, "`in` points to Float; the tensor holds D"),
        ({"out": torch.zeros(17, 2).double()[:, 0]}, "`out` must lie in memory row by row"),
        ({"in": torch.zeros(2, device="meta")}, "`in` does not lie on a GPU"),
        ({"c": 1 << 31}, "`c` is 2147483648, which does not fit its type"),
        ({"d": -1}, "`d` is -1, which does not fit its type"),
        ({"h": -1}, "`h` is -1, which does not fit its type"),
        ({"g": 256}, "`g` is 256, which does not fit its type"),
    ],
)
def test_what_a_kernel_cannot_be_given_is_refused_in_a_sentence(
    played: Any, changed: dict[str, Any], said: str
) -> None:
    given = arguments(**changed)
    with pytest.raises(RuntimeError, match=f"^all_kinds: {said}.*\\.$"):
        played.all_kinds([1, 1, 1], [32, 1, 1], 0, *given)
    assert given[0].tolist() == [0] * 17


@pytest.mark.parametrize(
    ("grid", "block", "shared", "said"),
    [
        ([1, 1], [1, 1, 1], 0, "the grid is three whole numbers from 1 up"),
        ([1, 1, 1], [0, 1, 1], 0, "the block is three whole numbers from 1 up"),
        ([1, 1, 1], [1, 1, 1], -1, "shared_bytes is -1"),
        ([1, 1, 1], [64, 64, 1], 0, "CUDA does not launch it: invalid configuration argument"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_in_a_sentence(
    played: Any, grid: list[int], block: list[int], shared: int, said: str
) -> None:
    with pytest.raises(RuntimeError, match=f"^all_kinds: {said}"):
        played.all_kinds(grid, block, shared, *arguments())


def test_only_kernels_that_are_no_templates_get_an_operator(played: Any) -> None:
    assert played.all_kinds.default._schema.arguments[-1].name == "grid_"
    assert not hasattr(played, "no_operator")
    assert [each.name for each in played.nothing.default._schema.arguments] == [
        "grid", "block", "shared_bytes",
    ]  # fmt: skip


def test_what_a_kernel_writes_to_is_marked_in_the_schema(played: Any) -> None:
    marked = [each.name for each in played.all_kinds.default._schema.arguments if each.is_write]
    assert marked == ["out"]


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.key)
def test_each_kernel_of_the_stage_has_an_operator_that_passes_all_it_takes(slot: TextSlot) -> None:
    text = extension.operators(slot.text)
    for name in re.findall(r"library\.impl\(\"(\w+)\"", text):
        (body,) = re.findall(rf'Launch launch\("{name}".*?\n}}', text, re.DOTALL)
        assert len(re.findall(r"launch\.(?:array|number<)", body)) == KERNELS[name]


@pytest.mark.parametrize("kind", ["float4 *x", "float **x", "half x", "dim3 x"])
def test_what_no_operator_can_give_is_refused_by_line_and_name(kind: str) -> None:
    with pytest.raises(SourceError, match=r"^Line 2: `x` of f is .*; an operator passes pointers"):
        extension.operators(f"\n__global__ void f({kind}) {{}}\n")


def test_a_kernel_with_a_name_that_no_operator_can_have_is_refused() -> None:
    with pytest.raises(SourceError, match="^Line 1: an operator cannot be called `def`"):
        extension.operators("__global__ void def(float *x) {}")


def test_what_the_emulator_refuses_is_refused_here_too() -> None:
    with pytest.raises(SourceError, match="Line 1: `asm` is not available"):
        extension.build('__global__ void f(float *x) { asm("trap;"); }')


def test_without_nvcc_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "find_nvcc", lambda: None)
    monkeypatch.setattr("aisys.cuda.nvidia.find_nvcc", lambda: None)
    with pytest.raises(CourseError, match="pip install nvidia-cuda-nvcc"):
        extension.build(operator.softmax_rows.text)


@pytest.mark.skipif(not extension.why_not(), reason="there is a GPU, and nvcc")
def test_where_it_cannot_run_it_is_said_what_is_missing() -> None:
    with pytest.raises(CourseError, match='no device "gpu" here') as caught:
        devices.load(operator.softmax_rows, "gpu", compiler="nvcc")
    assert extension.why_not() in str(caught.value)


@needs_nvcc
@needs_gcc
@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.key)
def test_the_stages_texts_are_compiled_and_loaded_without_a_gpu(slot: TextSlot) -> None:
    built = extension.build(slot.text, ("sm_80", "sm_90"))
    found = extension.load(built)
    code = built.path.read_bytes()
    for kernel in re.findall(r"__global__ void (\w+)\(", slot.text):
        schema = getattr(found, kernel).default._schema
        assert len(schema.arguments) == 3 + KERNELS[kernel]
        assert re.search(rb"\.text\._Z\d+" + kernel.encode(), code)
        none = [
            torch.zeros(1) if str(each.type) == "Tensor" else 1 for each in schema.arguments[3:]
        ]
        with pytest.raises(RuntimeError, match=f"^{kernel}: `\\w+` does not lie on a GPU"):
            getattr(found, kernel)([1, 1, 1], [32, 1, 1], 0, *none)
    assert extension.load(built) is found


@pytest.mark.slow
@needs_nvcc
@needs_gcc
def test_each_architecture_that_is_asked_for_has_code_in_the_library() -> None:
    text = "__global__ void zero(float *out) { out[threadIdx.x] = 0.0f; }\n"
    one, two = (extension.build(text, targets) for targets in (("sm_80",), ("sm_80", "sm_90")))
    kernels = [built.path.read_bytes().count(b".text._Z4zeroPf\0") for built in (one, two)]
    assert one.namespace != two.namespace
    assert kernels[0] > 0
    assert kernels[1] == 2 * kernels[0]


@needs_nvcc
@needs_gcc
def test_what_nvcc_does_not_take_is_said_with_its_line() -> None:
    with pytest.raises(CompileError, match=r'kernel\.cu, line 2: identifier "nowhere"') as raised:
        extension.build("\n__global__ void f(float *x) { *x = nowhere; }", ("sm_80",))
    assert raised.value.frames == (
        "kernel.cu, line 2: __global__ void f(float *x) { *x = nowhere; }",
    )


@needs_nvcc
@pytest.mark.skipif(shutil.which("nm") is None, reason="there is no nm")
def test_the_runtime_is_in_the_library_and_hides_its_names() -> None:
    built = extension.build(operator.softmax_rows.text, ("sm_80", "sm_90"))

    def symbols(*options: str) -> str:
        command = ["nm", *options, str(built.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert " t cudaLaunchKernel\n" in symbols()
    assert "cudaLaunchKernel" not in symbols("-D")
    # Weak: the library is loaded where PyTorch has no CUDA, too.
    assert " w aoti_torch_get_current_cuda_stream\n" in symbols("-D")


@needs_nvcc
def test_nvcc_is_found_in_the_toolkits_folder_where_path_does_not_name_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "bin" / "nvcc"
    compiler.parent.mkdir()
    compiler.write_text("")
    monkeypatch.setattr("aisys.cuda.nvidia.shutil.which", lambda name: None)
    monkeypatch.setattr("aisys.cuda.nvidia.importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    find_nvcc.cache_clear()
    try:
        assert find_nvcc() == compiler
    finally:
        find_nvcc.cache_clear()


@needs_gpu
def test_on_a_gpu_the_operator_is_pytorchs() -> None:
    torch.manual_seed(0)
    shapes = ((40, 7), (35, 7), (35,))
    given = [torch.randn(shape, device="cuda", requires_grad=True) for shape in shapes]
    ours = operator.load_operator(compiler="nvcc")(*given)
    theirs = torch.nn.functional.gelu(torch.nn.functional.linear(*given))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(ours)
    for left, right in zip(
        torch.autograd.grad(ours, given, upstream),
        torch.autograd.grad(theirs, given, upstream),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@needs_gpu
def test_on_a_gpu_rows_are_pytorchs_also_of_arrays_that_lie_on_the_cpu() -> None:
    matrix = 5 * torch.randn(3, 700)
    softmax, launch = operator.call_softmax_rows(matrix.cuda(), compiler="nvcc")
    torch.testing.assert_close(softmax.cpu(), matrix.softmax(1), rtol=1e-5, atol=1e-6)
    assert launch.seconds > 0
    here = torch.zeros(3, 700)
    kernel = devices.load(operator.softmax_rows, "gpu", compiler="nvcc")["softmax_rows"]
    kernel[3, 128](matrix.numpy(), here, 700)
    torch.testing.assert_close(here, matrix.softmax(1), rtol=1e-5, atol=1e-6)
