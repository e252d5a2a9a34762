"""Stage 3.3: hidden cases, mistakes and alternatives of the transposes."""

import numpy as np

from aisys.course import Case
from aisys.cuda import transpose
from aisys.cuda.checks.transpose import matrix_case, strided, warp_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def matrices(rng: np.random.Generator) -> list[Case]:
    """A wide, a high and a small matrix, whose sizes are no multiples of a tile."""
    sizes = [
        (int(rng.integers(34, 60)), int(rng.integers(65, 95))),
        (int(rng.integers(65, 95)), int(rng.integers(3, 31))),
        (int(rng.integers(2, 8)), int(rng.integers(9, 31))),
    ]
    return [
        matrix_case(f"hidden {number + 1}: {rows} x {columns}", _seed(rng), rows, columns)
        for number, (rows, columns) in enumerate(sizes)
    ]


def counted(rng: np.random.Generator) -> list[Case]:
    """A matrix in whole tiles, not square, and one whose last tiles are not whole."""
    rows, columns = 32 * int(rng.integers(2, 4)), 32 * int(rng.integers(4, 6))
    odd = 8 * int(rng.integers(5, 8))
    return [
        matrix_case(f"hidden 4: {rows} x {columns}, counted", _seed(rng), rows, columns, weight=2),
        matrix_case(f"hidden 5: {odd} x 96, counted", _seed(rng), odd, 96),
    ]


def warps(rng: np.random.Generator) -> list[Case]:
    """Strides, a row that begins anywhere, shuffled and repeated words, a part of a warp."""
    stride = int(rng.choice([3, 5, 8, 12, 16, 33]))
    begin = 4 * int(rng.integers(1, 8))
    order = (4 * rng.permutation(64)[:32]).tolist()
    few = (128 * rng.integers(0, 6, 32)).tolist()
    some = [4 * n * n if rng.random() < 0.6 else None for n in range(32)]
    return [
        warp_case(f"hidden 1: {stride} numbers apart", strided(stride)),
        warp_case("hidden 2: from the middle of a sector", [begin + 4 * n for n in range(32)]),
        warp_case("hidden 3: neighbours in another order", order),
        warp_case("hidden 4: some words several times", few),
        warp_case("hidden 5: some lanes", some),
        warp_case("hidden 6: 8 lanes only", strided(32, 8)),
    ]


CASES = {
    "transpose_naive_values": matrices,
    "transpose_tiled_values": matrices,
    "transpose_padded_values": matrices,
    "transpose_naive_counts": counted,
    "transpose_tiled_counts": counted,
    "transpose_padded_counts": counted,
    "sectors_and_passes_counts": warps,
}

