"""Stage 2.7: hidden cases, mistakes and alternatives of the operator in C++."""

import numpy as np

from aisys.course import Case
from aisys.operators import cpp
from aisys.operators.checks.cpp import matrix_case, operator_case, product_case, refused_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _matrices(rng: np.random.Generator, **inputs: object) -> list[Case]:
    sizes = rng.permutation(np.arange(9, 60))[:3].tolist()
    return [
        matrix_case(f"hidden {n + 1}: rows of {columns}", _seed(rng), n + 2, columns, **inputs)
        for n, columns in enumerate(sizes)
    ]


def gelu_rows(rng: np.random.Generator) -> list[Case]:
    """Rows of random lengths, with and without the slope, with large numbers."""
    plain = _matrices(rng)
    without = matrix_case("hidden 4: without the slope", _seed(rng), 3, 23, slope=False)
    large = matrix_case("hidden 5: large numbers", _seed(rng), 2, 33, size=9.0)
    return [*plain, without, large, matrix_case("hidden 6: no columns", _seed(rng), 2, 0)]


def scale_and_sum(rng: np.random.Generator) -> list[Case]:
    """Rows of random lengths."""
    return [*_matrices(rng), matrix_case("hidden 4: no rows", _seed(rng), 0, 3)]


def products(rng: np.random.Generator) -> list[Case]:
    """Products whose sizes are no multiples of a block's."""
    cases = []
    for number in range(4):
        rows, inner, columns = (int(rng.integers(low, 50)) for low in (5, 3, 33))
        name = f"hidden {number + 1}: {rows} x {inner} times {inner} x {columns}"
        cases.append(product_case(name, _seed(rng), rows, inner, columns))
    return [*cases, product_case("hidden 5: nothing to add up", _seed(rng), 3, 0, 35)]


def traced(rng: np.random.Generator) -> list[Case]:
    """Products whose weights do not fit into the cache."""
    cases = []
    for number in range(2):
        rows, columns = int(rng.integers(12, 21)), int(rng.integers(90, 130))
        name = f"hidden {number + 1}: {rows} x 97 times 97 x {columns}"
        cases.append(product_case(name, 0, rows, 97, columns))
    return cases


def operators(rng: np.random.Generator) -> list[Case]:
    """Batches of several shapes, contiguous and strided."""
    cases = []
    for number, (leading, layout) in enumerate(
        [([4], "contiguous"), ([2, 2, 3], "contiguous"), ([3, 2], "strided"), ([], "strided")]
    ):
        features = {
            "in_features": int(rng.integers(2, 9)),
            "out_features": int(rng.integers(3, 20)),
        }
        name = f"hidden {number + 1}: {leading} rows, {layout}"
        cases.append(operator_case(name, _seed(rng), leading=leading, layout=layout, **features))
    return [*cases, operator_case("hidden 5: nothing comes out", _seed(rng), out_features=0)]


def refused(rng: np.random.Generator) -> list[Case]:
    """Arguments that do not fit."""
    more = int(rng.integers(1, 4))
    return [
        refused_case("hidden 1: weight too wide", "weight", [5, 4 + more]),
        refused_case("hidden 2: bias too long", "bias", [5 + more]),
        refused_case("hidden 3: bias a matrix", "bias", [1, 5]),
        refused_case("hidden 4: weight of float64", "weight", [5, 4], "float64"),
        refused_case("hidden 5: bias of float16", "bias", [5], "float16"),
        refused_case("hidden 6: x has no dimension", "x", []),
    ]


CASES = {
    "gelu_rows_values": gelu_rows,
    "gelu_rows_vectorised": lambda rng: [Case("hidden: the loop along a row", weight=2)],
    "scale_and_sum_values": scale_and_sum,
    "scale_and_sum_vectorised": lambda rng: [Case("hidden: the loop along a row", weight=2)],
    "blocked_product_values": products,
    "blocked_product_misses": traced,
    "linear_gelu_values": operators,
    "linear_gelu_schema": lambda rng: [Case("hidden: both operators")],
    "linear_gelu_refused": refused,
}

