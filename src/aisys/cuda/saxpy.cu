// y[i] = a * x[i] + y[i] for every i from 0 to n - 1, with a grid of any size.
//
// x, y: [n]; y is changed in place. The kernel is launched with blocks of any size and with any number
// of blocks: with too few threads for n, a thread takes several elements, one after another; with too
// many, some take none. The blocks share the work evenly, and whenever a warp touches memory, its
// threads touch neighbours. What is judged: the result for every grid, the 32-byte sectors that are
// moved, and the first block's share of the work.
__global__ void saxpy(float a, const float *x, float *y, int n) {
    // BEGIN SOLUTION
    const int stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) y[i] = a * x[i] + y[i];
    // END SOLUTION
}