MISTAKES = [
    Mistake(
        "3.3 transpose_naive",
        "no look at the bounds",
        hint="The grid covers more than the matrix where its sizes are no multiples of the block. "
        "What do the threads beyond the edge do?",
        replace={"if (x < columns && y < rows) output": "output"},
    ),
    Mistake(
        "3.3 transpose_naive",
        "a row of output as long as a row of input",
        hint="output has as many columns as input has rows. How far apart are two of its rows?",
        replace={"output[x * rows + y]": "output[x * columns + y]"},
    ),
    Mistake(
        "3.3 transpose_naive",
        "a warp down a column",
        hint="The result is right, but the threads of a warp read down columns of input, and each "
        "of their numbers lies in another sector. Which index do the 32 threads of a warp differ "
        "in, and which of x and y goes along a row?",
        replace={
            "    const int x = blockIdx.x * blockDim.x + threadIdx.x;\n"
            "    const int y = blockIdx.y * blockDim.y + threadIdx.y;\n": (
                "    const int t = threadIdx.y * blockDim.x + threadIdx.x;\n"
                "    const int x = blockIdx.x * blockDim.x + t / blockDim.y;\n"
                "    const int y = blockIdx.y * blockDim.y + t % blockDim.y;\n"
            )
        },
    ),
    Mistake(
        "3.3 transpose_naive",
        "x for the rows",
        hint="The blocks are 32 threads wide, and the grid is as wide as input in such blocks: "
        "x goes along the columns, y along the rows.",
        replace={
            "    const int x = blockIdx.x * blockDim.x + threadIdx.x;\n"
            "    const int y = blockIdx.y * blockDim.y + threadIdx.y;\n": (
                "    const int y = blockIdx.x * blockDim.x + threadIdx.x;\n"
                "    const int x = blockIdx.y * blockDim.y + threadIdx.y;\n"
            )
        },
    ),
    Mistake(
        "3.3 sectors_and_passes",
        "every word that is wanted twice counted as a conflict",
        hint="A bank serves one word to all the lanes that want it, in one pass. "
        "Only different words of a bank wait for each other.",
        replace={"words = {offset // 4 for offset in active}": "words = [o // 4 for o in active]"},
    ),
    Mistake(
        "3.3 sectors_and_passes",
        "sectors from the first offset",
        hint="Sectors begin at multiples of 32 bytes of the array, wherever the first lane reads: "
        "128 bytes from the middle of a sector touch five.",
        replace={
            "sectors = {offset // 32 for offset in active}": (
                "sectors = {(offset - min(active)) // 32 for offset in active}"
            )
        },
    ),
    Mistake(
        "3.3 sectors_and_passes",
        "banks of one byte",
        hint="A bank is 4 bytes wide: the bank of a number follows from its word, not its byte.",
        replace={"[word % 32 for word in words]": "[4 * word % 32 for word in words]"},
    ),
    Mistake(
        "3.3 transpose_tiled",
        "no barrier",
        hint="A thread writes a number that another thread has read from input. "
        "What makes sure that it lies in the tile by then?",
        replace={"    __syncthreads();\n": ""},
    ),
    Mistake(
        "3.3 transpose_tiled",
        "threads beyond the edge leave before the barrier",
        hint="A thread without an element of input still has to come to the barrier, and may have "
        "an element of output. Put the condition around the access, not a return before it.",
        replace={
            "    if (x < columns && y < rows) tile": (
                "    if (x >= columns || y >= rows) return;\n    tile"
            )
        },
    ),
    Mistake(
        "3.3 transpose_tiled",
        "written down a column",
        hint="The result is right, but each thread writes the number that it read, so that a warp "
        "writes down a column of output. Let it write one that another thread read: "
        "the tile is there for that.",
        replace={
            "    x = blockIdx.y * TILE + threadIdx.x;\n"
            "    y = blockIdx.x * TILE + threadIdx.y;\n"
            "    if (x < rows && y < columns) output[y * rows + x] "
            "= tile[threadIdx.x][threadIdx.y];\n": (
                "    if (x < columns && y < rows) output[x * rows + y] "
                "= tile[threadIdx.y][threadIdx.x];\n"
            )
        },
    ),
    Mistake(
        "3.3 transpose_tiled",
        "the tile not transposed",
        hint="The tiles are in their new places, but each one still has its rows as rows.",
        replace={"tile[threadIdx.x][threadIdx.y];": "tile[threadIdx.y][threadIdx.x];"},
    ),
    Mistake(
        "3.3 transpose_padded",
        "no padding",
        hint="A column of a tile of 32 x 32 lies in a single bank. By how much would the rows have "
        "to be longer for it to lie in 32?",
        replace={"tile[TILE][TILE + 1]": "tile[TILE][TILE]"},
    ),
    Mistake(
        "3.3 transpose_padded",
        "one more row in place of a longer row",
        hint="The padding is behind the last row. Which of the two sizes decides how far apart "
        "the numbers of a column lie?",
        replace={"tile[TILE][TILE + 1]": "tile[TILE + 1][TILE]"},
    ),
    Mistake(
        "3.3 transpose_padded",
        "one element a thread",
        hint="A block has 8 rows of threads, its tile 32 rows. Which rows does a thread move?",
        replace={
            "            output[(y + k) * rows + x] = tile[threadIdx.x][threadIdx.y + k];": (
                "            if (k == 0) output[y * rows + x] = tile[threadIdx.x][threadIdx.y];"
            )
        },
    ),
    Mistake(
        "3.3 transpose_padded",
        "the bounds of the first row for all four",
        hint="Of a thread's four elements some may lie beyond the edge and others not: "
        "each has a row of its own.",
        replace={
            "if (x < columns && y + k < rows)": "if (x < columns && y < rows)",
        },
    ),
]

_PADDED = transpose.transpose_padded.marked.partition("    // BEGIN SOLUTION")[0]
_TILED = transpose.transpose_tiled.marked.partition("    __shared__")[0]

ALTERNATIVES = [
    Alternative(
        "3.3 transpose_naive",
        """
__global__ void transpose_naive(const float *input, float *output, int rows, int columns) {
    int column = blockIdx.x * 32 + threadIdx.x;
    if (column >= columns) return;
    int row = blockIdx.y * 8 + threadIdx.y;
    if (row >= rows) return;
    const float *from = input + row * columns;
    output += row;
    output[column * rows] = from[column];
}
""",
    ),
    Alternative(
        "3.3 sectors_and_passes",
        """
def sectors_and_passes(offsets):
    sectors, banks = [], {}
    for offset in offsets:
        if offset is None:
            continue
        if offset >> 5 not in sectors:
            sectors.append(offset >> 5)
        banks.setdefault(offset // 4 % 32, set()).add(offset)
    passes = 0
    for words in banks.values():
        passes = max(passes, len(words))
    return len(sectors), passes
""",
    ),
    Alternative(
        "3.3 transpose_tiled",
        _TILED
        + """
    __shared__ float turned[TILE * TILE];
    const int left = blockIdx.x * TILE, top = blockIdx.y * TILE;
    const int i = threadIdx.y, j = threadIdx.x;
    if (left + j < columns && top + i < rows)
        turned[j * TILE + i] = input[(top + i) * columns + left + j];
    __syncthreads();
    if (top + j < rows && left + i < columns)
        output[(left + i) * rows + top + j] = turned[i * TILE + j];
}
""",
    ),
    Alternative(
        "3.3 transpose_padded",
        _PADDED
        + """
    // No padding: row i holds its numbers in another order, number j at place i ^ j.
    __shared__ float tile[TILE * TILE];
    const int left = blockIdx.x * TILE, top = blockIdx.y * TILE, j = threadIdx.x;
    #pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = top + i, column = left + j;
        if (row < rows && column < columns) tile[i * 32 + (i ^ j)] = input[row * columns + column];
    }
    __syncthreads();
    #pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = left + i, column = top + j;
        if (row < columns && column < rows) output[row * rows + column] = tile[j * 32 + (i ^ j)];
    }
}
""",
        title="the numbers of a row in another order instead of padding",
    ),
]
