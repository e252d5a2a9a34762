"""The CUDA emulator: kernels give the right numbers, and the counts are those of the hardware."""

# ruff: noqa: E501 – kernels of one line

import re

import numpy as np
import pytest

from aisys.course.errors import CourseError
from aisys.cuda.emulator import KernelFault, Launch, Module, SourceError, occupancy
from aisys.cuda.emulator.building import CompileError
from aisys.cuda.emulator.pictures import draw_addresses, draw_banks, draw_barriers

VECTOR = "__global__ void f({}) {{ int i = blockIdx.x * blockDim.x + threadIdx.x; {} }}"


def floats(n: int) -> np.ndarray:
    return np.zeros(n, np.float32)


def launch(source: str, grid, block, *args, **more) -> Launch:
    module = Module(source)
    try:
        return module.f[grid, block](*args, **more)
    finally:
        module.close()


def fault(source: str, grid, block, *args, **more) -> KernelFault:
    with pytest.raises(KernelFault) as caught:
        launch(source, grid, block, *args, **more)
    return caught.value


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 32])
def test_sectors_of_a_strided_read_are_the_closed_form(stride: int) -> None:
    a, b = floats(64 * stride), floats(64)
    seen = launch(
        VECTOR.format("const float *a, float *b", f"b[i] = a[i * {stride}];"), 2, 32, a, b
    )
    # 32 lanes, `stride` times 4 bytes apart, touch this many different runs of 32 bytes.
    assert seen.total("global", "read").sectors == 2 * len(
        {lane * stride * 4 // 32 for lane in range(32)}
    )
    assert seen.total("global", "write").sectors_per_request == 4
    assert seen.total("global", "read").bytes == 64 * 4


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 16, 17, 32, 33])
def test_bank_conflicts_of_a_strided_read_are_the_closed_form(stride: int) -> None:
    source = f"""
    __global__ void f(float *out) {{
      __shared__ float s[{32 * 33}];
      for (int k = threadIdx.x; k < {32 * 33}; k += 32) s[k] = k;
      __syncthreads();
      out[threadIdx.x] = s[threadIdx.x * {stride}];
    }}"""
    out = floats(32)
    seen = launch(source, 1, 32, out)
    banks = [lane * stride % 32 for lane in range(32)]
    worst = max(banks.count(bank) for bank in banks)
    assert seen.total("shared", "read").bank_conflicts == worst - 1
    assert seen.total("shared", "write").bank_conflicts == 0
    np.testing.assert_array_equal(out, np.arange(32) * stride)


def test_one_word_for_all_lanes_is_no_conflict() -> None:
    source = """__global__ void f(int *out) { __shared__ int s;
      if (threadIdx.x == 0) s = 7; __syncthreads(); out[threadIdx.x] = s; }"""
    out = np.zeros(32, np.int32)
    assert launch(source, 1, 32, out).total("shared", "read").bank_conflicts == 0
    assert (out == 7).all()


def test_a_vector_load_is_one_request_of_sixteen_sectors() -> None:
    a, b = np.arange(128, dtype=np.float32), floats(128)
    seen = launch(VECTOR.format("const float4 *a, float4 *b", "b[i] = a[i];"), 1, 32, a, b)
    assert (seen.total("global", "read").requests, seen.total("global", "read").sectors) == (1, 16)
    np.testing.assert_array_equal(a, b)


MATMUL = """
#define TILE 16
__global__ void f(const float *a, const float *b, float *c, int n) {
  __shared__ float sa[TILE][TILE], sb[TILE][TILE];
  int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
  float sum = 0;
  for (int t = 0; t < n / TILE; t++) {
    sa[threadIdx.y][threadIdx.x] = a[y * n + t * TILE + threadIdx.x];
    sb[threadIdx.y][threadIdx.x] = b[(t * TILE + threadIdx.y) * n + x];
    __syncthreads();
    for (int k = 0; k < TILE; k++) sum += sa[threadIdx.y][k] * sb[k][threadIdx.x];
    __syncthreads();
  }
  c[y * n + x] = sum;
}
"""


