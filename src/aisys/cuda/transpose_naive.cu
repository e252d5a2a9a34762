// Transpose a matrix, one thread an element: output[x][y] = input[y][x].
//
// input: [rows, columns], output: [columns, rows], both row by row; both sizes are any number from 1.
// Launched with blocks of (32, 8) threads and a grid of (ceil(columns / 32), ceil(rows / 8)) blocks:
// x goes along the columns of input, y along its rows. Threads beyond the edges have no element.
//
// Judged: the result, and that the reads are coalesced: neighbouring threads of a warp read
// neighbouring elements of input. The writes are looked at below, not judged.
__global__ void transpose_naive(const float *input, float *output, int rows, int columns) {
    // BEGIN SOLUTION
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < columns && y < rows) output[x * rows + y] = input[y * columns + x];
    // END SOLUTION
}
