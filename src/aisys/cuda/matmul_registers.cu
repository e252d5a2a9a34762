// The product of two matrices, c = a b: every thread keeps HIGH x 4 sums in registers.
//
// a: [rows, inner], b: [inner, columns], c: [rows, columns], row by row. inner and columns are
// multiples of 4, so that every row begins at a multiple of 16 bytes; inner may be 0.
//
// A block computes a tile of c, [ROWS, COLUMNS], in steps of DEPTH along inner. It has
// (COLUMNS / 4, ROWS / HIGH) threads. Thread (x, y) computes the four columns from 4 x on, of the
// HIGH rows y, y + blockDim.y, y + 2 blockDim.y, ... of the tile. DEPTH is a multiple of 4.
//
// Global memory is read and written in vectors of four floats: with
//     const float4 *vectors = reinterpret_cast<const float4 *>(a);
// vectors[i] is a[4 i] to a[4 i + 3] in one request. The tiles can hold vectors, too: a vector of
// b_tile, four neighbours of a row, serves every sum of a thread; a vector of a_tile, four steps
// of k, serves the four sums of one row. Outside of a and b the tiles hold zeros. The tiles have more
// vectors than the block has threads, or fewer: load them in a loop.
//
// Judged: the sectors and the requests of global reads, the bytes that are read from shared memory
// for each sum, bank conflicts, and races.

// sum += x * y, for each of four columns.
__device__ inline void add(float4 &sum, float x, const float4 &y) {
    sum.x += x * y.x;
    sum.y += x * y.y;
    sum.z += x * y.z;
    sum.w += x * y.w;
}

template <int ROWS, int COLUMNS, int DEPTH, int HIGH>
__global__ void matmul_registers(
    const float *a, const float *b, float *c, int rows, int inner, int columns) {
    // BEGIN SOLUTION
    __shared__ float4 a_tile[ROWS][DEPTH / 4];
    __shared__ float4 b_tile[DEPTH][COLUMNS / 4];
    const float4 *a_vectors = reinterpret_cast<const float4 *>(a);
    const float4 *b_vectors = reinterpret_cast<const float4 *>(b);
    const float4 zeros = make_float4(0, 0, 0, 0);
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    const int top = blockIdx.y * ROWS, left = blockIdx.x * COLUMNS;

    float4 sums[HIGH];
    for (int i = 0; i < HIGH; ++i) sums[i] = zeros;
    for (int begin = 0; begin < inner; begin += DEPTH) {
        for (int i = thread; i < ROWS * (DEPTH / 4); i += threads) {
            const int y = i / (DEPTH / 4), x = i % (DEPTH / 4);
            const int row = top + y, k = begin + 4 * x;
            const bool inside = row < rows && k < inner;
            a_tile[y][x] = inside ? a_vectors[(row * inner + k) / 4] : zeros;
        }
        for (int i = thread; i < DEPTH * (COLUMNS / 4); i += threads) {
            const int y = i / (COLUMNS / 4), x = i % (COLUMNS / 4);
            const int k = begin + y, column = left + 4 * x;
            const bool inside = k < inner && column < columns;
            b_tile[y][x] = inside ? b_vectors[(k * columns + column) / 4] : zeros;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH / 4; ++k) {
            const float4 b0 = b_tile[4 * k][threadIdx.x], b1 = b_tile[4 * k + 1][threadIdx.x];
            const float4 b2 = b_tile[4 * k + 2][threadIdx.x], b3 = b_tile[4 * k + 3][threadIdx.x];
#pragma unroll
            for (int i = 0; i < HIGH; ++i) {
                const float4 along = a_tile[threadIdx.y + i * blockDim.y][k];
                add(sums[i], along.x, b0);
                add(sums[i], along.y, b1);
                add(sums[i], along.z, b2);
                add(sums[i], along.w, b3);
            }
        }
        __syncthreads();
    }

    const int column = left + 4 * threadIdx.x;
    for (int i = 0; i < HIGH; ++i) {
        const int row = top + threadIdx.y + i * blockDim.y;
        if (row < rows && column < columns)
            reinterpret_cast<float4 *>(c)[(row * columns + column) / 4] = sums[i];
    }
    // END SOLUTION
}