def test_a_tiled_product_is_right_and_moves_what_theory_says() -> None:
    n, tile = 64, 16
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, n, n)).astype(np.float32)
    c = np.zeros_like(a)
    seen = launch(MATMUL, (n // tile, n // tile), (tile, tile), a, b, c, n)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)
    assert seen.total("global", "read").sector_bytes == 2 * n**3 // tile * 4
    assert seen.total("global", "write").sector_bytes == n * n * 4
    assert seen.flops == 2 * n**3
    assert seen.barriers == (n // tile) ** 2 * (n // tile) * 2
    assert seen.shared_bytes == 2 * tile * tile * 4
    assert seen.active_lanes == 32


@pytest.mark.parametrize("which", [0, 1])
def test_each_missing_barrier_is_a_race_with_its_line(which: int) -> None:
    parts = MATMUL.split("    __syncthreads();\n")
    parts[which : which + 2] = [parts[which] + "\n" + parts[which + 1]]
    source = "    __syncthreads();\n".join(parts)
    n = 32
    a, b, c = np.ones((3, n, n), np.float32)
    found = fault(source, (2, 2), (16, 16), a, b, c, n)
    assert found.kind == "race"
    assert source.splitlines()[found.line - 1].strip().startswith(("sa[", "sb[", "for (int k"))


def test_half_a_warp_counts_half_its_lanes() -> None:
    source = "__global__ void f(float *a) {\n  if (threadIdx.x % 2)\n    a[threadIdx.x] = 1;\n}"
    seen = launch(source, 1, 32, floats(32))
    assert seen.total("global", "write").lanes == 16
    (branch,) = [each for each in seen.steps if each.line == 3]
    assert branch.active_lanes == 16


# Warps, atomics, groups.


def test_a_shuffle_tree_adds_a_warp() -> None:
    source = """__global__ void f(float *a) { float v = threadIdx.x;
      for (int o = 16; o > 0; o /= 2) v += __shfl_down_sync(0xffffffffu, v, o);
      if (threadIdx.x == 0) a[0] = v; }"""
    a = floats(1)
    launch(source, 1, 32, a)
    assert a[0] == 31 * 32 / 2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("__shfl_sync(m, i, 5)", lambda i: 5),
        ("__shfl_sync(m, i, 9, 8)", lambda i: i // 8 * 8 + 1),
        ("__shfl_up_sync(m, i, 3)", lambda i: i - 3 if i >= 3 else i),
        ("__shfl_down_sync(m, i, 3, 16)", lambda i: i + 3 if i % 16 < 13 else i),
        ("__shfl_xor_sync(m, i, 12)", lambda i: i ^ 12),
        ("(int)__ballot_sync(m, i % 3 == 0)", lambda i: sum(1 << k for k in range(0, 31, 3))),
        ("__any_sync(m, i == 31)", lambda i: 1),
        ("__all_sync(m, i < 31)", lambda i: 0),
        ("__syncthreads_count(i < 10)", lambda i: 10),
        ("__syncthreads_and(i < 32)", lambda i: 1),
        ("__syncthreads_or(i == 40)", lambda i: 0),
        ("__popc(i) + __clz(i) * 100 + __ffs(i) * 10000", lambda i: bin(i).count("1") + (32 - i.bit_length()) * 100
         + ((i & -i).bit_length()) * 10000),
    ],
)  # fmt: skip
def test_what_lanes_tell_each_other(call: str, expected) -> None:
    a = np.zeros(32, np.int32)
    launch(VECTOR.format("int *a", f"unsigned m = 0xffffffffu; (void)m; a[i] = {call};"), 1, 32, a)
    wanted = np.array([expected(i) for i in range(32)], np.int64).astype(np.int32)
    np.testing.assert_array_equal(a, wanted)


@pytest.mark.parametrize(
    ("call", "dtype", "expected"),
    [
        ("atomicAdd(a, 2)", np.int32, 128), ("atomicAdd(a, 2u)", np.uint32, 128),
        ("atomicAdd(a, 0.5f)", np.float32, 32), ("atomicAdd(a, 0.5)", np.float64, 32),
        ("atomicSub(a, 1)", np.int32, -64), ("atomicMax(a, i)", np.int32, 63), ("atomicMin(a, -i)", np.int32, -63),
        ("atomicExch(a, 9)", np.int32, 9), ("atomicCAS(a, i, i + 1)", np.int32, 64),
        ("atomicOr(a, 1 << (i % 8))", np.int32, 255), ("atomicInc(a, 9u)", np.uint32, 4),
    ],
)  # fmt: skip
def test_atomics_lose_nothing(call: str, dtype, expected: float) -> None:
    a = np.zeros(1, dtype)
    kind = {"int32": "int", "uint32": "unsigned", "float32": "float", "float64": "double"}[
        a.dtype.name
    ]
    seen = launch(VECTOR.format(f"{kind} *a", f"{call};"), 2, 32, a)
    assert a[0] == expected
    assert seen.total(access="atomic").contention == 64


def test_what_a_lane_that_has_ended_would_give_is_no_number() -> None:
    source = """__global__ void f(float *out) {
      if (threadIdx.x >= 7) return;
      float v = 1; for (int d = 4; d > 0; d /= 2) v += __shfl_down_sync(0xffffffffu, v, d);
      out[threadIdx.x] = v; }"""
    out = floats(7)
    launch(source, 1, 32, out)
    assert np.isnan(out[0])


def test_tiles_of_a_block_add_by_themselves() -> None:
    source = """#include <cooperative_groups.h>
    namespace cg = cooperative_groups;
    __global__ void f(int *a) {
      auto block = cg::this_thread_block();
      auto tile = cg::tiled_partition<8>(block);
      int v = block.thread_rank();
      for (int i = tile.size() / 2; i > 0; i /= 2) v += tile.shfl_xor(v, i);
      a[block.thread_rank()] = v;
      cg::sync(block);
    }"""
    a = np.zeros(64, np.int32)
    launch(source, 1, (8, 8), a)
    np.testing.assert_array_equal(a, np.repeat(np.arange(64).reshape(8, 8).sum(1), 8))


def test_half_rounds_as_numpy_does() -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 16, 4096).astype(np.uint16).view(np.float16)
    x = np.concatenate(
        [
            rng.standard_normal(2048) * 10.0 ** rng.integers(-9, 6, 2048),
            bits[:2048].astype(np.float64),
        ]
    )
    x = x[np.isfinite(x)][: 32 * 100].astype(np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    stored = np.zeros(len(x), np.float16)
    launch(
        VECTOR.format("const float *x, half *y", "y[i] = __float2half(x[i]);"),
        len(x) // 32,
        32,
        x,
        stored,
    )
    np.testing.assert_array_equal(stored[: len(x) // 32 * 32], expected[: len(x) // 32 * 32])
    back = floats(len(x))
    launch(
        VECTOR.format("const half *x, float *y", "y[i] = __half2float(x[i]);"),
        len(x) // 32,
        32,
        expected,
        back,
    )
    np.testing.assert_array_equal(
        back[: len(x) // 32 * 32], expected[: len(x) // 32 * 32].astype(np.float32)
    )


def test_constants_templates_and_device_functions() -> None:
    source = """
    __constant__ float table[4] = {1, 2, 3, 4};
    template <typename T> __device__ __forceinline__ T twice(T x) { return x + x; }
    template <typename T, int N> __global__ void g(T *__restrict__ a, const int n) {
      for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) a[i] = twice<T>(table[i % N]);
    }
    __global__ void f(int *a) { a[0] = 1; }
    """
    a = np.zeros(100, np.float64)
    module = Module(source)
    module["g<double, 4>"][2, 32](a, 100)
    np.testing.assert_array_equal(a, np.tile([2, 4, 6, 8], 25))
    assert module.kernels == ["g", "f"]


def test_a_kernel_prints_and_a_second_launch_prints_anew() -> None:
    module = Module(
        VECTOR.format("int *a", 'if (i == 3) printf("%d of %d\\n", i, (int)blockDim.x);')
    )
    a = np.zeros(1, np.int32)
    assert [module.f[1, 32](a).printed for _ in range(2)] == ["3 of 32\n"] * 2


def test_a_last_block_that_fences_and_counts_is_no_race() -> None:
    source = """__global__ void f(float *partial, unsigned *done, float *sum) {
      __shared__ bool last;
      if (threadIdx.x == 0) {
        partial[blockIdx.x] = blockIdx.x;
        __threadfence();
        last = atomicAdd(done, 1u) == gridDim.x - 1;
      }
      __syncthreads();
      if (last && threadIdx.x == 0) {
        float s = 0;
        for (int k = 0; k < gridDim.x; k++) s += partial[k];
        sum[0] = s;
      }
    }"""
    total = floats(1)
    launch(source, 8, 32, floats(8), np.zeros(1, np.uint32), total)
    assert total[0] == 28


# What goes wrong.


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("a[i + 1] = 0;", "bounds", "writes a[32], and the array has 32 elements"),
        ("a[i] = a[i - 1];", "bounds", "thread (0, 0, 0) of block (0, 0, 0) reads a[-1]"),
        ("if (i == 5) *(int *)0 = 1;", "bounds", "through a null pointer"),
        ("*(double *)(a + 1) = 1;", "alignment", "whose address is no multiple of 8"),
        ("a[0] = i;", "race", "thread (1, 0, 0) of block (0, 0, 0) writes a[0], which thread (0, 0, 0)"),
        ("__shared__ int s[32]; a[i] = s[i];", "uninitialised", "reads s[0] of shared memory before"),
        ("__shared__ int s[32]; s[i + 1] = 0;", "bounds", "byte 128 of shared memory, of which there are 128"),
        ("if (i < 16) __syncthreads();", "barrier", "16 threads of the block wait at this barrier and 16 ended"),
        ("if (i < 16)\n __syncthreads();\n else\n __syncthreads();", "barrier", "some at that of line 5"),
        ("if (i < 16)\n __syncwarp();\n else\n __syncwarp();", "deadlock", "none can go on"),
        ("assert(i < 31);", "assert", "thread (31, 0, 0) of block (0, 0, 0): the assertion i < 31 does not hold"),
        ("extern __shared__ int s[]; s[i] = 0;", "shared", "launch it with shared_bytes="),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(body: str, kind: str, said: str) -> None:
    a = np.full(32, 7, np.int32)
    found = fault(VECTOR.format("int *a", f"\n{body}"), 1, 32, a)
    assert (found.kind, found.line >= 2) == (kind, True)
    assert said in str(found)
    assert (a == 7).all()


@pytest.mark.parametrize(
    "body",
    [
        "for (;;) if (a[i] > 0) break;",
        "while (true);",
        "int k = 0; while (k >= 0) k = (k + 1) & 1023;",
    ],
)
def test_an_endless_kernel_ends(body: str) -> None:
    module = Module(VECTOR.format("int *a", body), seconds=0.5)
    with pytest.raises(KernelFault) as caught:
        module.f[1, 1](np.zeros(32, np.int32))
    assert caught.value.kind in ("timeout", "size")
    assert (
        Module(VECTOR.format("int *a", "a[i] = 1;")).f[1, 1](np.zeros(1, np.int32)).findings == ()
    )


def test_a_module_goes_on_after_a_fault() -> None:
    module = Module(VECTOR.format("int *a, int n", "a[i] = n / (n - 1);"))
    a = np.zeros(32, np.int32)
    with pytest.raises(KernelFault, match="the kernel crashed"):
        module.f[1, 32](a, 1)
    module.f[1, 32](a, 2)
    assert (a == 2).all()


# What a hostile source wants: out of its place, or other counts.


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('__global__ void f(int *a) { asm("nop"); }', "`asm` is not available"),
        ("#include <stdlib.h>\n__global__ void f(int *a) {}", "Line 1: of headers the emulator knows"),
        ("extern unsigned long long sectors;\n__global__ void f(int *a) {}", "`extern` is not available"),
        ("void exit(int);\n__global__ void f(int *a) { exit(0); }", "uses `_Z4exiti`|uses `exit`"),
        ('extern "C" int system(const char *);\n__global__ void f(int *a) { system("id"); }', "`_Z6systemPKc`|`system`"),
        ("__global__ void f(int *a) { ((void (*)())a)(); }", "calls through a pointer"),
        ("__global__ void f(int *a) { emu_fence(); }", "`emu_fence` is not available"),
        ("__global__ void f(int *a) { __builtin_trap(); }", "`__builtin_trap` is not available"),
        ("__global__ void f(int *a) { [[gnu::noinline]] int x; }", "attributes"),
        ("#define A(x, y) x##y\n__global__ void f(int *a) { A(a, sm)(\"nop\"); }", "may not glue"),
        ("#pragma GCC optimize(\"O0\")\n__global__ void f(int *a) {}", "of pragmas"),
        ("#define g asm\n__global__ void f(int *a) {}", "may not stand in a macro"),
        ("int x = 1;\n__global__ void f(int *a) { f<<<1, 1>>>(a); }", "launched from Python"),
        ("int x;", "has no kernel"),
        ("__shared__ int s[4];\n__global__ void f(int *a) {}", "inside the kernel"),
    ],
)  # fmt: skip
def test_a_source_that_reaches_around_the_emulator_is_refused(source: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        Module(source)
    assert any(part in str(caught.value) for part in said.split("|"))


@pytest.mark.parametrize(
    "body",
    [
        "unsigned long long p = (unsigned long long)&p; for (int k = 0; k < 4096; k++) ((int *)p)[-k * 64] = 1;",
        "((unsigned long long *)f)[0] = 0;",
        "volatile unsigned long long *p = (unsigned long long *)&a; for (int k = 0; k < 100000; k++) p[k] = 0;",
        'printf("%n", a);',
        "a[1 << 28] = 1;",
    ],
)
def test_a_write_outside_is_refused_before_it_happens(body: str) -> None:
    a = np.zeros(32, np.int32)
    assert fault(VECTOR.format("int *a", body), 1, 1, a).kind in ("bounds", "crash", "printf")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "__global__ void f(int *a) {\n  if (a[0]) {\n  a[1] = 0;\n}\n",
            "Line 1: `{` is not closed",
        ),
        (
            "__global__ void f(int *a) {\n  a[(1] = 0;\n}\n",
            "Line 2: `]` closes nothing; `(` of line 2",
        ),
        ("__global__ void f(int *a) {}\n}\n", "Line 2: `}` closes nothing."),
    ],
)
def test_a_bracket_that_is_not_closed_is_named(source: str, said: str) -> None:
    with pytest.raises(SourceError, match=re.escape(said)):
        Module(source)


def test_a_race_names_both_lines() -> None:
    source = """__global__ void f(int *out) {
      __shared__ int s[64];
      s[threadIdx.x] = threadIdx.x;
      out[threadIdx.x] = s[63 - threadIdx.x]; }"""
    found = fault(source, 1, 64, np.zeros(64, np.int32))
    assert found.kind == "race"
    assert re.search(r"line 3: .* read with no barrier between, in line 4\.", str(found))


def test_a_compile_error_shows_the_students_own_line() -> None:
    with pytest.raises(CompileError) as caught:
        Module("__global__ void f(int *a) {\n  int i = threadIdx.x;\n  a[i] = j;\n}\n")
    assert re.match(r"line 3: .j. was not declared in this scope\n +a\[i\] = j;", str(caught.value))
    assert caught.value.frames == ("line 3: a[i] = j;",)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda m: m.f[1, 32](np.zeros(32, np.int32), 1),
            "f takes 1 arguments (int32 *a); 2 came.",
        ),
        (lambda m: m.f[1, 32](np.zeros(32)), "f: `a` points to int32; the array holds float64."),
        (lambda m: m.f[1, 32](np.zeros(64, np.int32)[::2]), "row by row"),
        (
            lambda m: m.f[1, 2048](np.zeros(32, np.int32)),
            "A block has at most 1024 threads; (2048, 1, 1) are 2048.",
        ),
        (lambda m: m.f[0, 32](np.zeros(32, np.int32)), "whole numbers from 1 up"),
        (lambda m: m.f[1, 32](3), "give it an array; int came"),
        (lambda m: m.g, "There is no kernel `g`; the kernels are f."),
    ],
)
def test_a_wrong_launch_is_named(call, said: str) -> None:
    module = Module(VECTOR.format("int *a", "a[i] = 1;"))
    with pytest.raises(Exception) as caught:
        call(module)
    assert said in str(caught.value)


