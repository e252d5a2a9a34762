"""Stage 3.2: hidden cases, mistakes and alternatives of the array module and the fused kernel."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.array_module import gain_case, gelu_case, module_case
from aisys.cuda.checks.threads import grid_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def modules(rng: np.random.Generator) -> list[Case]:
    """Arguments of one module, of two, of none, in random orders."""

    def shuffled(name: str, *arguments: str) -> Case:
        return module_case(name, *rng.permutation(arguments).tolist())

    return [
        shuffled("hidden 1: NumPy and numbers", "numpy", "numpy float32", "int", "float"),
        shuffled("hidden 2: counted and numbers", "counted", "counted float32", "int", "float"),
        module_case("hidden 3: a number of NumPy first", "numpy scalar", "counted float32"),
        module_case("hidden 4: a number of NumPy last", "counted", "numpy scalar"),
        shuffled("hidden 5: numbers only", "float", "numpy scalar", "int"),
        module_case("hidden 6: a mixture", "float", "numpy float32", "counted float32"),
        module_case("hidden 7: a mixture in the other order", "counted", "counted", "numpy"),
        module_case("hidden 8: text", "str"),
        shuffled("hidden 9: a list and an array", "list", "counted"),
    ]


def gelus(rng: np.random.Generator) -> list[Case]:
    """Arrays of both modules and both types."""
    cases = []
    for number, (module, dtype) in enumerate(
        [("numpy", "float64"), ("counted", "float64"), ("numpy", "float32"), ("counted", "float32")]
    ):
        shape = rng.integers(2, 6, int(rng.integers(1, 4))).tolist()
        name = f"hidden {number + 1}: {module} of {dtype}"
        cases.append(gelu_case(name, _seed(rng), module, dtype, *shape))
    return [
        *cases,
        gelu_case("hidden 5: large numbers", _seed(rng), "counted", "float64", 5, size=20),
    ]


def _counted(rng: np.random.Generator) -> list[Case]:
    n = int(rng.integers(50, 500))
    return [gelu_case(f"hidden: {n} elements", _seed(rng), "counted", "float32", n)]


def gains(rng: np.random.Generator) -> list[Case]:
    """Few elements, many, and much arithmetic, on drawn machines."""
    cases = []
    for number, (elements, flops) in enumerate(((50, 1), (10**8, 1), (10**7, 60), (10**5, 2))):
        operations = []
        for _ in range(int(rng.integers(3, 9))):
            moved = elements * int(rng.choice([8, 12, 16]))
            operations.append([moved, elements * flops * int(rng.integers(1, 4))])
        machine = (rng.uniform(2e-6, 9e-6), rng.uniform(5e11, 3e12), rng.uniform(5e12, 5e13))
        name = f"hidden {number + 1}: {len(operations)} launches on {elements} elements"
        cases.append(gain_case(name, operations, 8 * elements, *map(float, machine)))
    return cases


def grids(rng: np.random.Generator) -> list[Case]:
    """Grids with fewer and with more threads than there are elements."""
    cases = []
    for number, (grid, block) in enumerate(((1, 64), (5, 32), (3, 128))):
        n = int(rng.integers(200, 600))
        name = f"hidden {number + 1}: {n} elements, {grid} blocks of {block} threads"
        cases.append(grid_case(name, _seed(rng), n, grid, block))
    return [*cases, grid_case("hidden 4: 2 elements, 2 blocks", _seed(rng), 2, 2, 32)]


def _moved(rng: np.random.Generator) -> list[Case]:
    n = 256 * int(rng.integers(8, 13))
    return [grid_case(f"hidden: {n:,} elements, 4 blocks", _seed(rng), n, 4, 64, weight=2)]


CASES = {
    "get_array_module_names": modules,
    "gelu_module_values": gelus,
    "gelu_launches": _counted,
    "fusion_gain_values": gains,
    "gelu_fused_values": grids,
    "gelu_fused_sectors": _moved,
}

MISTAKES = [
    Mistake(
        "3.2 get_array_module",
        "a mixture is let through",
        hint="Arrays of two modules do not work together. Better one sentence here than an error "
        "inside some operator later.",
        replace={"if len(names) > 1:": "if not names and found:"},
    ),
    Mistake(
        "3.2 get_array_module",
        "a number of NumPy counts as an array",
        hint="`np.float64(1.5)` is a number, of the type `np.generic`, and goes with the arrays of "
        "every module.",
        replace={
            "next((m for m in array_modules() if isinstance(array, m.ndarray)), None)": (
                "np if isinstance(array, np.generic) else "
                "next((m for m in array_modules() if isinstance(array, m.ndarray)), None)"
            )
        },
    ),
    Mistake(
        "3.2 get_array_module",
        "whatever is unknown is NumPy's",
        hint="NumPy's functions take lists, those of a GPU's module do not, and nothing takes "
        "text. What is neither array nor number should be named in an error.",
        replace={
            'raise TypeError(f"expected arrays and numbers; {type(array).__name__} came.")': (
                "found.append(np)"
            )
        },
    ),
    Mistake(
        "3.2 get_array_module",
        "looks at the first argument only",
        hint="The first argument may be a number, and the second an array of another module than "
        "the third. All of them have to be looked at.",
        replace={"for array in arrays:": "for array in arrays[:1]:"},
    ),
    Mistake(
        "3.2 gelu",
        "a function of NumPy for every array",
        hint="`np.tanh` works on arrays of NumPy. What is called has to be of the array's own "
        "module, which `get_array_module` returns.",
        replace={"xp.tanh(inner)": "np.tanh(inner)"},
    ),
    Mistake(
        "3.2 gelu",
        "float32 becomes float64",
        hint="`np.sqrt` returns a float64 of NumPy, and with that an array of float32 becomes "
        "one of float64: twice the bytes. A Python number takes the array's dtype.",
        replace={"root = 0.7978845608028654": "root = np.sqrt(2 / np.pi)"},
    ),
    Mistake(
        "3.2 gelu",
        "computed on the host",
        hint="The result is an array of NumPy: somewhere the array was copied to the host. "
        "It should stay where it is.",
        replace={"xp = get_array_module(x)": "xp, x = np, x.get() if hasattr(x, 'get') else x"},
    ),
    Mistake(
        "3.2 gelu",
        "changes its argument",
        hint="`*=` and `+=` change the caller's array. "
        "Work in place only on what you made yourself.",
        replace={
            "return 0.5 * x * (1 + xp.tanh(inner))": (
                "x *= 0.5 * (1 + xp.tanh(inner))\n    return x"
            )
        },
    ),
    Mistake(
        "3.2 gelu",
        "tanh put together from exponentials",
        hint="Every operator is a launch. The module has `tanh`, which is one; from exponentials "
        "it takes half a dozen, and they overflow.",
        replace={
            "return 0.5 * x * (1 + xp.tanh(inner))": (
                "up, down = xp.exp(inner), xp.exp(-inner)\n"
                "    return 0.5 * x * (1 + (up - down) / (up + down))"
            )
        },
    ),
    Mistake(
        "3.2 fusion_gain",
        "one overhead for all launches",
        hint="Each of the separate kernels is launched: each of them pays the overhead.",
        replace={
            "sum(machine.overhead + work(each.bytes, each.flops) for each in operations)": (
                "machine.overhead + sum(work(each.bytes, each.flops) for each in operations)"
            )
        },
    ),
    Mistake(
        "3.2 fusion_gain",
        "memory and arithmetic one after the other",
        hint="While some warps wait for memory, others compute: of the two times the longer one "
        "counts, not the sum.",
        replace={
            "max(moved / machine.bandwidth, flops / machine.peak)": (
                "moved / machine.bandwidth + flops / machine.peak"
            )
        },
    ),
    Mistake(
        "3.2 fusion_gain",
        "the fused kernel moves everything",
        hint="What one operator hands on to the next stays in registers in the fused kernel: it "
        "moves `fused_bytes`, not the sum.",
        replace={
            "machine.overhead + work(fused_bytes, flops)": (
                "machine.overhead + work(sum(each.bytes for each in operations), flops)"
            )
        },
    ),
    Mistake(
        "3.2 fusion_gain",
        "the fused kernel does the first operation only",
        hint="The fused kernel moves fewer bytes, but it does all the operations of the separate "
        "kernels.",
        replace={
            "flops = sum(each.flops for each in operations)": "flops = operations[0].flops",
        },
    ),
    Mistake(
        "3.2 gelu_fused",
        "what lies between goes through y",
        hint="The values are right, but y is written, read and written again, as separate kernels "
        "would do. Keep what lies between in a variable.",
        source="""
