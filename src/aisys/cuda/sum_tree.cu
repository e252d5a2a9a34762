// Sums of an array, one for each block: a tree in shared memory.
//
// input: [n], n any number from 0. partial: [gridDim.x], one sum for each block, so that the sum of
// partial is the sum of input. A block with nothing to add writes 0.
// Launched with any number of blocks and blockDim.x threads, a power of two from 32 to 1024.
//
// First each thread adds up elements of input in a variable of its own, in a grid-stride loop. Then
// the sums of a block's threads are added in shared memory, half as many at each step.
//
// Judged: the sums, the sectors of the reads, bank conflicts (at most one pass in ten more than
// without any), and how often warps touch shared memory (at most 1.5 times as often as needed): in
// a step that adds 64 pairs, two warps have something to do, not eight with a few lanes each.
__global__ void sum_tree(const float *input, float *partial, int n) {
    extern __shared__ float sums[];  // [blockDim.x]
    // BEGIN SOLUTION
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += input[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int pairs = blockDim.x / 2; pairs > 0; pairs /= 2) {
        if (threadIdx.x < pairs) sums[threadIdx.x] += sums[threadIdx.x + pairs];
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
    // END SOLUTION
}