MISTAKES = [
    Mistake(
        "2.7 gelu_rows",
        "the slope without its second term",
        hint="GELU(t) = t P(t) is a product, and the slope of a product has two terms. "
        "The slope of P is the density.",
        replace={"slopes[j] = below + 0.39894228f * t * e;": "slopes[j] = below;"},
    ),
    Mistake(
        "2.7 gelu_rows",
        "the formula for negative numbers used for all",
        hint="The formula gives P(t) for t < 0, from |t|. What is P(t) for a positive t?",
        replace={"return t < 0 ? tail : 1.0f - tail;": "return tail;"},
    ),
    Mistake(
        "2.7 gelu_rows",
        "a library's function in the loop",
        hint="A loop that calls `std::erf`, `std::erfc` or `std::exp` runs one element at a time. "
        "Put the polynomial there, and `exp_negative`.",
        replace={
            "const float tail = 0.5f * e * k * sum;": (
                "const float tail = 0.5f * std::erfc(0.70710678f * std::abs(t)) + 0 * e * k * sum;"
            )
        },
    ),
    Mistake(
        "2.7 scale_and_sum",
        "the sums begin with what was there before",
        hint="`bias_gradient` comes with anything in it. Where does a sum begin?",
        replace={"    std::fill(bias_gradient, bias_gradient + columns, 0.0f);\n": ""},
    ),
    Mistake(
        "2.7 scale_and_sum",
        "down the columns",
        hint="The result is right, but the innermost loop jumps from row to row, so that no "
        "vector instruction fits. Which of the two loops goes over neighbours in memory?",
        source="""
#include <cstdint>
extern "C" void scale_and_sum(
    const float* upstream, const float* slope, float* result, float* bias_gradient,
    int64_t rows, int64_t columns) {
    for (int64_t j = 0; j < columns; ++j) {
        float sum = 0;
        for (int64_t i = 0; i < rows; ++i) {
            result[i * columns + j] = upstream[i * columns + j] * slope[i * columns + j];
            sum += result[i * columns + j];
        }
        bias_gradient[j] = sum;
    }
}
""",
    ),
    Mistake(
        "2.7 blocked_product",
        "three loops, no blocks",
        hint="The product is right, but for each row of x all weights come from memory once more. "
        "Take a few rows of the weights, and go through all rows of x with them.",
        source="""
#include <algorithm>
#include <cstdint>
#include <vector>
constexpr int64_t HIGH = 4, WIDE = 32;
template <class Number>
void blocked_product(
    const Number* x, const Number* weight, Number* product,
    int64_t rows, int64_t inner, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t o = 0; o < columns; ++o) {
            Number sum = 0;
            for (int64_t k = 0; k < inner; ++k) sum += x[i * inner + k] * weight[o * inner + k];
            product[i * columns + o] = sum;
        }
}
""",
    ),
    Mistake(
        "2.7 blocked_product",
        "the last columns left out",
        hint="The number of columns need not be a multiple of WIDE. "
        "What becomes of the columns after the last whole block?",
        replace={"first < columns; first": "first + WIDE <= columns; first"},
    ),
    Mistake(
        "2.7 blocked_product",
        "the last rows left out",
        hint="The number of rows need not be a multiple of HIGH. "
        "What becomes of the rows after the last whole block?",
        replace={"top < rows; top": "top + HIGH <= rows; top"},
    ),
    Mistake(
        "2.7 linear_gelu",
        "bias taken as contiguous",
        hint="A tensor may be every second element of another one. "
        "A pointer to its memory knows nothing of strides.",
        replace={
            "const Tensor offset = torch::stable::contiguous(bias);": "const Tensor offset = bias;"
        },
    ),
    Mistake(
        "2.7 linear_gelu",
        "the length of bias not looked at",
        hint="Behind a pointer there is no shape: a bias that is too long goes unnoticed, and one "
        "that is too short is read beyond its end. Compare it with the rows of weight.",
        replace={"        bias.size(0) == columns,\n": "        bias.size(0) >= columns,\n"},
    ),
    Mistake(
        "2.7 linear_gelu",
        "dtypes not looked at",
        hint="Where an argument has another dtype than float32, the sentence should name it. "
        "`require` does that for every argument.",
        replace={'    require("bias", bias, 1);\n': ""},
    ),
]

_GIVEN = cpp.linear_gelu.marked.partition("// BEGIN SOLUTION")[0]

