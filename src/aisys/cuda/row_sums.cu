// The sum of each row of a matrix, one thread a row. So that memory is read in whole sectors, a warp
// brings 32 x 32 elements into shared memory, and then each lane adds up a row of them.
//
// matrix: [rows, columns], float32, row by row; sums: [rows]. No size need be a multiple of 32. Blocks
// have 32 threads and 32 rows each.
//
// Nothing is wrong with the sums of this kernel. But it is much slower than the memory. Judged: the
// sums, the sectors that are read, and bank conflicts (none).

__global__ void row_sums(const float *matrix, float *sums, int rows, int columns) {
  int lane = threadIdx.x, top = blockIdx.x * 32;
  // BEGIN START
  __shared__ float tile[32][32];
  float sum = 0.0f;
  for (int left = 0; left < columns; left += 32) {
    for (int r = 0; r < 32; r++) {
      bool inside = top + r < rows && left + lane < columns;
      tile[r][lane] = inside ? matrix[(top + r) * columns + left + lane] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < 32; k++) sum += tile[lane][k];
    __syncthreads();
  }
  // END START
  // BEGIN SOLUTION
  __shared__ float tile[32][33];  // one column more: the rows begin in different banks
  float sum = 0.0f;
  for (int left = 0; left < columns; left += 32) {
    for (int r = 0; r < 32; r++) {
      bool inside = top + r < rows && left + lane < columns;
      tile[r][lane] = inside ? matrix[(top + r) * columns + left + lane] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < 32; k++) sum += tile[lane][k];
    __syncthreads();
  }
  // END SOLUTION
  if (top + lane < rows) sums[top + lane] = sum;
}
