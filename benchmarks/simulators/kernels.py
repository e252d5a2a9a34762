"""Five kernels with their inputs, what they must compute, and the sectors that they must move."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = int | tuple[int, int]


@dataclass(frozen=True)
class Example:
    """One kernel, as every system runs it.

    Attributes:
        source: CUDA C++; the kernel has the example's name.
        grid, block: Its launch.
        arguments: Its inputs, from a random generator; arrays that it changes are zeros.
        expected: What the last array then holds, from the arguments.
        sectors: 32-byte sectors read from and written to global memory, in closed form.
    """

    source: str
    grid: Shape
    block: Shape
    arguments: Callable[[np.random.Generator], list[Any]]
    expected: Callable[[list[Any]], np.ndarray]
    sectors: int


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


N, SIDE, INNER, TILE, BINS = 4096, 64, 32, 16, 32

EXAMPLES = {
    "saxpy": Example(
        """__global__ void saxpy(float a, const float *x, float *y, int n) {
          for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
            y[i] = a * x[i] + y[i];
        }""",
        16,
        128,
        lambda rng: [2.5, _floats(rng, N), np.zeros(N, np.float32), N],
        lambda arguments: np.float32(2.5) * arguments[1],
        3 * N // 8,  # eight floats a sector: x and y read, y written
    ),
    "transpose": Example(
        """__global__ void transpose(const float *in, float *out, int side) {
          __shared__ float tile[32][33];
          int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
          tile[threadIdx.y][threadIdx.x] = in[y * side + x];
          __syncthreads();
          x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
          out[y * side + x] = tile[threadIdx.x][threadIdx.y];
        }""",
        (SIDE // 32, SIDE // 32),
        (32, 32),
        lambda rng: [_floats(rng, SIDE, SIDE), np.zeros((SIDE, SIDE), np.float32), SIDE],
        lambda arguments: arguments[0].T,
        2 * SIDE * SIDE // 8,
    ),
    "block_sums": Example(
        """__global__ void block_sums(const float *x, float *sums) {
          __shared__ float part[256];
          part[threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
          for (int step = 128; step > 0; step /= 2) {
            __syncthreads();
            if (threadIdx.x < step) part[threadIdx.x] += part[threadIdx.x + step];
          }
          if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
        }""",
        N // 256,
        256,
        lambda rng: [_floats(rng, N), np.zeros(N // 256, np.float32)],
        lambda arguments: arguments[0].reshape(-1, 256).sum(axis=1),
        N // 8 + N // 256,  # each block writes one number, a sector of its own
    ),
    "matmul": Example(
        """__global__ void matmul(const float *a, const float *b, float *c, int n) {
          __shared__ float left[16][16], right[16][16];
          const int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
          float sum = 0;
          for (int k = 0; k < n; k += 16) {
            left[threadIdx.y][threadIdx.x] = a[row * n + k + threadIdx.x];
            right[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + column];
            __syncthreads();
            for (int j = 0; j < 16; j++) sum += left[threadIdx.y][j] * right[j][threadIdx.x];
            __syncthreads();
          }
          c[row * n + column] = sum;
        }""",
        (INNER // TILE, INNER // TILE),
        (TILE, TILE),
        lambda rng: [
            _floats(rng, INNER, INNER),
            _floats(rng, INNER, INNER),
            np.zeros((INNER, INNER), np.float32),
            INNER,
        ],
        lambda arguments: arguments[0] @ arguments[1],
        (2 * INNER**3 // TILE + INNER**2) // 8,
    ),
    "histogram": Example(
        """__global__ void histogram(const int *x, int *counts, int n) {
          __shared__ int mine[32];
          if (threadIdx.x < 32) mine[threadIdx.x] = 0;
          __syncthreads();
          for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
            atomicAdd(&mine[x[i]], 1);
          __syncthreads();
          if (threadIdx.x < 32) atomicAdd(&counts[threadIdx.x], mine[threadIdx.x]);
        }""",
        4,
        256,
        lambda rng: [
            rng.integers(BINS, size=N, dtype=np.int32),
            np.zeros(BINS, np.int32),
            N,
        ],
        lambda arguments: np.bincount(arguments[0], minlength=BINS).astype(np.int32),
        N // 8 + 4 * BINS // 8,
    ),
}


def result_of(arguments: list[Any]) -> np.ndarray:
    """The array that a kernel has filled: the last one among its arguments."""
    return next(value for value in reversed(arguments) if isinstance(value, np.ndarray))


def is_right(example: Example, before: list[Any], after: list[Any]) -> bool:
    """Whether a launch computed what it should, within float32's rounding."""
    return bool(np.allclose(result_of(after), example.expected(before), rtol=1e-4, atol=1e-4))
