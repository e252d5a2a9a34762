"""Stage 3.7: hidden cases, mistakes and alternatives of the five kernels with a bug."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.debugging import (
    image_case,
    matrix_case,
    maximum_case,
    sums_case,
    take,
    turns_case,
)
from aisys.cuda.debugging import BEGIN, FINISH, GIVE, Turns
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def sums(rng: np.random.Generator) -> list[Case]:
    """Blocks of several sizes, the last one not full."""
    return [
        sums_case(f"hidden {k + 1}: {n} elements in blocks of {block}", _seed(rng), n, block)
        for k, (block, n) in enumerate(
            (block, int(rng.integers(block + 2, 2 * block))) for block in (32, 128, 256)
        )
    ]


def images(rng: np.random.Generator) -> list[Case]:
    """Images narrower and wider than a block."""
    sizes = [(int(rng.integers(3, 9)), int(rng.integers(low, low + 20))) for low in (3, 34, 65)]
    return [
        image_case(f"hidden {k + 1}: {height} x {width} pixels", _seed(rng), height, width)
        for k, (height, width) in enumerate(sizes)
    ]


def maxima(rng: np.random.Generator) -> list[Case]:
    """Last blocks of several lengths, negative numbers among them."""
    cases = []
    for k, (block, shift) in enumerate([(64, 0.0), (128, -20.0), (256, -20.0), (32, 5.0)]):
        n = block + int(rng.integers(1, block // 2 - 1))
        name = f"hidden {k + 1}: {n} elements around {shift:g}"
        cases.append(maximum_case(name, _seed(rng), n, block, shift))
    return cases


def matrices(rng: np.random.Generator) -> list[Case]:
    """Matrices whose sizes are no multiples of 32."""
    sizes = [(int(rng.integers(33, 80)), int(rng.integers(low, low + 25))) for low in (3, 36, 70)]
    return [
        matrix_case(f"hidden {k + 1}: {rows} x {columns}", _seed(rng), rows, columns)
        for k, (rows, columns) in enumerate(sizes)
    ]


def counted(rng: np.random.Generator) -> list[Case]:
    """Two matrices to count at."""
    return [
        matrix_case(f"hidden {k + 1}: the counts of 64 x {columns}", 0, 64, columns)
        for k, columns in enumerate((32 * int(rng.integers(1, 4)), 8 * int(rng.integers(13, 16))))
    ]


def lists(rng: np.random.Generator) -> list[Case]:
    """Other interleavings in which the head comes back, after odd and even numbers of swaps."""
    first, other, last = (int(thread) for thread in rng.permutation(3))
    nodes = int(rng.integers(5, 9))

    def comes_back(taken: int) -> Turns:
        return [
            (first, BEGIN), *take(other, taken), (other, GIVE), (first, FINISH), *take(last, 2),
        ]  # fmt: skip

    twice: Turns = [
        (first, BEGIN), *take(other, 2), (other, GIVE), *take(other), (other, GIVE),
        (other, GIVE), (first, FINISH), *take(last),
    ]  # fmt: skip
    third: Turns = [(first, BEGIN), *take(other), *take(last), (other, GIVE), (first, FINISH)]
    empty: Turns = [(first, BEGIN), *take(other, 2), (other, GIVE), (first, FINISH), *take(last)]
    again: Turns = [
        *take(other), (other, GIVE), (first, BEGIN), *take(other, 2), (other, GIVE),
        (first, FINISH), *take(last),
    ]  # fmt: skip
    turns: dict[str, tuple[int, Turns]] = {
        "given before, too": (nodes, again),
        "two taken, one given": (nodes, comes_back(2)),
        "three taken, one given": (nodes, comes_back(3)),
        "the same, one taken before": (nodes + 1, [*take(last), *comes_back(3)]),
        "taken and given more often": (nodes, twice),
        "two others": (nodes, [*third, *take(last)]),
        "the list runs empty": (2, empty),
    }
    return [
        turns_case(f"hidden {k + 1}: {name}", count, order)
        for k, (name, (count, order)) in enumerate(turns.items())
    ]


CASES = {
    "prefix_sum_values": sums,
    "horizontal_gradient_values": images,
    "block_maximum_values": maxima,
    "row_sums_values": matrices,
    "row_sums_counts": counted,
    "free_list_nodes": lists,
}

_HEAD_OF_SUM = """
__global__ void prefix_sum(const int *elements, int *sums, int n) {
  __shared__ int s[256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
"""
_HEAD_OF_ROWS = """
__global__ void row_sums(const float *matrix, float *sums, int rows, int columns) {
  int lane = threadIdx.x, top = blockIdx.x * 32;
"""

MISTAKES = [
    Mistake(
        "3.7 prefix_sum",
        "the barrier inside the branch",
        hint="A barrier is for all threads of the block: those that do not take the branch would "
        "have to reach it, too.",
        source=_HEAD_OF_SUM
        + """  s[t] = i < n ? elements[i] : 0;
  __syncthreads();
  for (int apart = 1; apart < blockDim.x; apart *= 2) {
    if (t >= apart) {
      int left = s[t - apart];
      __syncthreads();
      s[t] += left;
    }
    __syncthreads();
  }
  if (i < n) sums[i] = s[t];
}
""",
    ),
    Mistake(
        "3.7 prefix_sum",
        "the barrier moved instead of added",
        hint="Reading and writing alternate: something has to keep them apart after the reading, "
        "and again after the writing, before the next round reads.",
        replace={"    s[t] += left;\n    __syncthreads();\n": "    s[t] += left;\n"},
    ),
    Mistake(
        "3.7 prefix_sum",
        "the barrier of a warp",
        hint="`__syncwarp` orders the lanes of one warp. "
        "The neighbour to the left may belong to another one.",
        replace={"t - apart] : 0;\n    __syncthreads();": "t - apart] : 0;\n    __syncwarp();"},
    ),
    Mistake(
        "3.7 horizontal_gradient",
        "only the array's last pixel looked at",
        hint="What the emulator reports is gone, but the bug is not: "
        "where does pixel + 1 lie for the last pixel of any other row?",
        replace={"column < width - 1 ?": "pixel + 1 < height * width ?"},
    ),
    Mistake(
        "3.7 horizontal_gradient",
        "the last column is not written",
        hint="The last pixel of a row has a gradient, too: 0. Nobody has put it there before.",
        replace={"row >= height || column >= width)": "row >= height || column >= width - 1)"},
    ),
    Mistake(
        "3.7 block_maximum",
        "0 in the place of what is not there",
        hint="Which number changes no maximum? 0 does, where all others are negative.",
        replace={"elements[i] : MINUS_INFINITY;": "elements[i] : 0.0f;"},
    ),
    Mistake(
        "3.7 block_maximum",
        "the return moved behind the first barrier",
        hint="The first barrier is reached by all now. There are more of them, in the loop.",
        replace={"  __syncthreads();\n  for": "  __syncthreads();\n  if (i >= n) return;\n  for"},
    ),
    Mistake(
        "3.7 row_sums",
        "padding of two",
        hint="With rows of 34 words, lanes 0 and 16 still meet in one bank. "
        "How many banks do the lanes need to be apart from one another?",
        replace={"tile[32][33];": "tile[32][34];"},
    ),
    Mistake(
        "3.7 row_sums",
        "the tile left out",
        hint="Without the tile nothing waits for a bank. But now each lane reads from another row: "
        "how many sectors does a warp read for 32 elements?",
        source=_HEAD_OF_ROWS
        + """  float sum = 0.0f;
  if (top + lane < rows)
    for (int k = 0; k < columns; k++) sum += matrix[(top + lane) * columns + k];
  if (top + lane < rows) sums[top + lane] = sum;
}
""",
    ),
    Mistake(
        "3.7 free_list",
        "giving back sets the counter to 0",
        hint="What giving back swaps in has a counter of 0 again. Then a head may come back after "
        "all. Every swap has to go on counting.",
        replace={"((expected + one) & high) | node": "(Head)node"},
    ),
    Mistake(
        "3.7 free_list",
        "a single bit for the counter",
        hint="A counter of one bit is back after two swaps. "
        "You have 32 bits: how many swaps can they tell apart?",
        replace={
            "((seen + one) & high) | (unsigned)behind": "((seen ^ one) & high) | (unsigned)behind",
            "((expected + one) & high) | node": "((expected ^ one) & high) | node",
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "3.7 prefix_sum",
        """
__global__ void prefix_sum(const int *elements, int *sums, int n) {
  __shared__ int s[2][256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t, from = 0;
  s[0][t] = i < n ? elements[i] : 0;
  for (int apart = 1; apart < blockDim.x; apart *= 2, from = 1 - from) {
    __syncthreads();
    s[1 - from][t] = s[from][t] + (t >= apart ? s[from][t - apart] : 0);
  }
  if (i < n) sums[i] = s[from][t];
}
""",
    ),
    Alternative(
        "3.7 horizontal_gradient",
        """
__global__ void horizontal_gradient(const float *image, float *gradient, int height, int width) {
  int column = blockIdx.x * blockDim.x + threadIdx.x;
  int row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row < height && column < width) {
    const float *here = image + row * width + column;
    gradient[row * width + column] = column + 1 == width ? 0.0f : here[1] - here[0];
  }
}
""",
    ),
    Alternative(
        "3.7 block_maximum",
        """
__global__ void block_maximum(const float *elements, float *maxima, int n) {
  __shared__ float s[256];
  int t = threadIdx.x, first = blockIdx.x * blockDim.x;
  int count = n - first < blockDim.x ? n - first : blockDim.x;
  if (t < count) s[t] = elements[first + t];
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half && t + half < count) s[t] = s[t] > s[t + half] ? s[t] : s[t + half];
  }
  if (t == 0) maxima[blockIdx.x] = s[0];
}
""",
    ),
    Alternative(
        "3.7 row_sums",
        _HEAD_OF_ROWS
        + """  __shared__ float tile[32][32];
  float sum = 0.0f;
  for (int left = 0; left < columns; left += 32) {
    for (int r = 0; r < 32; r++) {
      bool inside = top + r < rows && left + lane < columns;
      tile[r][lane] = inside ? matrix[(top + r) * columns + left + lane] : 0.0f;
    }
    __syncwarp();
    for (int k = 0; k < 32; k++) sum += tile[lane][(k + lane) % 32];
    __syncwarp();
  }
  if (top + lane < rows) sums[top + lane] = sum;
}
""",
    ),
    Alternative(
        "3.7 free_list",
        """