__global__ void gelu_fused(const float *x, float *y, int n) {
    const int stride = gridDim.x * blockDim.x;
    const int first = blockIdx.x * blockDim.x + threadIdx.x;
    for (int i = first; i < n; i += stride)
        y[i] = tanhf(0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
    for (int i = first; i < n; i += stride) y[i] = 0.5f * x[i] * (1.0f + y[i]);
}
""",
    ),
    Mistake(
        "3.2 gelu_fused",
        "one element a thread",
        hint="The kernel is launched with any grid, also with fewer threads than elements. "
        "A grid-stride loop, as in 3.1, works with each.",
        source="""
__global__ void gelu_fused(const float *x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float value = x[i];
    const float inner = 0.79788456f * (value + 0.044715f * value * value * value);
    y[i] = 0.5f * value * (1.0f + tanhf(inner));
}
""",
    ),
    Mistake(
        "3.2 gelu_fused",
        "no cube",
        hint="Small numbers are right and larger ones are not: "
        "look at the term with 0.044715 again.",
        replace={"0.044715f * value * value * value": "0.044715f * value"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "3.2 get_array_module",
        '''
def get_array_module(*arrays: Any) -> ModuleType:
    """The module whose functions work on these arrays."""
    chosen = None
    for array in arrays:
        if isinstance(array, (bool, int, float, np.generic)):
            continue
        for module in array_modules():
            if isinstance(array, module.ndarray):
                break
        else:
            raise TypeError("neither array nor number: " + repr(type(array)))
        if chosen not in (None, module):
            raise TypeError("arrays of two modules")
        chosen = module
    return chosen or np
''',
    ),
    Alternative(
        "3.2 gelu",
        '''
import math

def gelu(x: Any) -> Any:
    """GELU in its form with tanh."""
    xp = get_array_module(x)
    y = x**3
    y *= 0.044715
    y += x
    y *= math.sqrt(2 / math.pi)
    y = xp.tanh(y)
    y += 1
    y *= x
    y *= 0.5
    return y
''',
        title="in place",
    ),
    Alternative(
        "3.2 fusion_gain",
        '''
def fusion_gain(
    operations: Sequence[Operation], fused_bytes: int, machine: Machine
) -> dict[str, float | str]:
    """What becomes of the time when one kernel takes the place of several."""
    separate, flops = 0.0, 0
    for one in operations:
        separate += machine.overhead
        separate += max(one.bytes / machine.bandwidth, one.flops / machine.peak)
        flops += one.flops
    memory, arithmetic = fused_bytes / machine.bandwidth, flops / machine.peak
    fused = machine.overhead + max(memory, arithmetic)
    names = [(machine.overhead, "launch"), (memory, "memory"), (arithmetic, "arithmetic")]
    return dict(separate=separate, fused=fused, speedup=separate / fused, bound=max(names)[1])
''',
    ),
    Alternative(
        "3.2 gelu_fused",
        """
// (1 + tanh u) / 2 is 1 / (1 + exp(-2 u)).
__device__ float gelu(float t) {
    return t / (1.0f + expf(-1.59576912f * t * fmaf(0.044715f, t * t, 1.0f)));
}

__global__ void gelu_fused(const float *x, float *y, int n) {
    const int all = gridDim.x * blockDim.x;
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    while (i < n) {
        y[i] = gelu(x[i]);
        i += all;
    }
}
""",
        title="with the logistic function",
    ),
]
