// Transpose a matrix in tiles: a block reads a tile by rows, and writes it by rows, too.
constexpr int TILE = 32;

// input: [rows, columns], output: [columns, rows], both row by row; both sizes are any number from 1.
// Launched with blocks of (32, 32) threads, one thread an element of the tile, and a grid of
// (ceil(columns / 32), ceil(rows / 32)) blocks. The tile that begins at row 32 blockIdx.y and column
// 32 blockIdx.x of input becomes the one that begins at row 32 blockIdx.x and column 32 blockIdx.y
// of output.
//
// Judged: the result, and the sectors of reads and writes. In both, neighbouring threads of a warp
// touch neighbouring elements. Sizes need not be multiples of 32, and every thread of a block has
// to come to its barriers.
__global__ void transpose_tiled(const float *input, float *output, int rows, int columns) {
    __shared__ float tile[TILE][TILE];
    // BEGIN SOLUTION
    int x = blockIdx.x * TILE + threadIdx.x;
    int y = blockIdx.y * TILE + threadIdx.y;
    if (x < columns && y < rows) tile[threadIdx.y][threadIdx.x] = input[y * columns + x];
    __syncthreads();
    // The blocks change places, the threads do not: x goes along a row of output, too.
    x = blockIdx.y * TILE + threadIdx.x;
    y = blockIdx.x * TILE + threadIdx.y;
    if (x < rows && y < columns) output[y * rows + x] = tile[threadIdx.x][threadIdx.y];
    // END SOLUTION
}
