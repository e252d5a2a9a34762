// The largest element of each block's stretch of an array, by a tree in shared memory.
//
// elements: [n], float32, any numbers, n not necessarily a multiple of the block; maxima: one a block.
// A block has a power of two of threads, up to 256, one an element; every block has at least one.
//
// Something is wrong with this kernel. On a GPU it may run to its end, or hang.

#define MINUS_INFINITY __int_as_float(0xff800000)

__global__ void block_maximum(const float *elements, float *maxima, int n) {
  __shared__ float s[256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  // BEGIN START
  if (i >= n) return;
  s[t] = elements[i];
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half && i + half < n) s[t] = fmaxf(s[t], s[t + half]);
    __syncthreads();
  }
  if (t == 0) maxima[blockIdx.x] = s[0];
  // END START
  // BEGIN SOLUTION
  s[t] = i < n ? elements[i] : MINUS_INFINITY;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half) s[t] = fmaxf(s[t], s[t + half]);
    __syncthreads();
  }
  if (t == 0) maxima[blockIdx.x] = s[0];
  // END SOLUTION
}
