// The product of two matrices, c = a b, one thread for each element of c.
//
// a: [rows, inner], b: [inner, columns], c: [rows, columns]; all lie in memory row by row.
// Grid and block are two-dimensional and cover c: x goes along a row of c, y down a column. The last
// blocks may stick out over the edge. c comes with anything in it; inner may be 0.
//
// Judged: the sectors that the reads of a and b move. Lanes of a warp differ in threadIdx.x.
__global__ void matmul_naive(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    // BEGIN SOLUTION
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    float sum = 0;
    for (int k = 0; k < inner; ++k) sum += a[row * inner + k] * b[k * columns + column];
    c[row * columns + column] = sum;
    // END SOLUTION
}
