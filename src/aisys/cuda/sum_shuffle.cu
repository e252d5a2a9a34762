// Sums of an array by warp shuffles, and two kernels that are the same but for their last line.

// The sum of `value` over the threads of the block, in thread 0; other threads may get anything.
// Called once in a kernel, by all threads of the block. blockDim.x is a multiple of 32, up to 1024.
//
// In a warp, __shfl_down_sync(0xffffffffu, value, distance) gives each lane the value of the lane
// `distance` above it, with no shared memory and no barrier. The sums of the warps, up to 32, then
// have to meet in one warp.
//
// Judged: the sums of both kernels, barriers (at most one a block) and shared memory (at most 32
// numbers).
__device__ float block_sum(float value) {
    // BEGIN SOLUTION
    __shared__ float of_warp[32];
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_down_sync(0xffffffffu, value, distance);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane == 0) of_warp[warp] = value;
    __syncthreads();
    if (warp == 0) {
        value = lane < blockDim.x / 32 ? of_warp[lane] : 0.0f;
        for (int distance = 16; distance > 0; distance /= 2)
            value += __shfl_down_sync(0xffffffffu, value, distance);
    }
    return value;
    // END SOLUTION
}

// The elements of input [n] that belong to this thread, added up.
__device__ float thread_sum(const float *input, int n) {
    float sum = 0.0f;
    const int first = threadIdx.x + blockIdx.x * blockDim.x, threads = blockDim.x * gridDim.x;
    for (int at = first; at < n; at += threads) sum += input[at];
    return sum;
}

// partial: [gridDim.x], one sum for each block, as in sum_tree.
__global__ void sum_shuffle(const float *input, float *partial, int n) {
    const float sum = block_sum(thread_sum(input, n));
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// total: [1]; the sum of input is added to what is there.
__global__ void sum_atomic(const float *input, float *total, int n) {
    const float sum = block_sum(thread_sum(input, n));
    if (threadIdx.x == 0) atomicAdd(total, sum);
}
