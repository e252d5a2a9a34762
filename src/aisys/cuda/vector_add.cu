// sum[i] = a[i] + b[i] for every i from 0 to n - 1, one thread an element.
//
// a, b, sum: [n]. The kernel is launched with blocks of any size (up to 1024 threads, in x only) and
// with as many blocks as are needed for n threads, so the last block may have threads too many: they
// may touch no array. What is judged: the sums, and the 32-byte sectors that are moved for them.
// Neighbouring threads have to touch neighbouring elements.
__global__ void vector_add(const float *a, const float *b, float *sum, int n) {
    // BEGIN SOLUTION
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) sum[i] = a[i] + b[i];
    // END SOLUTION
}
