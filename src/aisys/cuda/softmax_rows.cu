// The softmax of each row of a matrix, with the maximum and the sum found in one pass:
//   output[i][j] = exp(input[i][j] - m) / d,  m = max of row i,  d = sum over j of exp(input[i][j] - m).
//
// Online (Milakov and Gimelshein, 2018): with the maximum m so far and the sum d so far, an element v
// changes both,
//   larger = max(m, v),  d = d exp(m - larger) + exp(v - larger),  m = larger,
// and the pairs (m, d) of two threads become one in the same way, in any order.
//
// input, output: [rows, columns], float32, row by row; columns is 1 or more. Elements may be -infinity
// (attention masks positions so): their result is 0. Each row has at least one that is not. Mind
// what exp(m - larger) is before a thread has seen any other element.
//
// It is launched with a block of 128 threads (a multiple of 32 up to 256) for each row. Judged beside
// the values: a row is read at most twice and written once, in whole sectors.

#define MINUS_INFINITY __int_as_float(0xff800000)

__global__ void softmax_rows(const float *input, float *output, int columns) {
  // BEGIN SOLUTION
  __shared__ float maxima[8], parts[8];
  const float *row = input + blockIdx.x * columns;
  float m = MINUS_INFINITY, d = 0.0f;
  for (int j = threadIdx.x; j < columns; j += blockDim.x) {
    float v = row[j];
    if (v == MINUS_INFINITY) continue;
    float larger = fmaxf(m, v);
    d = d * expf(m - larger) + expf(v - larger);
    m = larger;
  }
  // The pairs of a warp, then those of the warps.
  auto merge = [&](float other_m, float other_d) {
    float larger = fmaxf(m, other_m);
    if (larger == MINUS_INFINITY) return;  // neither has seen anything
    d = d * expf(m - larger) + other_d * expf(other_m - larger);
    m = larger;
  };
  for (int apart = 16; apart > 0; apart /= 2) {
    float other_m = __shfl_xor_sync(0xffffffffu, m, apart);
    float other_d = __shfl_xor_sync(0xffffffffu, d, apart);
    merge(other_m, other_d);
  }
  if (threadIdx.x % 32 == 0) {
    maxima[threadIdx.x / 32] = m;
    parts[threadIdx.x / 32] = d;
  }
  __syncthreads();
  m = maxima[0];
  d = parts[0];
  for (int warp = 1; warp < blockDim.x / 32; warp++) merge(maxima[warp], parts[warp]);
  for (int j = threadIdx.x; j < columns; j += blockDim.x)
    output[blockIdx.x * columns + j] = expf(row[j] - m) / d;
  // END SOLUTION
}
