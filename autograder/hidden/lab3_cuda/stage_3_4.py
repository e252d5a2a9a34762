"""Stage 3.4: hidden cases, mistakes, alternatives and the model answer of the sums."""

import numpy as np

from aisys.course import Case
from aisys.cuda import reduction
from aisys.cuda.checks.reduction import pass_case, sum_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def values(rng: np.random.Generator) -> list[Case]:
    """Lengths that are no multiples, few numbers, a large block, one number."""
    n = int(rng.integers(700, 1500)) | 1
    few = int(rng.integers(33, 120))
    return [
        sum_case(f"hidden 1: {n} numbers, 3 blocks of 64", _seed(rng), n, 3, 64),
        sum_case(f"hidden 2: {few} numbers, 4 blocks of 256", _seed(rng), few, 4, 256),
        sum_case("hidden 3: one block of 1024", _seed(rng), 2049 + few, 1, 1024),
        sum_case("hidden 4: one number, blocks of 32", _seed(rng), 1, 2, 32),
    ]


def counted(rng: np.random.Generator) -> list[Case]:
    """Whole and not quite whole rounds of the grid."""
    rounds = int(rng.integers(3, 7))
    n = 1536 * rounds
    return [
        sum_case(f"hidden 5: {n} numbers, 3 blocks of 512, counted", _seed(rng), n, 3, 512, 2),
        sum_case("hidden 6: 5,000 numbers, 4 blocks of 128, counted", _seed(rng), 5000, 4, 128),
    ]


def passes(rng: np.random.Generator) -> list[Case]:
    """Any lengths, around a block's and around the grid's."""
    n = int(rng.integers(200, 700))
    large = int(rng.integers(2500, 4000))
    return [
        pass_case(f"hidden 1: {n} numbers, blocks of 32", _seed(rng), n, 32, 64),
        pass_case(f"hidden 2: {large} numbers, 5 blocks of 128", _seed(rng), large, 128, 5),
        pass_case("hidden 3: as many as a block", _seed(rng), 64),
        pass_case("hidden 4: one more than a block", _seed(rng), 65),
        pass_case("hidden 5: no numbers", _seed(rng), 0),
    ]


CASES = {
    "sum_tree_values": values,
    "sum_shuffle_values": values,
    "sum_tree_counts": counted,
    "sum_shuffle_counts": counted,
    "sum_two_pass_launches": passes,
}

_STEP = "if (threadIdx.x < pairs) sums[threadIdx.x] += sums[threadIdx.x + pairs];"
_LOOP = "for (int pairs = blockDim.x / 2; pairs > 0; pairs /= 2) {"

