// A linear layer with its activation, in one kernel: value = GELU(x weight^T + bias).
//
// x: [rows, inner], weight: [columns, inner], bias: [columns], value: [rows, columns], slope: the
// same; all float32, row by row. With z = x weight^T + bias, for every element
//   value = z P(z),  P(z) = (1 + erf(z / sqrt(2))) / 2,
//   slope = P(z) + z p(z),  p(z) = exp(-z^2 / 2) / sqrt(2 pi), the derivative of the GELU.
// The slope is written only where `keep` is not 0; otherwise `slope` may have a single element.
//
// It is launched with blocks of (32, 8) threads, a block for each tile of 32 x 32 elements of the
// result: blockIdx.x counts the tiles along a row, blockIdx.y the tiles below each other. No size need
// be a multiple of 32; inner may be 0.
//
// Judged beside the values: z never goes to global memory; the sectors that are read (with 32 x 32
// tiles in shared memory each element of x comes once for each 32 columns, each of weight once for
// each 32 rows, in whole sectors); no bank conflicts.
#define TILE 32
#define HIGH 8

__global__ void linear_gelu_forward(
    const float *x, const float *weight, const float *bias, float *value, float *slope,
    int rows, int inner, int columns, int keep) {
  // BEGIN SOLUTION
  __shared__ float xs[TILE][TILE], ws[TILE][TILE + 1];
  int tx = threadIdx.x, ty = threadIdx.y;
  int top = blockIdx.y * TILE, left = blockIdx.x * TILE, column = left + tx;
  float sums[TILE / HIGH] = {};
  for (int first = 0; first < inner; first += TILE) {
    // A warp loads a row of each tile: 32 neighbours.
    for (int r = ty; r < TILE; r += HIGH) {
      bool in_x = top + r < rows && first + tx < inner;
      bool in_weight = left + r < columns && first + tx < inner;
      xs[r][tx] = in_x ? x[(top + r) * inner + first + tx] : 0.0f;
      ws[r][tx] = in_weight ? weight[(left + r) * inner + first + tx] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < TILE; k++) {
      float w = ws[tx][k];  // down a column: the padding gives each lane a bank of its own
      for (int i = 0; i < TILE / HIGH; i++) sums[i] += xs[ty + i * HIGH][k] * w;
    }
    __syncthreads();
  }
  if (column >= columns) return;
  float offset = bias[column];
  for (int i = 0; i < TILE / HIGH; i++) {
    int row = top + ty + i * HIGH;
    if (row >= rows) continue;
    float z = sums[i] + offset;
    float below = 0.5f * (1.0f + erff(z * 0.70710678f));
    value[row * columns + column] = z * below;
    if (keep) slope[row * columns + column] = below + 0.39894228f * z * expf(-0.5f * z * z);
  }
  // END SOLUTION
}
