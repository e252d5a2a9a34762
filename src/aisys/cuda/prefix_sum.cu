// Running sums of each block's elements (Hillis and Steele, 1986): sums[i] is the sum of the elements
// of i's block from the block's first to i. In round after round each element adds the one that is
// `apart` to its left, for apart = 1, 2, 4, ...
//
// elements, sums: [n], int32, n not necessarily a multiple of the block. A block has a power of two of
// threads, up to 256, one an element. Beyond n, elements count as 0.
//
// Something is wrong with this kernel. On a GPU it is often right, and right again the next time.

__global__ void prefix_sum(const int *elements, int *sums, int n) {
  __shared__ int s[256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  // BEGIN START
  s[t] = i < n ? elements[i] : 0;
  __syncthreads();
  for (int apart = 1; apart < blockDim.x; apart *= 2) {
    int left = t >= apart ? s[t - apart] : 0;
    s[t] += left;
    __syncthreads();
  }
  // END START
  // BEGIN SOLUTION
  s[t] = i < n ? elements[i] : 0;
  __syncthreads();
  for (int apart = 1; apart < blockDim.x; apart *= 2) {
    int left = t >= apart ? s[t - apart] : 0;
    __syncthreads();
    s[t] += left;
    __syncthreads();
  }
  // END SOLUTION
  if (i < n) sums[i] = s[t];
}
