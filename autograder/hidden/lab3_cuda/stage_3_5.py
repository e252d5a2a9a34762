"""Stage 3.5: hidden cases, mistakes and alternatives of the matrix products."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.matmul import bytes_case, count_case, product_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _products(rng: np.random.Generator, multiple: int) -> list[Case]:
    """Products with sizes from below a tile's to above two of them, and edges everywhere."""
    cases = []
    for number, (least, most) in enumerate([(3, 15), (17, 31), (33, 45)]):
        rows = int(rng.integers(least, most))
        inner, columns = (int(rng.integers(least, most)) // multiple * multiple for _ in range(2))
        inner, columns = max(multiple, inner), max(multiple, columns) + 32 // multiple * multiple
        name = f"hidden {number + 1}: {rows} x {inner} times {inner} x {columns}"
        cases.append(product_case(name, _seed(rng), rows, inner, columns))
    return cases


def naive(rng: np.random.Generator) -> list[Case]:
    """Products whose last blocks stick out."""
    return _products(rng, 1)


def tiled(rng: np.random.Generator) -> list[Case]:
    """Products whose last tiles stick out, and one row."""
    row = product_case("hidden 4: one row", _seed(rng), 1, int(rng.integers(17, 40)), 33)
    return [*_products(rng, 1), row]


def registers(rng: np.random.Generator) -> list[Case]:
    """Products whose last tiles stick out, in multiples of four, and one column of vectors."""
    column = product_case("hidden 4: four columns", _seed(rng), int(rng.integers(33, 60)), 12, 4)
    return [*_products(rng, 4), column]


def naive_traffic(rng: np.random.Generator) -> list[Case]:
    """A wide and a high product of full blocks."""
    wide, high = 32 * int(rng.integers(2, 4)), 8 * int(rng.integers(5, 9))
    return [
        count_case(f"hidden 5: sectors of 8 x 24 times 24 x {wide}", 8, 24, wide),
        count_case(f"hidden 6: sectors of {high} x 16 times 16 x 32", high, 16, 32),
    ]


def tiled_traffic(rng: np.random.Generator) -> list[Case]:
    """Products of full tiles."""
    inner, high = 16 * int(rng.integers(2, 5)), 16 * int(rng.integers(2, 5))
    name = f"hidden 5: traffic of {high} x {inner} times {inner} x 32"
    return [count_case(name, high, inner, 32, weight=2)]


def registers_traffic(rng: np.random.Generator) -> list[Case]:
    """Products of full tiles."""
    inner, wide = 8 * int(rng.integers(3, 7)), 64 * int(rng.integers(1, 3))
    name = f"hidden 5: traffic of 64 x {inner} times {inner} x {wide}"
    return [count_case(name, 64, inner, wide, weight=3)]


def traffic(rng: np.random.Generator) -> list[Case]:
    """Sizes that are multiples of the tiles', and sizes that are not."""
    cases = []
    for number in range(5):
        rows, inner, columns = (int(n) for n in rng.integers(20, 400, 3))
        high, wide = (int(n) for n in rng.choice([8, 16, 32, 48, 64, 128], 2, replace=False))
        if number == 0:
            rows, columns = 3 * high, 2 * wide
        name = f"hidden {number + 1}: {high} x {wide} on {rows} x {inner} times {inner} x {columns}"
        cases.append(bytes_case(name, rows, inner, columns, high, wide))
    return cases


CASES = {
    "matmul_naive_values": naive,
    "matmul_naive_traffic": naive_traffic,
    "matmul_tiled_values": tiled,
    "matmul_tiled_traffic": tiled_traffic,
    "matmul_registers_values": registers,
    "matmul_registers_traffic": registers_traffic,
    "predicted_bytes_values": traffic,
}

_REPEATED = """
template <int ROWS, int COLUMNS, int DEPTH, int HIGH>
__global__ void matmul_registers(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    __shared__ float4 a_tile[ROWS][DEPTH / 4];
    __shared__ float4 b_tile[DEPTH][COLUMNS / 4];
    const float4 *a_vectors = reinterpret_cast<const float4 *>(a);
    const float4 *b_vectors = reinterpret_cast<const float4 *>(b);
    const float4 zeros = make_float4(0, 0, 0, 0);
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    const int top = blockIdx.y * ROWS, left = blockIdx.x * COLUMNS;
    float4 sums[HIGH];
    for (int i = 0; i < HIGH; ++i) sums[i] = zeros;
    for (int begin = 0; begin < inner; begin += DEPTH) {
        for (int i = thread; i < ROWS * (DEPTH / 4); i += threads) {
            const int y = i / (DEPTH / 4), x = i % (DEPTH / 4), row = top + y, k = begin + 4 * x;
            a_tile[y][x] = row < rows && k < inner ? a_vectors[(row * inner + k) / 4] : zeros;
        }
        for (int i = thread; i < DEPTH * (COLUMNS / 4); i += threads) {
            const int y = i / (COLUMNS / 4), x = i % (COLUMNS / 4);
            const int k = begin + y, column = left + 4 * x;
            b_tile[y][x] =
                k < inner && column < columns ? b_vectors[(k * columns + column) / 4] : zeros;
        }
        __syncthreads();
        for (int i = 0; i < HIGH; ++i)
            for (int k = 0; k < DEPTH / 4; ++k) {
                const float4 along = a_tile[threadIdx.y + i * blockDim.y][k];
                const float4 b0 = b_tile[4 * k][threadIdx.x], b1 = b_tile[4 * k + 1][threadIdx.x];
                const float4 b2 = b_tile[4 * k + 2][threadIdx.x];
                const float4 b3 = b_tile[4 * k + 3][threadIdx.x];
                sums[i].x += along.x * b0.x + along.y * b1.x + along.z * b2.x + along.w * b3.x;
                sums[i].y += along.x * b0.y + along.y * b1.y + along.z * b2.y + along.w * b3.y;
                sums[i].z += along.x * b0.z + along.y * b1.z + along.z * b2.z + along.w * b3.z;
                sums[i].w += along.x * b0.w + along.y * b1.w + along.z * b2.w + along.w * b3.w;
            }
        __syncthreads();
    }
    const int column = left + 4 * threadIdx.x;
    for (int i = 0; i < HIGH; ++i) {
        const int row = top + threadIdx.y + i * blockDim.y;
        if (row < rows && column < columns)
            reinterpret_cast<float4 *>(c)[(row * columns + column) / 4] = sums[i];
    }
}
"""

MISTAKES = [
    Mistake(
        "3.5 matmul_naive",
        "a thread beyond the edge goes on",
        hint="The grid covers c in whole blocks, so some threads lie outside of c. "
        "What should they do?",
        replace={"if (row >= rows || column >= columns) return;": "if (row >= rows) return;"},
    ),
    Mistake(
        "3.5 matmul_naive",
        "b's rows taken as long as a's",
        hint="How far apart in memory are two neighbours in a column of b? "
        "Its rows have another length than those of a.",
        replace={"b[k * columns + column]": "b[k * inner + column]"},
    ),
    Mistake(
        "3.5 matmul_naive",
        "neighbours of a warp in different rows",
        hint="The product is right, but neighbouring lanes read b in different rows. "
        "Which of x and y should count along a row?",
        source="""
__global__ void matmul_naive(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    const int blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
    const int threads = blockDim.x * blockDim.y;
    const int thread = block * threads + threadIdx.y * blockDim.x + threadIdx.x;
    for (int i = thread; i < rows * columns; i += blocks * threads) {
        const int row = i % rows, column = i / rows;
        float sum = 0;
        for (int k = 0; k < inner; ++k) sum += a[row * inner + k] * b[k * columns + column];
        c[row * columns + column] = sum;
    }
}
""",
    ),
    Mistake(
        "3.5 matmul_tiled",
        "the second barrier forgotten",
        hint="A fast warp loads the next tiles while a slow one still multiplies with these. "
        "What has to be waited for at the end of a step?",
        replace={
            "        // Nobody may load the next tiles while somebody still reads these.\n"
            "        __syncthreads();\n": ""
        },
    ),
    Mistake(
        "3.5 matmul_tiled",
        "a's tile not cut off at the inner edge",
        hint="Where inner is no multiple of TILE, the last tile of a sticks out. "
        "What stands in memory behind the end of a row?",
        replace={"row < rows && begin + x < inner ?": "row < rows ?"},
    ),
    Mistake(
        "3.5 matmul_tiled",
        "threads outside leave before the barrier",
        hint="A thread whose element lies outside of c has nothing to write, "
        "but it has elements of the tiles to load, and the others wait for it at the barrier.",
        replace={
            "    float sum = 0;\n": "    if (row >= rows || column >= columns) return;\n"
            "    float sum = 0;\n"
        },
    ),
    Mistake(
        "3.5 matmul_tiled",
        "b's tile turned in shared memory",
        hint="The product is right, but the lanes of a warp walk down a column of b's tile, "
        "and a column of 16 floats lies in two banks.",
        replace={
            "        b_tile[y][x] =\n": "        b_tile[x][y] =\n",
            "a_tile[y][k] * b_tile[k][x]": "a_tile[y][k] * b_tile[x][k]",
        },
    ),
    Mistake(
        "3.5 matmul_tiled",
        "b read down its columns",
        hint="The product is right, but when b's tile is loaded, neighbouring lanes read "
        "different rows of b. Which of x and y should count along a row?",
        replace={
            "        b_tile[y][x] =\n"
            "            begin + y < inner && column < columns ? b[(begin + y) * columns + column]"
            " : 0;\n": (
                "        const int across = blockIdx.x * TILE + y;\n"
                "        b_tile[x][y] =\n"
                "            begin + x < inner && across < columns ?"
                " b[(begin + x) * columns + across] : 0;\n"
            )
        },
    ),
    Mistake(
        "3.5 matmul_registers",
        "b's tile not cut off at the inner edge",
        hint="Where inner is no multiple of DEPTH, the last tile of b sticks out below. "
        "What does the kernel read there?",
        replace={
            "const bool inside = k < inner && column < columns;": (
                "const bool inside = column < columns;"
            )
        },
    ),
    Mistake(
        "3.5 matmul_registers",
        "the first barrier forgotten",
        hint="A thread multiplies with what other threads have loaded. "
        "How does it know that they have?",
        replace={"        __syncthreads();\n#pragma unroll\n": "#pragma unroll\n"},
    ),
    Mistake(
        "3.5 matmul_registers",
        "each vector of the tiles loaded in four requests",
        hint="The product is right, but global memory is read float by float. "
        "A load of a float4 is one request.",
        replace={
            "a_tile[y][x] = inside ? a_vectors[(row * inner + k) / 4] : zeros;": (
                "const float *from = a + row * inner + k;\n"
                "            a_tile[y][x] ="
                " inside ? make_float4(from[0], from[1], from[2], from[3]) : zeros;"
            ),
            "b_tile[y][x] = inside ? b_vectors[(k * columns + column) / 4] : zeros;": (
                "const float *from = b + k * columns + column;\n"
                "            b_tile[y][x] ="
                " inside ? make_float4(from[0], from[1], from[2], from[3]) : zeros;"
            ),
        },
    ),
    Mistake(
        "3.5 matmul_registers",
        "b's vectors read again for each row",
        hint="The product is right, but a vector of b's tile is read from shared memory once for "
        "each of a thread's rows. Which loop should be outside, that over the rows or that over k?",
        source=_REPEATED,
    ),
    Mistake(
        "3.5 predicted_bytes",
        "only whole tiles counted",
        hint="Where the tile's size does not divide that of c, there is one more tile, "
        "and its block reads too.",
        replace={
            "-(-rows // tile_rows)": "rows // tile_rows",
            "-(-columns // tile_columns)": "columns // tile_columns",
        },
    ),
    Mistake(
        "3.5 predicted_bytes",
        "a read once for each tile above another",
        hint="The rows of a belong to all tiles that lie side by side. "
        "How many of those are there?",
        replace={
            "from_a = rows * inner * tiles_across": "from_a = rows * inner * tiles_down",
            "from_b = inner * columns * tiles_down": "from_b = inner * columns * tiles_across",
        },
    ),
    Mistake(
        "3.5 predicted_bytes",
        "the result forgotten",
        hint="c is written, too.",
        replace={"from_a + from_b + rows * columns": "from_a + from_b"},
    ),
    Mistake(
        "3.5 predicted_bytes",
        "counted in elements",
        hint="Asked for are bytes, and the matrices hold float32.",
        replace={"return FLOAT_BYTES * (": "return ("},
    ),
]

ALTERNATIVES = [
    Alternative(
        "3.5 matmul_naive",
        """
__global__ void matmul_naive(
    const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ c,
    int rows, int inner, int columns) {
    int x = threadIdx.x + blockIdx.x * blockDim.x;
    for (int y = threadIdx.y + blockIdx.y * blockDim.y; y < rows; y += gridDim.y * blockDim.y) {
        if (x < columns) {
            const float *along = a + y * inner, *down = b + x;
            float sum = 0.0f;
            for (int k = inner; k-- > 0; ++along, down += columns) sum = fmaf(*along, *down, sum);
            c[y * columns + x] = sum;
        }
    }
}
""",
    ),
    Alternative(
        "3.5 matmul_tiled",
        """
#define TILE 16
__device__ float at(const float *m, int row, int column, int rows, int columns) {
    if (row < rows && column < columns) return m[row * columns + column];
    return 0.0f;
}

__global__ void matmul_tiled(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    __shared__ float tiles[2][TILE][TILE + 1];
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    for (int t = 0; t < (inner + TILE - 1) / TILE; t++) {
        __syncthreads();
        tiles[0][threadIdx.y][threadIdx.x] = at(a, row, t * TILE + threadIdx.x, rows, inner);
        tiles[1][threadIdx.y][threadIdx.x] = at(b, t * TILE + threadIdx.y, column, inner, columns);
        __syncthreads();
        int count = min(TILE, inner - t * TILE);
        for (int k = 0; k < count; k++)
            sum += tiles[0][threadIdx.y][k] * tiles[1][k][threadIdx.x];
    }
    if (row >= rows || column >= columns) return;
    c[row * columns + column] = sum;
}
""",
    ),
    Alternative(
        "3.5 matmul_registers",
        """
template <int ROWS, int COLUMNS, int DEPTH, int HIGH>
__global__ void matmul_registers(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    __shared__ __align__(16) float left[ROWS * DEPTH];
    __shared__ __align__(16) float right[DEPTH * COLUMNS];
    constexpr int THREADS = ROWS / HIGH * (COLUMNS / 4);
    const int x = threadIdx.x, y = threadIdx.y, me = y * (COLUMNS / 4) + x;
    float sums[HIGH][4] = {};
    for (int begin = 0; begin < inner; begin += DEPTH) {
        for (int i = 4 * me; i < ROWS * DEPTH; i += 4 * THREADS) {
            const int row = blockIdx.y * ROWS + i / DEPTH, k = begin + i % DEPTH;
            float4 v = {0, 0, 0, 0};
            if (row < rows && k < inner) v = *(const float4 *)&a[row * inner + k];
            *(float4 *)&left[i] = v;
        }
        for (int i = 4 * me; i < DEPTH * COLUMNS; i += 4 * THREADS) {
            const int k = begin + i / COLUMNS, column = blockIdx.x * COLUMNS + i % COLUMNS;
            float4 v = {0, 0, 0, 0};
            if (k < inner && column < columns) v = *(const float4 *)&b[k * columns + column];
            *(float4 *)&right[i] = v;
        }
        __syncthreads();
        for (int k = 0; k < DEPTH; ++k) {
            const float4 v = *(float4 *)&right[k * COLUMNS + 4 * x];
            for (int i = 0; i < HIGH; ++i) {
                const float u = left[(y + i * (ROWS / HIGH)) * DEPTH + k];
                sums[i][0] += u * v.x;
                sums[i][1] += u * v.y;
                sums[i][2] += u * v.z;
                sums[i][3] += u * v.w;
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < HIGH; ++i) {
        const int row = blockIdx.y * ROWS + y + i * (ROWS / HIGH);
        for (int j = 0; j < 4; ++j) {
            const int column = blockIdx.x * COLUMNS + 4 * x + j;
            if (row < rows && column < columns) c[row * columns + column] = sums[i][j];
        }
    }
}
""",
    ),
    Alternative(
        "3.5 predicted_bytes",
        """
def predicted_bytes(rows, inner, columns, tile_rows, tile_columns):
    moved = 0
    for top in range(0, rows, tile_rows):
        high = min(tile_rows, rows - top)
        for left in range(0, columns, tile_columns):
            wide = min(tile_columns, columns - left)
            moved += 4 * (high * inner + inner * wide + high * wide)
    return moved
""",
    ),
]

ANSWERS = {
    "3.5-written": """
1. Counted at 128 x 128: naive 0.40, tiled 3.8, registers 12.8 FLOP a byte. The edge of the A100's
   roof lies at 19.5e12 / 1555e9 = 12.5. The naive and the tiled kernel lie left of it, so the
   memory limits them: to 0.40 x 1555 GB/s = 0.62 TFLOP/s and 3.8 x 1555 GB/s = 5.9 TFLOP/s. The
   third lies just to the right of it, further for larger matrices, where writing c counts less
   (16 in the limit).
2. A tile of T x T reads T rows and T columns of length n for 2 T T n operations: 8 T n bytes, so
   T / 4 FLOP a byte. T = 16 gives 4, T = 64 gives 16: twice the tile, half the bytes. With one
   sum a thread, 64 x 64 sums need 4096 threads in a block, and 1024 is the most. And each step of
   a sum costs two reads of shared memory, 8 bytes for 2 FLOP. With 4 x 4 sums it is 8 reads for
   32 FLOP, a quarter of that.
3. A tile of 256 x 256 has 65,536 sums, and that is every register of a multiprocessor: nothing is
   left for operands and addresses. (Shared memory would do: 32 KB with steps of 16.) Before that,
   blocks become few. A block that is alone on its multiprocessor computes nothing while it waits
   for its tiles, and a small c has fewer tiles than the A100 has multiprocessors (108).
"""
}
