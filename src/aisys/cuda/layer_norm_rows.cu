// Layer normalisation of each row of a matrix, with mean and variance found in one pass:
//   output[i][j] = (input[i][j] - mean) / sqrt(variance + epsilon) * scale[j] + shift[j],
// where mean and variance (divided by columns) are those of row i.
//
// Not by the sum of squares: the mean of the squares minus the square of the mean has no digit left
// where the mean is large. With a count n, a mean and a sum of squared differences s so far, an
// element v changes them to (Welford, 1962)
//   n + 1,  mean + (v - mean) / (n + 1),  s + (v - mean) (v - new mean),
// and two threads with (n, mean, s) and (n', mean', s') together have (Chan, Golub and LeVeque, 1983)
//   n + n',  mean + (mean' - mean) n' / (n + n'),  s + s' + (mean' - mean)^2 n n' / (n + n').
//
// input, output: [rows, columns]; scale, shift: [columns]; float32, row by row; columns is 1 or more.
// It is launched with a block of 128 threads (a multiple of 32 up to 256) for each row. Judged beside
// the values, among them those of rows with a large mean: a row is read at most twice and written
// once, in whole sectors.

__global__ void layer_norm_rows(
    const float *input, const float *scale, const float *shift, float *output, int columns,
    float epsilon) {
  // BEGIN SOLUTION
  __shared__ float counts[8], means[8], squares[8];
  const float *row = input + blockIdx.x * columns;
  float n = 0.0f, mean = 0.0f, s = 0.0f;
  for (int j = threadIdx.x; j < columns; j += blockDim.x) {
    float v = row[j], difference = v - mean;
    n += 1.0f;
    mean += difference / n;
    s += difference * (v - mean);
  }
  auto merge = [&](float other_n, float other_mean, float other_s) {
    float both = n + other_n;
    if (both == 0.0f) return;  // neither has seen anything
    float difference = other_mean - mean, share = other_n / both;
    mean += difference * share;
    s += other_s + difference * difference * n * share;
    n = both;
  };
  for (int apart = 16; apart > 0; apart /= 2) {
    float other_n = __shfl_down_sync(0xffffffffu, n, apart);
    float other_mean = __shfl_down_sync(0xffffffffu, mean, apart);
    float other_s = __shfl_down_sync(0xffffffffu, s, apart);
    merge(other_n, other_mean, other_s);
  }
  if (threadIdx.x % 32 == 0) {
    counts[threadIdx.x / 32] = n;
    means[threadIdx.x / 32] = mean;
    squares[threadIdx.x / 32] = s;
  }
  __syncthreads();
  n = counts[0];
  mean = means[0];
  s = squares[0];
  for (int warp = 1; warp < blockDim.x / 32; warp++)
    merge(counts[warp], means[warp], squares[warp]);
  float scaled = rsqrtf(s / columns + epsilon);
  for (int j = threadIdx.x; j < columns; j += blockDim.x)
    output[blockIdx.x * columns + j] = (row[j] - mean) * scaled * scale[j] + shift[j];
  // END SOLUTION
}
