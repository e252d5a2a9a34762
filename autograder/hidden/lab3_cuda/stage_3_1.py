"""Stage 3.1: hidden cases, mistakes and alternatives of threads and their indices."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.threads import grid_case, image_case, shape_case, vector_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def shapes(rng: np.random.Generator) -> list[Case]:
    """Launches on both sides of what is resident, and what is refused."""
    block = 32 * int(rng.integers(2, 12))
    multiprocessors, each = int(rng.integers(10, 140)), int(rng.integers(2, 16))
    resident = multiprocessors * each
    few, many = int(rng.integers(2, resident)), resident + int(rng.integers(1, 1000))
    machine = (block, multiprocessors, each)
    return [
        shape_case("hidden 1: fewer than are resident", few * block - 3, *machine),
        shape_case("hidden 2: whole blocks", few * block, *machine),
        shape_case("hidden 3: more than are resident", many * block, *machine),
        shape_case("hidden 4: one element more than fits", resident * block + 1, *machine),
        shape_case("hidden 5: nothing to do", 0, *machine),
        shape_case("hidden 6: a block too large", many, 1024 + block, multiprocessors, each),
        shape_case("hidden 7: a block of no threads", many, 0, multiprocessors, each),
        shape_case("hidden 8: less than no elements", -few, *machine),
    ]


def vectors(rng: np.random.Generator) -> list[Case]:
    """Vectors that are no multiple of the block, and one element."""
    cases = []
    for number, block in enumerate((64, 96, 256)):
        n = block * int(rng.integers(2, 5)) + int(rng.integers(1, block))
        name = f"hidden {number + 1}: {n} elements in blocks of {block}"
        cases.append(vector_case(name, _seed(rng), n, block))
    return [*cases, vector_case("hidden 4: one element", _seed(rng), 1, 64)]


def grids(rng: np.random.Generator) -> list[Case]:
    """Grids with fewer and with more threads than there are elements."""
    cases = []
    for number, (grid, block) in enumerate(((1, 96), (3, 64), (7, 32), (5, 128))):
        n = int(rng.integers(200, 900))
        name = f"hidden {number + 1}: {n} elements, {grid} blocks of {block} threads"
        cases.append(grid_case(name, _seed(rng), n, grid, block))
    return [*cases, grid_case("hidden 5: 3 elements, 4 blocks", _seed(rng), 3, 4, 32)]


def images(rng: np.random.Generator) -> list[Case]:
    """Images of several shapes, in blocks that do not fit."""
    cases = []
    for number, block in enumerate(([32, 4], [16, 16], [8, 3])):
        rows, columns = int(rng.integers(11, 30)), int(rng.integers(31, 70))
        rows, columns = (rows, columns) if number != 1 else (columns, rows)
        name = f"hidden {number + 1}: {rows} x {columns} pixels"
        cases.append(image_case(name, _seed(rng), rows, columns, block))
    return [*cases, image_case("hidden 4: one column", _seed(rng), 50, 1, [32, 4])]


def _counted_vector(rng: np.random.Generator) -> list[Case]:
    n = 256 * int(rng.integers(8, 13))
    return [Case(f"hidden: {n:,} elements", {"n": n, "block": 256}, _seed(rng), 2)]


def _counted_grid(rng: np.random.Generator) -> list[Case]:
    n = 512 * int(rng.integers(8, 13))
    return [grid_case(f"hidden: {n:,} elements, 4 blocks", _seed(rng), n, 4, 128, weight=2)]


def _shared_grid(rng: np.random.Generator) -> list[Case]:
    n = 512 * int(rng.integers(6, 10))
    return [grid_case(f"hidden: {n:,} elements, 8 blocks", _seed(rng), n, 8, 64)]


def _counted_image(rng: np.random.Generator) -> list[Case]:
    rows = 8 * int(rng.integers(4, 8))
    inputs = {"rows": rows, "columns": 64, "block": [32, 16]}
    return [Case(f"hidden: {rows} x 64 pixels", inputs, _seed(rng), 2)]


CASES = {
    "launch_shape_values": shapes,
    "vector_add_values": vectors,
    "vector_add_sectors": _counted_vector,
    "saxpy_values": grids,
    "saxpy_sectors": _counted_grid,
    "saxpy_share": _shared_grid,
    "greyscale_values": images,
    "greyscale_sectors": _counted_image,
}

MISTAKES = [
    Mistake(
        "3.1 launch_shape",
        "rounded down",
        hint="Where the elements are no multiple of the block, the last ones need a block, too. "
        "The division has to be rounded up.",
        replace={"needed = -(-elements // block)": "needed = elements // block"},
    ),
    Mistake(
        "3.1 launch_shape",
        "a block too many for whole blocks",
        hint="1,024 elements are four blocks of 256, not five. "
        "Which rounding is right for multiples and for everything else?",
        replace={"needed = -(-elements // block)": "needed = elements // block + 1"},
    ),
    Mistake(
        "3.1 launch_shape",
        "no limit",
        hint="With a grid-stride loop there need not be a thread an element. "
        "How many blocks does the whole GPU hold at the same time?",
        replace={"max(1, min(needed, multiprocessors * blocks_each))": "max(1, needed)"},
    ),
    Mistake(
        "3.1 launch_shape",
        "a launch of no blocks",
        hint="With nothing to do there is still a launch, and a launch of no blocks is an error.",
        replace={
            "max(1, min(needed, multiprocessors * blocks_each))": (
                "min(needed, multiprocessors * blocks_each)"
            )
        },
    ),
    Mistake(
        "3.1 vector_add",
        "no look at the bound",
        hint="1,000 elements in blocks of 256 are four blocks, and the last one has 24 threads too "
        "many. The first of them has i = n. What may it touch?",
        replace={"if (i < n) sum[i]": "sum[i]"},
    ),
    Mistake(
        "3.1 vector_add",
        "the block's number forgotten",
        hint="threadIdx.x begins at 0 in every block. "
        "How many threads are there in all the blocks before this one?",
        replace={"blockIdx.x * blockDim.x + threadIdx.x": "threadIdx.x"},
    ),
    Mistake(
        "3.1 vector_add",
        "neighbouring threads far apart",
        hint="The sums are right, but threads of the same warp touch elements that lie far apart, "
        "so every one of them moves a sector of its own. Neighbours have to touch neighbours.",
        replace={"blockIdx.x * blockDim.x + threadIdx.x": "threadIdx.x * gridDim.x + blockIdx.x"},
    ),
    Mistake(
        "3.1 saxpy",
        "one element a thread",
        hint="With fewer threads than elements, the elements behind the last thread stay as they "
        "were. After its first element a thread has to go on to another one.",
        replace={
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) y[i]": (
                "const int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i]"
            )
        },
    ),
    Mistake(
        "3.1 saxpy",
        "a step of one block",
        hint="A thread that steps on by the threads of its own block comes to elements that "
        "another block has, too, and y gets a x more than once. "
        "How many threads has the whole grid?",
        replace={"gridDim.x * blockDim.x;": "blockDim.x;"},
    ),
    Mistake(
        "3.1 saxpy",
        "a piece of neighbours for each thread",
        hint="A thread that takes neighbouring elements one after another is what a CPU likes. "
        "Here 32 threads run together: look at which 32 elements they touch at the same moment.",
        replace={
            "const int stride = gridDim.x * blockDim.x;": (
                "const int all = gridDim.x * blockDim.x, piece = (n + all - 1) / all;\n"
                "    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * piece;"
            ),
            "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)": (
                "for (int i = first; i < first + piece && i < n; ++i)"
            ),
        },
    ),
    Mistake(
        "3.1 saxpy",
        "the first block does it all",
        hint="The result is right, and one multiprocessor computes it while all the others wait. "
        "Every block has to take its part.",
        replace={
            "gridDim.x * blockDim.x;": "blockDim.x;\n    if (blockIdx.x > 0) return;",
        },
    ),
    Mistake(
        "3.1 greyscale",
        "x is the row",
        hint="The grid has blocks for the columns in x. Which of two neighbouring threads' "
        "pixels should be neighbours in memory?",
        source="""