#define MOST 8
#define NONE 0xffffffffu
typedef unsigned long long Head;

__global__ void free_list(Head *head, int *next, const int *turns, int count, int *held) {
  int mine[MOST], holds = 0;
  Head seen = 0;
  for (int turn = 0; turn < count; turn++) {
    __syncthreads();
    if (turns[2 * turn] != threadIdx.x) continue;
    int action = turns[2 * turn + 1];
    if (action == 0) seen = atomicCAS(head, (Head)0, (Head)0);
    if (action == 1) {
      for (unsigned node = seen; node != NONE; node = seen) {
        // Taking leaves the counter as it is: a node that comes back was given back in between.
        Head found = atomicCAS(head, seen, (seen >> 32 << 32) | (unsigned)next[node]);
        if (found == seen) {
          mine[holds++] = node;
          break;
        }
        seen = found;
      }
    }
    if (action == 2 && holds > 0) {
      unsigned node = mine[0];
      holds--;
      for (int i = 0; i < holds; i++) mine[i] = mine[i + 1];
      for (;;) {
        Head now = atomicCAS(head, (Head)0, (Head)0);
        next[node] = (int)now;
        if (atomicCAS(head, now, ((now >> 32) + 1) << 32 | node) == now) break;
      }
    }
  }
  for (int i = 0; i < MOST; i++) held[threadIdx.x * MOST + i] = i < holds ? mine[i] : -1;
}
""",
    ),
]