# Occupancy, against NVIDIA's own tables.


@pytest.mark.parametrize(
    ("architecture", "threads", "shared", "registers_", "blocks", "limited_by"),
    [
        ("sm_80", 256, 0, 32, 8, "warps"),
        ("sm_80", 256, 0, 64, 4, "registers"),
        ("sm_80", 128, 48 << 10, 32, 3, "shared memory"),
        ("sm_80", 32, 0, 32, 32, "blocks"),
        ("sm_75", 1024, 0, 64, 1, "warps"),
        ("sm_86", 256, 0, 40, 6, "warps"),
        ("sm_90", 64, 0, 255, 4, "registers"),
    ],
)
def test_occupancy_names_what_runs_out(
    architecture, threads, shared, registers_, blocks, limited_by
) -> None:
    seen = occupancy(architecture, threads, shared, registers_)
    assert (seen.blocks, seen.limited_by) == (blocks, limited_by)


# Pictures.


def test_pictures_say_what_they_show() -> None:
    source = """__global__ void f(const float *a, float *out) {
      __shared__ float s[32 * 32];
      int i = threadIdx.x;
      s[i * 32] = a[i * 2];
      __syncthreads();
      out[i] = s[(31 - i) * 32];
    }"""
    seen = launch(source, 1, 32, np.arange(64, dtype=np.float32), floats(32))
    addresses, banks, barriers = (
        draw_addresses(seen, 4, "read"),
        draw_banks(seen, 4),
        draw_barriers(seen),
    )
    assert "reads a in 8 sectors and uses 50% of them" in addresses.get_title("left")
    assert (
        "1 of 32 banks serve the warp, the busiest 32 words one after another"
        in banks.get_title("left")
    )
    assert "2 stretches between barriers, 2 steps; warps wait 0% of the time" in barriers.get_title(
        "left"
    )
    with pytest.raises(CourseError, match="in line 5; it does in 4, 6"):
        draw_banks(seen, 5)