__global__ void greyscale(const float *image, float *grey, int rows, int columns) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    const int column = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    const int pixel = row * columns + column, plane = rows * columns;
    grey[pixel] = 0.299f * image[pixel] + 0.587f * image[plane + pixel]
        + 0.114f * image[2 * plane + pixel];
}
""",
    ),
    Mistake(
        "3.1 greyscale",
        "only the rows are bounded",
        hint="A thread to the right of the last column is not outside the array: its pixel is in "
        "the next row, where another thread is at work.",
        replace={"row >= rows || column >= columns": "row >= rows"},
    ),
    Mistake(
        "3.1 greyscale",
        "down the columns within a block",
        hint="The values are right. But the threads of a warp differ in threadIdx.x first, and "
        "they go down a column here: their pixels are a whole row apart.",
        source="""
__global__ void greyscale(const float *image, float *grey, int rows, int columns) {
    const int number = threadIdx.y * blockDim.x + threadIdx.x;
    const int column = blockIdx.x * blockDim.x + number / blockDim.y;
    const int row = blockIdx.y * blockDim.y + number % blockDim.y;
    if (row >= rows || column >= columns) return;
    const int pixel = row * columns + column, plane = rows * columns;
    grey[pixel] = 0.299f * image[pixel] + 0.587f * image[plane + pixel]
        + 0.114f * image[2 * plane + pixel];
}
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "3.1 launch_shape",
        '''
def launch_shape(elements: int, block: int, multiprocessors: int, blocks_each: int) -> int:
    """How many blocks to launch of a kernel with a grid-stride loop."""
    if block < 1 or block > 1024 or elements < 0:
        raise ValueError("a launch that cannot be")
    grid = (elements + block - 1) // block
    resident = multiprocessors * blocks_each
    if grid > resident:
        return resident
    return grid or 1
''',
    ),
    Alternative(
        "3.1 vector_add",
        """
template <class Number>
__device__ Number add(Number x, Number y) { return x + y; }

__global__ void vector_add(const float *__restrict__ a, const float *__restrict__ b,
                           float *__restrict__ sum, int n) {
    unsigned i = threadIdx.x;
    i += blockDim.x * blockIdx.x;
    if (i >= n) return;
    sum[i] = add(a[i], b[i]);
}
""",
    ),
    Alternative(
        "3.1 saxpy",
        """
// Every block takes one piece of neighbours, and its threads go through that together.
__global__ void saxpy(float a, const float *x, float *y, int n) {
    const int piece = (n + gridDim.x - 1) / gridDim.x;
    const int end = min(n, (int)(blockIdx.x + 1) * piece);
    for (int i = blockIdx.x * piece + threadIdx.x; i < end; i += blockDim.x)
        y[i] = fmaf(a, x[i], y[i]);
}
""",
        title="a piece for each block",
    ),
    Alternative(
        "3.1 saxpy",
        """
__global__ void saxpy(float a, const float *x, float *y, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    while (i < n) {
        const float product = a * x[i];
        y[i] += product;
        i += blockDim.x * gridDim.x;
    }
}
""",
    ),
    Alternative(
        "3.1 greyscale",
        """
__constant__ float weights[3] = {0.299f, 0.587f, 0.114f};

__global__ void greyscale(const float *image, float *grey, int rows, int columns) {
    const int x = threadIdx.x + blockIdx.x * blockDim.x, y = threadIdx.y + blockIdx.y * blockDim.y;
    if (x < columns && y < rows) {
        float sum = 0;
        for (int colour = 0; colour < 3; ++colour)
            sum += weights[colour] * image[(colour * rows + y) * columns + x];
        grey[y * columns + x] = sum;
    }
}
""",
    ),
]
