// y = GELU(x) in one kernel: what the operators of an array module do in eight.
//
// GELU(x) = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, 2016), in float:
// a constant without `f` is a double and makes its whole expression one. sqrt(2 / pi) = 0.79788456.
//
// x, y: [n]. The kernel is launched with any grid. What is judged: the values, and the 32-byte
// sectors: every element of x is read once and every element of y is written once. What lies between
// stays in registers.
__global__ void gelu_fused(const float *x, float *y, int n) {
    // BEGIN SOLUTION
    const int stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const float value = x[i];
        const float inner = 0.79788456f * (value + 0.044715f * value * value * value);
        y[i] = 0.5f * value * (1.0f + tanhf(inner));
    }
    // END SOLUTION
}
