// GELU of a matrix of numbers and its slope, row by row: the inner loop of the operator.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

// e to the power of x for x <= 0, within 2e-7 of it. It has no branch and calls nothing, so a loop
// around it can be vectorised: x = n ln 2 + r, a polynomial for e^r, and n put into the exponent.
static inline float exp_negative(float x) {
    x = std::max(x, -87.0f);
    const int32_t n = static_cast<int32_t>(x * 1.44269504f - 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98756915e-4f;
    p = p * r + 1.39819995e-3f;
    p = p * r + 8.33345191e-3f;
    p = p * r + 4.16657960e-2f;
    p = p * r + 1.66666655e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = (n + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// In place: t = product[i][j] + bias[j] becomes GELU(t) = t P(t), where P(t) is the probability that
// a standard normal number is below t. Where `slope` is not null, slope[i][j] becomes the derivative
// P(t) + t p(t) with the density p(t) = exp(-t^2 / 2) / sqrt(2 pi).
//
// For t < 0 (Abramowitz and Stegun, 7.1.26), with k = 1 / (1 + 0.3275911 |t| / sqrt(2)):
//   P(t) = exp(-t^2 / 2) / 2 * (a1 k + a2 k^2 + a3 k^3 + a4 k^4 + a5 k^5),
//   a1 = 0.254829592, a2 = -0.284496736, a3 = 1.421413741, a4 = -1.453152027, a5 = 1.061405429.
// For t >= 0, P(t) = 1 - P(-t). One exponential is enough for value and slope.
//
// product, slope: [rows, columns]; bias: [columns]. The loop over j has to be one that the compiler
// can vectorise: no call of a library's function in it, and a choice only as `? :` of two numbers.
extern "C" void gelu_rows(
    float* product, const float* bias, float* slope, int64_t rows, int64_t columns) {
    // BEGIN SOLUTION
    const auto probability = [](float t, float e) {
        const float k = 1.0f / (1.0f + 0.23164190f * std::abs(t));
        float sum = 1.061405429f;
        sum = sum * k - 1.453152027f;
        sum = sum * k + 1.421413741f;
        sum = sum * k - 0.284496736f;
        sum = sum * k + 0.254829592f;
        const float tail = 0.5f * e * k * sum;
        return t < 0 ? tail : 1.0f - tail;
    };
    for (int64_t i = 0; i < rows; ++i) {
        float* row = product + i * columns;
        if (slope == nullptr) {
            for (int64_t j = 0; j < columns; ++j) {
                const float t = row[j] + bias[j];
                row[j] = t * probability(t, exp_negative(-0.5f * t * t));
            }
            continue;
        }
        float* slopes = slope + i * columns;
        for (int64_t j = 0; j < columns; ++j) {
            const float t = row[j] + bias[j];
            const float e = exp_negative(-0.5f * t * t);
            const float below = probability(t, e);
            row[j] = t * below;
            slopes[j] = below + 0.39894228f * t * e;
        }
    }
    // END SOLUTION
}
