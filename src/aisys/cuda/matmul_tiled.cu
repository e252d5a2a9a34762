// The product of two matrices, c = a b, in square tiles that lie in shared memory.
//
// a: [rows, inner], b: [inner, columns], c: [rows, columns], row by row; any sizes, inner may be 0.
// A block of (TILE, TILE) threads computes one tile of c, a thread one element of it. It goes along
// a's rows and down b's columns in steps of TILE: the threads load one tile of a and one of b, each
// thread an element of either, and then add up TILE products each. Where a tile sticks out over the
// edge of a or b, it holds zeros, which change no sum. All threads of a block reach every barrier.
//
// Judged: the sectors that the reads of a and b move, bank conflicts, and races.
constexpr int TILE = 16;

__global__ void matmul_tiled(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    // BEGIN SOLUTION
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    const int x = threadIdx.x, y = threadIdx.y;
    const int row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0;
    for (int begin = 0; begin < inner; begin += TILE) {
        a_tile[y][x] = row < rows && begin + x < inner ? a[row * inner + begin + x] : 0;
        b_tile[y][x] =
            begin + y < inner && column < columns ? b[(begin + y) * columns + column] : 0;
        __syncthreads();
        for (int k = 0; k < TILE; ++k) sum += a_tile[y][k] * b_tile[k][x];
        // Nobody may load the next tiles while somebody still reads these.
        __syncthreads();
    }
    if (row < rows && column < columns) c[row * columns + column] = sum;
    // END SOLUTION
}