MISTAKES = [
    Mistake(
        "3.4 sum_tree",
        "no barrier between the steps",
        hint="Each step reads sums that other threads have written in the step before. "
        "A barrier before the loop is not enough.",
        replace={f"{_STEP}\n        __syncthreads();": _STEP},
    ),
    Mistake(
        "3.4 sum_tree",
        "the barrier inside the condition",
        hint="Threads that add nothing in a step have to come to its barrier all the same.",
        replace={
            f"{_STEP}\n        __syncthreads();": (
                "if (threadIdx.x < pairs) {\n"
                "            sums[threadIdx.x] += sums[threadIdx.x + pairs];\n"
                "            __syncthreads();\n        }"
            )
        },
    ),
    Mistake(
        "3.4 sum_tree",
        "every second, fourth, eighth thread",
        hint="The sums are right, but in each step all warps work with ever fewer lanes. Let the "
        "first half of the threads add: then whole warps have nothing to do.",
        replace={
            _LOOP: "for (int half = 1; half < blockDim.x; half *= 2) {",
            _STEP: "if (threadIdx.x % (2 * half) == 0) "
            "sums[threadIdx.x] += sums[threadIdx.x + half];",
        },
    ),
    Mistake(
        "3.4 sum_tree",
        "neighbouring threads, sums ever further apart",
        hint="The sums are right, and whole warps work, but the lanes of a warp touch words 2, 4, "
        "8 apart: fewer and fewer banks serve them. Which half could they add to which?",
        replace={
            _LOOP: "for (int half = 1; half < blockDim.x; half *= 2) {",
            _STEP: "const int at = 2 * half * threadIdx.x;\n"
            "        if (at < blockDim.x) sums[at] += sums[at + half];",
        },
    ),
    Mistake(
        "3.4 sum_tree",
        "one element a thread",
        hint="There may be more numbers than threads. How far is a thread's next element?",
        replace={
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; "
            "i += gridDim.x * blockDim.x)\n        sum += input[i];": (
                "const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                "    if (i < n) sum += input[i];"
            )
        },
    ),
    Mistake(
        "3.4 sum_tree",
        "each thread a stretch of its own",
        hint="The sums are right, but a thread walks through neighbours by itself, so the lanes of "
        "a warp read numbers that lie far apart. Let the warp's lanes read neighbours.",
        replace={
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; "
            "i += gridDim.x * blockDim.x)\n        sum += input[i];": (
                "const int threads = gridDim.x * blockDim.x, each = (n + threads - 1) / threads;\n"
                "    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * each;\n"
                "    for (int i = first; i < n && i < first + each; i++) sum += input[i];"
            )
        },
    ),
    Mistake(
        "3.4 sum_shuffle",
        "only the first warp's sum",
        hint="A shuffle stays inside its warp. What becomes of the sums of the other warps?",
        replace={
            "value = lane < blockDim.x / 32 ? of_warp[lane] : 0.0f;": (
                "value = lane == 0 ? of_warp[0] : 0.0f;"
            )
        },
    ),
    Mistake(
        "3.4 sum_shuffle",
        "the sums of warps that are not there",
        hint="A block may have fewer than 32 warps. What lies in shared memory where none wrote?",
        replace={
            "value = lane < blockDim.x / 32 ? of_warp[lane] : 0.0f;": "value = of_warp[lane];"
        },
    ),
    Mistake(
        "3.4 sum_shuffle",
        "no barrier before the warps' sums are read",
        hint="The first warp reads what the others write. What makes sure that they have?",
        replace={"    __syncthreads();\n": ""},
    ),
    Mistake(
        "3.4 sum_shuffle",
        "the tree of shared memory",
        hint="The sums are right, but the tree needs a barrier for each step. The steps inside a "
        "warp need none if its lanes shuffle.",
        source=reduction.sum_shuffle.marked.partition("    // BEGIN SOLUTION")[0]
        + """    __shared__ float sums[1024];
    sums[threadIdx.x] = value;
    __syncthreads();
    int active = blockDim.x;
    while (active > 1) {
        const int half = (active + 1) / 2;
        if (threadIdx.x + half < active) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
        active = half;
    }
    return sums[threadIdx.x];
"""
        + reduction.sum_shuffle.marked.partition("    // END SOLUTION\n")[2],
    ),
    Mistake(
        "3.4 sum_two_pass",
        "the sums of the blocks added up by the host",
        hint="Adding up the blocks' sums is a sum, too. Which kernel does that, and with how many "
        "blocks?",
        replace={
            "    total = np.empty(1, np.float32)\n"
            "    launch(1, block, partial, total, blocks)\n"
            "    return float(total[0])": "    return float(partial.sum())"
        },
    ),
    Mistake(
        "3.4 sum_two_pass",
        "the length of the array in the second launch",
        hint="The second launch adds up the blocks' sums. How many are there?",
        replace={"launch(1, block, partial, total, blocks)": "launch(1, block, partial, total, n)"},
    ),
    Mistake(
        "3.4 sum_two_pass",
        "a block for every so many numbers, however many",
        hint="The kernel takes any length with any number of blocks: most_blocks is a limit.",
        replace={"min(-(-n // block), most_blocks)": "-(-n // block)"},
    ),
    Mistake(
        "3.4 sum_two_pass",
        "the numbers of the last block left out",
        hint="n need not be a multiple of the block. Round the number of blocks up.",
        replace={"min(-(-n // block), most_blocks)": "max(1, min(n // block, most_blocks))"},
    ),
]

