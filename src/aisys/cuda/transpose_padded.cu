// Transpose a matrix in tiles that no bank has to serve twice, four elements a thread.
constexpr int TILE = 32, BLOCK_ROWS = 8;

// input: [rows, columns], output: [columns, rows], both row by row; both sizes are any number from 1.
// Launched with blocks of (32, 8) threads and a grid of (ceil(columns / 32), ceil(rows / 32)) blocks.
// A block moves a tile of 32 x 32 as in transpose_tiled; each thread moves four elements of it, 8
// rows apart. Shared memory is yours to declare.
//
// Judged: the result, the sectors of reads and writes, bank conflicts (at most one pass in ten more
// than without any), and shared memory (at most 5 KB a block).
__global__ void transpose_padded(const float *input, float *output, int rows, int columns) {
    // BEGIN SOLUTION
    // A row is one word longer than there are banks, so a column has a word in each bank.
    __shared__ float tile[TILE][TILE + 1];
    int x = blockIdx.x * TILE + threadIdx.x;
    int y = blockIdx.y * TILE + threadIdx.y;
    for (int k = 0; k < TILE; k += BLOCK_ROWS)
        if (x < columns && y + k < rows)
            tile[threadIdx.y + k][threadIdx.x] = input[(y + k) * columns + x];
    __syncthreads();
    x = blockIdx.y * TILE + threadIdx.x;
    y = blockIdx.x * TILE + threadIdx.y;
    for (int k = 0; k < TILE; k += BLOCK_ROWS)
        if (x < rows && y + k < columns)
            output[(y + k) * rows + x] = tile[threadIdx.x][threadIdx.y + k];
    // END SOLUTION
}
