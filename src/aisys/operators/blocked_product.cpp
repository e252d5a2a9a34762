// The product of a matrix and a transposed one, in blocks that stay in the cache.
#include <algorithm>
#include <cstdint>
#include <vector>

// product[i][o] = sum over k of x[i][k] weight[o][k].
//
// x: [rows, inner], weight: [columns, inner], product: [rows, columns]; any sizes, zero among them.
//
// Number is float where it counts, and a type that reports every access where accesses are counted:
// make every buffer and every sum of type Number. The cache in which they are counted holds 32 KB in
// lines of 64 bytes. A loop over whole rows reads all weights from memory once for each row of x.
// Instead, copy `WIDE` rows of the weights, transposed, into a buffer [inner, WIDE]; then go through
// all rows of x with it, `HIGH` at a time, whose HIGH x WIDE sums fit into the registers. Then the
// innermost loop goes over neighbours in memory, and the compiler can vectorise it.
constexpr int64_t HIGH = 4, WIDE = 32;

template <class Number>
void blocked_product(
    const Number* x, const Number* weight, Number* product,
    int64_t rows, int64_t inner, int64_t columns) {
    // BEGIN SOLUTION
    std::vector<Number> packed(inner * WIDE);
    for (int64_t first = 0; first < columns; first += WIDE) {
        const int64_t wide = std::min(WIDE, columns - first);
        for (int64_t o = 0; o < wide; ++o)
            for (int64_t k = 0; k < inner; ++k)
                packed[k * WIDE + o] = weight[(first + o) * inner + k];
        for (int64_t top = 0; top < rows; top += HIGH) {
            const int64_t high = std::min(HIGH, rows - top);
            Number sums[HIGH][WIDE] = {};
            // A row beyond the last one is the last one again: its sums are thrown away.
            const Number* row[HIGH];
            for (int64_t i = 0; i < HIGH; ++i) row[i] = x + (top + std::min(i, high - 1)) * inner;
            for (int64_t k = 0; k < inner; ++k)
                for (int64_t i = 0; i < HIGH; ++i)
                    for (int64_t o = 0; o < WIDE; ++o)
                        sums[i][o] += row[i][k] * packed[k * WIDE + o];
            for (int64_t i = 0; i < high; ++i)
                for (int64_t o = 0; o < wide; ++o)
                    product[(top + i) * columns + first + o] = sums[i][o];
        }
    }
    // END SOLUTION
}
