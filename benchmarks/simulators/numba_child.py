"""The five kernels under Numba's CUDA simulator, a launch for each line that comes in.

It runs in an environment of its own and knows nothing of `aisys`. In: a kernel's name; out: one
line of JSON with the seconds of the launch and whether the result is right.
"""

import json
import os
import sys
import time

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba is imported

import numpy as np
from kernels import EXAMPLES, is_right
from numba import cuda, float32, int32


@cuda.jit
def saxpy(a, x, y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    while i < n:
        y[i] = a * x[i] + y[i]
        i += cuda.gridDim.x * cuda.blockDim.x


@cuda.jit
def transpose(source, out, side):
    tile = cuda.shared.array((32, 33), float32)
    x = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    y = cuda.blockIdx.y * 32 + cuda.threadIdx.y
    tile[cuda.threadIdx.y, cuda.threadIdx.x] = source[y, x]
    cuda.syncthreads()
    x = cuda.blockIdx.y * 32 + cuda.threadIdx.x
    y = cuda.blockIdx.x * 32 + cuda.threadIdx.y
    out[y, x] = tile[cuda.threadIdx.x, cuda.threadIdx.y]


@cuda.jit
def block_sums(x, sums):
    part = cuda.shared.array(256, float32)
    me = cuda.threadIdx.x
    part[me] = x[cuda.blockIdx.x * 256 + me]
    step = 128
    while step > 0:
        cuda.syncthreads()
        if me < step:
            part[me] += part[me + step]
        step //= 2
    if me == 0:
        sums[cuda.blockIdx.x] = part[0]


@cuda.jit
def matmul(a, b, c, n):
    left = cuda.shared.array((16, 16), float32)
    right = cuda.shared.array((16, 16), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    row, column = cuda.blockIdx.y * 16 + ty, cuda.blockIdx.x * 16 + tx
    total = 0.0
    for k in range(0, n, 16):
        left[ty, tx] = a[row, k + tx]
        right[ty, tx] = b[k + ty, column]
        cuda.syncthreads()
        for j in range(16):
            total += left[ty, j] * right[j, tx]
        cuda.syncthreads()
    c[row, column] = total


@cuda.jit
def histogram(x, counts, n):
    mine = cuda.shared.array(32, int32)
    me = cuda.threadIdx.x
    if me < 32:
        mine[me] = 0
    cuda.syncthreads()
    i = cuda.blockIdx.x * cuda.blockDim.x + me
    while i < n:
        cuda.atomic.add(mine, x[i], 1)
        i += cuda.gridDim.x * cuda.blockDim.x
    cuda.syncthreads()
    if me < 32:
        cuda.atomic.add(counts, me, mine[me])


KERNELS = {each.__name__: each for each in (saxpy, transpose, block_sums, matmul, histogram)}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        name = line.strip()
        example = EXAMPLES[name]
        before, after = (example.arguments(np.random.default_rng(0)) for _ in range(2))
        start = time.perf_counter()
        KERNELS[name][example.grid, example.block](*after)
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, is_right(example, before, after)]), flush=True)


if __name__ == "__main__":
    main()
