// The gradients of value = GELU(x weight^T + bias): two kernels, yours from their first line on.
//
// upstream, slope: [rows, columns]; x: [rows, inner]; weight: [columns, inner]; all float32, row by
// row. by_z = upstream * slope, element by element, is the gradient of z = x weight^T + bias, and
//   by_x = by_z weight            [rows, inner]
//   by_weight = by_z^T x          [columns, inner]
//   by_bias = by_z, added up over the rows: [columns]
// Nothing of by_z goes to global memory: each kernel makes the piece that it needs in shared memory.
//
//   __global__ void gradient_of_x(
//       const float *upstream, const float *slope, const float *weight, float *by_x,
//       int rows, int inner, int columns)
//   __global__ void gradient_of_weight(
//       const float *upstream, const float *slope, const float *x, float *by_weight, float *by_bias,
//       int rows, int inner, int columns)
//
// Blocks of (32, 8) threads, a block for each 32 x 32 elements of by_x or of by_weight: blockIdx.x
// along a row. by_bias comes from the blocks with blockIdx.x == 0. (There is always at least one
// column of them, also where inner is 0.) No size need be a multiple of 32; rows may be 0, and then
// by_weight and by_bias are 0. No atomics: the sums are to be the same in every run.
//
// Judged beside the values: the sectors that are read and written, and bank conflicts (none).
#define TILE 32
#define HIGH 8

// BEGIN SOLUTION
__global__ void gradient_of_x(
    const float *upstream, const float *slope, const float *weight, float *by_x,
    int rows, int inner, int columns) {
  __shared__ float zs[TILE][TILE], ws[TILE][TILE];
  int tx = threadIdx.x, ty = threadIdx.y;
  int top = blockIdx.y * TILE, left = blockIdx.x * TILE;
  float sums[TILE / HIGH] = {};
  for (int first = 0; first < columns; first += TILE) {
    for (int r = ty; r < TILE; r += HIGH) {
      int z = (top + r) * columns + first + tx;
      bool in_z = top + r < rows && first + tx < columns;
      bool in_weight = first + r < columns && left + tx < inner;
      zs[r][tx] = in_z ? upstream[z] * slope[z] : 0.0f;
      ws[r][tx] = in_weight ? weight[(first + r) * inner + left + tx] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < TILE; k++) {
      float w = ws[k][tx];
      for (int i = 0; i < TILE / HIGH; i++) sums[i] += zs[ty + i * HIGH][k] * w;
    }
    __syncthreads();
  }
  for (int i = 0; i < TILE / HIGH; i++) {
    int row = top + ty + i * HIGH;
    if (row < rows && left + tx < inner) by_x[row * inner + left + tx] = sums[i];
  }
}

__global__ void gradient_of_weight(
    const float *upstream, const float *slope, const float *x, float *by_weight, float *by_bias,
    int rows, int inner, int columns) {
  __shared__ float zs[TILE][TILE], xs[TILE][TILE];
  int tx = threadIdx.x, ty = threadIdx.y;
  int top = blockIdx.y * TILE, left = blockIdx.x * TILE;  // a row of by_weight is a column of by_z
  bool adds_bias = blockIdx.x == 0 && ty == 0;
  float sums[TILE / HIGH] = {}, sum = 0.0f;
  for (int first = 0; first < rows; first += TILE) {
    for (int r = ty; r < TILE; r += HIGH) {
      int z = (first + r) * columns + top + tx;
      bool in_z = first + r < rows && top + tx < columns;
      bool in_x = first + r < rows && left + tx < inner;
      zs[r][tx] = in_z ? upstream[z] * slope[z] : 0.0f;
      xs[r][tx] = in_x ? x[(first + r) * inner + left + tx] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < TILE; k++) {
      float input = xs[k][tx];
      for (int i = 0; i < TILE / HIGH; i++) sums[i] += zs[k][ty + i * HIGH] * input;
      if (adds_bias) sum += zs[k][tx];
    }
    __syncthreads();
  }
  for (int i = 0; i < TILE / HIGH; i++) {
    int row = top + ty + i * HIGH;
    if (row < columns && left + tx < inner) by_weight[row * inner + left + tx] = sums[i];
  }
  if (adds_bias && top + tx < columns) by_bias[top + tx] = sum;
}
// END SOLUTION