_GIVEN = reduction.sum_shuffle.marked.partition("    // BEGIN SOLUTION")[0]
_KERNELS = reduction.sum_shuffle.marked.partition("    // END SOLUTION\n")[2]

ALTERNATIVES = [
    Alternative(
        "3.4 sum_tree",
        """
__global__ void sum_tree(const float *input, float *partial, int n) {
    extern __shared__ float sums[];
    const int me = threadIdx.x, stride = gridDim.x * blockDim.x;
    float mine = 0;
    int i = blockIdx.x * blockDim.x + me;
    while (i < n) {
        mine += input[i];
        i += stride;
    }
    sums[me] = mine;
    for (int half = blockDim.x >> 1; half >= 1; half >>= 1) {
        __syncthreads();
        if (me < half) {
            mine += sums[me + half];
            sums[me] = mine;
        }
    }
    if (me == 0) partial[blockIdx.x] = mine;
}
""",
        title="each thread keeps its own sum",
    ),
    Alternative(
        "3.4 sum_tree",
        """
__global__ void sum_tree(const float *input, float *partial, int n) {
    extern __shared__ float sums[];
    // Each block has a stretch of the array.
    const int each = (n + gridDim.x - 1) / gridDim.x;
    const int first = blockIdx.x * each, end = min(first + each, n);
    float mine = 0;
    for (int i = first + threadIdx.x; i < end; i += blockDim.x) mine += input[i];
    sums[threadIdx.x] = mine;
    __syncthreads();
    for (int half = blockDim.x / 2; half >= 32; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        float sum = sums[threadIdx.x];
        for (int lane = 16; lane > 0; lane >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, lane);
        if (threadIdx.x == 0) partial[blockIdx.x] = sum;
    }
}
""",
        title="a stretch for each block, shuffles in the last warp",
    ),
    Alternative(
        "3.4 sum_shuffle",
        _GIVEN
        + """    __shared__ float sums[32];
    const unsigned all = 0xffffffffu;
    value += __shfl_xor_sync(all, value, 1);
    value += __shfl_xor_sync(all, value, 2);
    value += __shfl_xor_sync(all, value, 4);
    value += __shfl_xor_sync(all, value, 8);
    value += __shfl_xor_sync(all, value, 16);
    if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = value;
    __syncthreads();
    float total = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < (blockDim.x + 31) / 32; warp++) total += sums[warp];
    return total;
"""
        + _KERNELS,
        title="one thread adds the warps' sums",
    ),
    Alternative(
        "3.4 sum_two_pass",
        """
def sum_two_pass(numbers, launch, block=256, most_blocks=1024):
    left = len(numbers)
    if not left:
        return 0.0
    for most in (most_blocks, 1):
        grid = max(1, min((left + block - 1) // block, most))
        sums = np.full(grid, 7, np.float32)
        launch(grid, block, numbers, sums, left)
        numbers, left = sums, grid
    return float(sums[0])
""",
        title="always two launches",
    ),
]

ANSWERS = {
    "3.4-written": """
1. A block of 256 threads passes 9 barriers with the tree and 1 with shuffles, and its warps make 45
   and 9 requests to shared memory (8 warps write a sum each, one reads them). Both read the array
   from global memory in the same way. So for a long array, of which each thread adds up many
   elements first, both take as long as the memory does. The difference counts where a thread has
   few elements: many small sums, such as one for each row of a matrix.
2. One atomic addition a thread: n additions to one address, of which only one at a time can be
   made, so they and not the memory decide. One a block: as many as blocks, a few hundred, hidden
   behind the reading. It saves the second launch and the array of partial sums, but total must be
   set to 0 before, and the order of blocks is another one each time. Two passes: one more launch, a
   few microseconds, which count only for short arrays.
3. Floating-point addition is not associative: each addition rounds, so another order gives other
   last digits. In two passes the order is fixed by n, grid and block. With atomics it is the order
   in which blocks happen to end. It matters where a run has to be repeated bit by bit (a
   regression test, a search for the step where two runs part), hardly for a loss that is printed.
   The emulator runs blocks one after another, so it shows one order only.
"""
}