ALTERNATIVES = [
    Alternative(
        "2.7 gelu_rows",
        """
#include <cmath>
#include <cstdint>
#include <cstring>

static inline float exp_negative(float x) {
    x = x < -87.0f ? -87.0f : x;
    const int32_t n = static_cast<int32_t>(x * 1.44269504f - 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1 + r / 7;
    p = 1 + r / 6 * p;
    p = 1 + r / 5 * p;
    p = 1 + r / 4 * p;
    p = 1 + r / 3 * p;
    p = 1 + r / 2 * p;
    p = 1 + r * p;
    const int32_t bits = (n + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

extern "C" void gelu_rows(
    float* product, const float* bias, float* slope, int64_t rows, int64_t columns) {
    float ignored[64];
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t begin = 0; begin < columns; begin += 64) {
            const int64_t count = columns - begin < 64 ? columns - begin : 64;
            float* y = product + i * columns + begin;
            const float* b = bias + begin;
            float* d = slope ? slope + i * columns + begin : ignored;
            for (int64_t j = 0; j < count; ++j) {
                const float t = y[j] + b[j], e = exp_negative(t * t * -0.5f);
                const float k = 1 / (1 + 0.3275911f / 1.41421356f * std::fabs(t));
                const float a = k * (0.254829592f + k * (-0.284496736f + k * (1.421413741f
                    + k * (-1.453152027f + k * 1.061405429f))));
                const float half = 0.5f - 0.5f * e * a;
                const float below = 0.5f + std::copysign(half, t);
                y[j] = t * below;
                d[j] = below + t * e / 2.50662827f;
            }
        }
}
""",
    ),
    Alternative(
        "2.7 scale_and_sum",
        """
#include <cstdint>
extern "C" void scale_and_sum(
    const float* upstream, const float* slope, float* result, float* bias_gradient,
    int64_t rows, int64_t columns) {
    for (int64_t j = 0; j < columns; ++j) bias_gradient[j] = 0;
    while (rows-- > 0) {
        for (int64_t j = 0; j < columns; ++j) {
            result[j] = upstream[j] * slope[j];
            bias_gradient[j] += result[j];
        }
        upstream += columns;
        slope += columns;
        result += columns;
    }
}
""",
    ),
    Alternative(
        "2.7 blocked_product",
        """
#include <algorithm>
#include <cstdint>
#include <vector>

template <class Number>
void blocked_product(
    const Number* x, const Number* weight, Number* product,
    int64_t rows, int64_t inner, int64_t columns) {
    constexpr int64_t WIDE = 16;
    std::fill(product, product + rows * columns, Number(0));
    std::vector<Number> turned(inner * WIDE);
    for (int64_t begin = 0; begin < columns; begin += WIDE) {
        const int64_t end = std::min(begin + WIDE, columns);
        for (int64_t k = 0; k < inner; ++k)
            for (int64_t o = begin; o < end; ++o)
                turned[k * WIDE + o - begin] = weight[o * inner + k];
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t k = 0; k < inner; ++k)
                for (int64_t o = begin; o < end; ++o)
                    product[i * columns + o] += x[i * inner + k] * turned[k * WIDE + o - begin];
    }
}
""",
    ),
    Alternative(
        "2.7 linear_gelu",
        _GIVEN
        + """
static Tensor product_of(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    require("weight", weight, 2);
    require("bias", bias, 1);
    require("x", x, -1);
    const int64_t last = x.dim() - 1;
    STD_TORCH_CHECK(x.size(last) == weight.size(1), "weight: expected ", x.size(last), " columns");
    STD_TORCH_CHECK(weight.size(0) == bias.size(0), "bias: expected ", weight.size(0), " elements");
    return torch::stable::matmul(x, torch::stable::transpose(weight, 0, 1));
}

static std::tuple<Tensor, Tensor> linear_gelu_slope(Tensor x, Tensor weight, Tensor bias) {
    Tensor y = torch::stable::clone(torch::stable::contiguous(product_of(x, weight, bias)));
    Tensor d = torch::stable::empty_like(y), b = torch::stable::clone(bias);
    b = torch::stable::contiguous(b);
    const int64_t columns = bias.size(0);
    float* values = y.mutable_data_ptr<float>();
    float* slopes = d.mutable_data_ptr<float>();
    for (int64_t at = 0; at < y.numel(); at += columns)
        gelu_rows(values + at, b.const_data_ptr<float>(), slopes + at, 1, columns);
    return {y, d};
}

static Tensor linear_gelu(Tensor x, Tensor weight, Tensor bias) {
    return std::get<0>(linear_gelu_slope(x, weight, bias));
}

STABLE_TORCH_LIBRARY_FRAGMENT(AISYS_NAMESPACE, m) {
    m.def("linear_gelu_slope(Tensor x, Tensor weight, Tensor bias) -> (Tensor, Tensor)");
    m.def("linear_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(AISYS_NAMESPACE, CPU, m) {
    m.impl("linear_gelu_slope", TORCH_BOX(&linear_gelu_slope));
    m.impl("linear_gelu", TORCH_BOX(&linear_gelu));
}
""",
    ),
]
