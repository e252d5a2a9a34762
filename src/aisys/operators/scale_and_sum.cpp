// The backward pass of an activation and of a bias, in one pass over the memory.
#include <algorithm>
#include <cstdint>

// result[i][j] = upstream[i][j] * slope[i][j], and bias_gradient[j] = the sum of column j of result.
//
// upstream, slope, result: [rows, columns], in rows; bias_gradient: [columns], with anything in it
// before. Read upstream and slope once. The innermost loop goes along a row, over neighbours in
// memory, and the compiler can vectorise it. A sum down a column is none of those.
extern "C" void scale_and_sum(
    const float* upstream, const float* slope, float* result, float* bias_gradient,
    int64_t rows, int64_t columns) {
    // BEGIN SOLUTION
    std::fill(bias_gradient, bias_gradient + columns, 0.0f);
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t start = i * columns;
        for (int64_t j = 0; j < columns; ++j) {
            const float product = upstream[start + j] * slope[start + j];
            result[start + j] = product;
            bias_gradient[j] += product;
        }
    }
    // END SOLUTION
}
