"""Stage 3.6: hidden cases, mistakes and alternatives of the operator in CUDA."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.operator import layer_case, operator_case, rows_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _layers(rng: np.random.Generator) -> list[Case]:
    """Layers with one of the sizes above a tile's, and one with all."""
    cases = []
    for number, low in enumerate([(33, 3, 3), (3, 33, 3), (3, 3, 33), (33, 33, 33)]):
        rows, inner, columns = (int(rng.integers(size, size + 20)) for size in low)
        name = f"hidden {number + 1}: {rows} x {inner} times {inner} x {columns}"
        cases.append(layer_case(name, _seed(rng), rows, inner, columns))
    return cases


def forward(rng: np.random.Generator) -> list[Case]:
    """Layers of several sizes, one without the slope."""
    return [*_layers(rng), layer_case("hidden 5: no slope", _seed(rng), 34, 9, 33, keep=False)]


def backward(rng: np.random.Generator) -> list[Case]:
    """Layers of several sizes, one without rows."""
    return [*_layers(rng), layer_case("hidden 5: no rows", _seed(rng), 0, 35, 3)]


def moved(rng: np.random.Generator) -> list[Case]:
    """Two layers to count at."""
    cases = []
    for number in range(2):
        rows, columns = (32 * int(size) for size in rng.permutation([1, 2]))
        inner = 32 * int(rng.integers(2, 4))
        name = f"hidden {number + 1}: what {rows} x {inner} times {inner} x {columns} moves"
        cases.append(layer_case(name, number, rows, inner, columns))
    return cases


def softmaxes(rng: np.random.Generator) -> list[Case]:
    """Rows of several lengths, with large numbers, and masked at their beginning."""
    length = int(rng.integers(140, 400))
    masked = int(rng.integers(1, 130))
    return [
        rows_case(f"hidden 1: rows of {length}", _seed(rng), 3, length),
        rows_case("hidden 2: shorter than a warp", _seed(rng), 2, int(rng.integers(2, 31))),
        rows_case("hidden 3: large numbers", _seed(rng), 2, length, size=500.0),
        rows_case(f"hidden 4: {masked} masked", _seed(rng), 2, masked + 50, masked=masked),
        rows_case("hidden 5: all but one masked", _seed(rng), 1, length, masked=length - 1),
    ]


def layer_norms(rng: np.random.Generator) -> list[Case]:
    """Rows of several lengths, with large means, and with an epsilon that counts."""
    length = int(rng.integers(140, 400))
    mean = float(rng.integers(2000, 4000))
    return [
        rows_case(f"hidden 1: rows of {length}", _seed(rng), 3, length),
        rows_case("hidden 2: shorter than a warp", _seed(rng), 2, int(rng.integers(2, 31))),
        rows_case(f"hidden 3: a mean of {mean:g}", _seed(rng), 2, length, mean=mean),
        rows_case("hidden 4: epsilon 0.5", _seed(rng), 2, 50, epsilon=0.5),
        rows_case("hidden 5: small numbers", _seed(rng), 2, 60, size=0.003, mean=0.0),
    ]


def rows_moved(rng: np.random.Generator) -> list[Case]:
    """Two matrices to count at."""
    return [
        rows_case(f"hidden {k + 1}: what 2 rows of {columns} move", k, 2, columns)
        for k, columns in enumerate((256 * int(rng.integers(1, 5)), 8 * int(rng.integers(70, 120))))
    ]


def operators(rng: np.random.Generator) -> list[Case]:
    """Batches of several shapes, contiguous and strided, with all gradients and with some."""

    def sizes() -> dict[str, int]:
        return {"inner": int(rng.integers(2, 9)), "columns": int(rng.integers(2, 9))}

    return [
        operator_case("hidden 1: 2 x 3 rows", _seed(rng), leading=[2, 3], **sizes()),
        operator_case("hidden 2: strided", _seed(rng), leading=[3, 2], layout="strided", **sizes()),
        operator_case("hidden 3: no rows", _seed(rng), leading=[2, 0], **sizes()),
        operator_case("hidden 4: expanded", _seed(rng), upstream="expanded", **sizes()),
        operator_case("hidden 5: bias alone", _seed(rng), needs=["bias"], **sizes()),
        operator_case("hidden 6: x frozen", _seed(rng), needs=["weight", "bias"], **sizes()),
        operator_case("hidden 7: x alone", _seed(rng), needs=["x"], leading=[], **sizes()),
    ]


CASES = {
    "linear_gelu_forward_values": forward,
    "linear_gelu_forward_moves": moved,
    "linear_gelu_backward_values": backward,
    "linear_gelu_backward_moves": moved,
    "softmax_rows_values": softmaxes,
    "softmax_rows_moves": rows_moved,
    "layer_norm_rows_values": layer_norms,
    "layer_norm_rows_moves": rows_moved,
    "registered": operators,
    "registered_devices": lambda rng: [Case("hidden: which devices")],
}

MISTAKES = [
    Mistake(
        "3.6 linear_gelu_forward",
        "the bias after the activation",
        hint="The bias belongs to z, so it is added before the GELU.",
        replace={
            "float z = sums[i] + offset;": "float z = sums[i];",
            "= z * below;": "= z * below + offset;",
        },
    ),
    Mistake(
        "3.6 linear_gelu_forward",
        "the tile of the weights not padded",
        hint="Each lane reads another row of the weights' tile. In which bank is its element?",
        replace={"ws[TILE][TILE + 1];": "ws[TILE][TILE];"},
    ),
    Mistake(
        "3.6 linear_gelu_forward",
        "no barrier before the next tiles",
        hint="A fast warp loads the next tiles while a slow one still multiplies.",
        replace={"[k] * w;\n    }\n    __syncthreads();": "[k] * w;\n    }"},
    ),
    Mistake(
        "3.6 linear_gelu_forward",
        "the slope without its second term",
        hint="GELU(z) = z P(z) is a product, and its derivative has two terms.",
        replace={"below + 0.39894228f * z * expf(-0.5f * z * z);": "below;"},
    ),
    Mistake(
        "3.6 linear_gelu_forward",
        "every product from global memory",
        hint="The values are right, but each thread reads its row and its column from global "
        "memory. Let the block bring a tile of each into shared memory, as in 3.5.",
        source="""
#define TILE 32
#define HIGH 8
__global__ void linear_gelu_forward(
    const float *x, const float *weight, const float *bias, float *value, float *slope,
    int rows, int inner, int columns, int keep) {
  int column = blockIdx.x * TILE + threadIdx.x;
  if (column >= columns) return;
  for (int row = blockIdx.y * TILE + threadIdx.y; row < (blockIdx.y + 1) * TILE && row < rows;
       row += HIGH) {
    float z = bias[column];
    for (int k = 0; k < inner; k++) z += x[row * inner + k] * weight[column * inner + k];
    float below = 0.5f * (1.0f + erff(z * 0.70710678f));
    value[row * columns + column] = z * below;
    if (keep) slope[row * columns + column] = below + 0.39894228f * z * expf(-0.5f * z * z);
  }
}
""",
    ),
    Mistake(
        "3.6 linear_gelu_backward",
        "the slope forgotten for x",
        hint="What arrives at z is upstream times slope, for every gradient.",
        replace={
            "zs[r][tx] = in_z ? upstream[z] * slope[z] : 0.0f;\n      ws": (
                "zs[r][tx] = in_z ? upstream[z] : 0.0f;\n      ws"
            )
        },
    ),
    Mistake(
        "3.6 linear_gelu_backward",
        "the bias from every block",
        hint="Several blocks hold the same columns of by_z. "
        "If all of them write by_bias, they write the same places.",
        replace={"bool adds_bias = blockIdx.x == 0 && ty == 0;": "bool adds_bias = ty == 0;"},
    ),
    Mistake(
        "3.6 linear_gelu_backward",
        "a tile turned while it is stored",
        hint="A warp reads a row of by_z and stores it as a column of the tile: "
        "32 words, all in one bank.",
        replace={
            "zs[r][tx] = in_z ? upstream[z] * slope[z] : 0.0f;\n      xs": (
                "zs[tx][r] = in_z ? upstream[z] * slope[z] : 0.0f;\n      xs"
            ),
            "zs[k][ty + i * HIGH] * input;": "zs[ty + i * HIGH][k] * input;",
            "sum += zs[k][tx];": "sum += zs[tx][k];",
        },
    ),
    Mistake(
        "3.6 linear_gelu_backward",
        "only the first rows added up",
        hint="The sum goes over all rows, tile after tile; there may be more of them than 32.",
        replace={"first < rows; first += TILE": "first < rows && first < TILE; first += TILE"},
    ),
    Mistake(
        "3.6 softmax_rows",
        "the sum not rescaled",
        hint="With a larger maximum, what was added up before is too large by exp(m - larger).",
        replace={
            "d = d * expf(m - larger) + expf(v - larger);": "d = d + expf(v - larger);",
        },
    ),
    Mistake(
        "3.6 softmax_rows",
        "-infinity minus -infinity",
        hint="Where the first element that a thread sees is -infinity, m - larger is "
        "-infinity minus -infinity, and that is no number.",
        replace={"    if (v == MINUS_INFINITY) continue;\n": ""},
    ),
    Mistake(
        "3.6 softmax_rows",
        "only the first warp",
        hint="Each warp has a pair of its own; all of them belong to the row.",
        replace={"warp < blockDim.x / 32; warp++": "warp < 1; warp++"},
    ),
    Mistake(
        "3.6 softmax_rows",
        "a pass for the maximum and one for the sum",
        hint="The result is right, but the row is read three times. Maximum and sum fit into one "
        "pass, if the sum is rescaled whenever the maximum grows.",
        replace={
            "    float v = row[j];\n": (
                "    m = fmaxf(m, row[j]);\n"
                "  }\n"
                "  for (int j = threadIdx.x; j < columns; j += blockDim.x) {\n"
                "    float v = row[j];\n"
            )
        },
    ),
    Mistake(
        "3.6 layer_norm_rows",
        "the square of the mean from the mean of the squares",
        hint="With a mean of 3000 both squares are near 9,000,000, where a float32 has no place "
        "left for a variance of 2. Add up squares of differences.",
        replace={
            "    float v = row[j], difference = v - mean;\n"
            "    n += 1.0f;\n"
            "    mean += difference / n;\n"
            "    s += difference * (v - mean);\n": (
                "    n += 1.0f;\n    mean += row[j];\n    s += row[j] * row[j];\n"
            ),
            "    float difference = other_mean - mean, share = other_n / both;\n"
            "    mean += difference * share;\n"
            "    s += other_s + difference * difference * n * share;\n": (
                "    mean += other_mean;\n    s += other_s;\n"
            ),
            "  float scaled = rsqrtf(s / columns + epsilon);\n": (
                "  mean /= n;\n"
                "  float scaled = rsqrtf(fmaxf(s / columns - mean * mean, 0.0f) + epsilon);\n"
            ),
        },
    ),
    Mistake(
        "3.6 layer_norm_rows",
        "divided by one less",
        hint="Layer normalisation divides by the number of columns, and not by one less.",
        replace={"rsqrtf(s / columns + epsilon)": "rsqrtf(s / (columns - 1) + epsilon)"},
    ),
    Mistake(
        "3.6 layer_norm_rows",
        "the means of two threads not compared",
        hint="Two threads with different means: their sums of squares do not hold the difference "
        "between the means. Chan's formula has a third term.",
        replace={"s += other_s + difference * difference * n * share;": "s += other_s;"},
    ),
    Mistake(
        "3.6 register",
        "the GPU left out",
        hint="`register_kernel` takes one device or several. The same function serves the CPU's "
        "tensors, through the emulator, and the GPU's.",
        replace={'register_kernel(["cpu", "cuda"], implem': 'register_kernel("cpu", implem'},
    ),
    Mistake(
        "3.6 register",
        "upstream taken as contiguous",
        hint="The gradient of a sum arrives as one number, expanded: all its strides are 0. "
        "A kernel that gets its pointer reads beyond it.",
        replace={
            "weight.contiguous(), matrix(upstream)": (
                "weight.contiguous(), upstream.reshape(math.prod(upstream.shape[:-1]), len(weight))"
            )
        },
    ),
    Mistake(
        "3.6 register",
        "the slope asked for in forward",
        hint="In forward nobody needs the slope, and to write it costs as much as the value does.",
        replace={"bias.contiguous(), False)": "bias.contiguous(), True)"},
    ),
    Mistake(
        "3.6 register",
        "all gradients, needed or not",
        hint="A first layer's x needs no gradient: a product of matrices for nothing.",
        replace={"        if needs_x:\n            by_x =": "        if True:\n            by_x ="},
    ),
]

_REGISTER = """
def register(operator: CustomOpDef, kernels: Kernels) -> None:
    def forward(x, weight, bias):
        require_linear(x, weight, bias)
        columns, inner = weight.shape
        flat = x.contiguous().view(x.numel() // inner if inner else math.prod(x.shape[:-1]), inner)
        result = kernels.forward(flat, weight.contiguous(), bias.contiguous(), False)[0]
        return result.view(x.shape[:-1] + (columns,))

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    def gradient(ctx, upstream):
        x, weight, bias = (tensor.contiguous() for tensor in ctx.saved_tensors)
        rows = math.prod(x.shape[:-1])
        flat, arriving = x.view(rows, x.shape[-1]), upstream.contiguous().view(rows, len(weight))
        slope = kernels.forward(flat, weight, bias, True)[1]
        results = [None, None, None]
        if any(ctx.needs_input_grad[1:]):
            results[1:] = kernels.gradient_of_weight(arriving, slope, flat)
        if ctx.needs_input_grad[0]:
            results[0] = kernels.gradient_of_x(arriving, slope, weight).view(x.shape)
        return tuple(
            result if needed else None
            for result, needed in zip(results, ctx.needs_input_grad, strict=True)
        )

    for device in ("cuda", "cpu"):
        operator.register_kernel(device)(forward)
    operator.register_autograd(gradient, setup_context=setup)
"""

ALTERNATIVES = [
    Alternative(
        "3.6 linear_gelu_forward",
        """
__global__ void linear_gelu_forward(
    const float *x, const float *weight, const float *bias, float *value, float *slope,
    int rows, int inner, int columns, int keep) {
  __shared__ float xs[32 * 16], ws[32 * 17];
  const int tid = threadIdx.y * 32 + threadIdx.x;
  const float *x_tile = x + blockIdx.y * 32 * inner, *w_tile = weight + blockIdx.x * 32 * inner;
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (int first = 0; first < inner; first += 16) {
    for (int e = tid; e < 512; e += 256) {
      const int r = e / 16, c = e % 16, k = first + c;
      xs[e] = blockIdx.y * 32 + r < rows && k < inner ? x_tile[r * inner + k] : 0;
      ws[r * 17 + c] = blockIdx.x * 32 + r < columns && k < inner ? w_tile[r * inner + k] : 0;
    }
    __syncthreads();
    for (int k = 0; k < 16; k++) {
      const float w = ws[threadIdx.x * 17 + k];
      s0 += w * xs[threadIdx.y * 64 + k];
      s1 += w * xs[threadIdx.y * 64 + 16 + k];
      s2 += w * xs[threadIdx.y * 64 + 32 + k];
      s3 += w * xs[threadIdx.y * 64 + 48 + k];
    }
    __syncthreads();
  }
  const int column = blockIdx.x * 32 + threadIdx.x;
  const float found[4] = {s0, s1, s2, s3};
  for (int i = 0; i < 4; i++) {
    const int row = blockIdx.y * 32 + threadIdx.y * 4 + i;
    if (row < rows && column < columns) {
      const float z = found[i] + bias[column], p = 0.5f * erfcf(-z / sqrtf(2.0f));
      value[row * columns + column] = z * p;
      if (keep != 0) slope[row * columns + column] = p + z * expf(-z * z / 2) / 2.50662827f;
    }
  }
}
""",
    ),
    Alternative(
        "3.6 linear_gelu_backward",
        """
__device__ void load(
    float (*tile)[32], const float *u, const float *s, int top, int left, int high, int wide) {
  for (int r = threadIdx.y; r < 32; r += 8) {
    int row = top + r, column = left + threadIdx.x, at = row * wide + column;
    float v = 0;
    if (row < high && column < wide) v = s ? u[at] * s[at] : u[at];
    tile[r][threadIdx.x] = v;
  }
}

__global__ void gradient_of_x(
    const float *upstream, const float *slope, const float *weight, float *by_x,
    int rows, int inner, int columns) {
  __shared__ float z[32][32], w[32][32];
  float sums[4] = {0, 0, 0, 0};
  for (int first = 0; first < columns; first += 32) {
    __syncthreads();
    load(z, upstream, slope, blockIdx.y * 32, first, rows, columns);
    load(w, weight, nullptr, first, blockIdx.x * 32, columns, inner);
    __syncthreads();
    for (int i = 0; i < 4; i++)
      for (int k = 0; k < 32; k++) sums[i] += z[threadIdx.y * 4 + i][k] * w[k][threadIdx.x];
  }
  int column = blockIdx.x * 32 + threadIdx.x;
  for (int i = 0; i < 4; i++) {
    int row = blockIdx.y * 32 + threadIdx.y * 4 + i;
    if (row < rows && column < inner) by_x[row * inner + column] = sums[i];
  }
}

__global__ void gradient_of_weight(
    const float *upstream, const float *slope, const float *x, float *by_weight, float *by_bias,
    int rows, int inner, int columns) {
  __shared__ float z[32][32], w[32][32];
  float sums[4] = {0, 0, 0, 0}, bias = 0;
  for (int first = 0; first < rows; first += 32) {
    __syncthreads();
    load(z, upstream, slope, first, blockIdx.y * 32, rows, columns);
    load(w, x, nullptr, first, blockIdx.x * 32, rows, inner);
    for (int r = threadIdx.y; r < 32; r += 8) bias += z[r][threadIdx.x];  // what it loaded itself
    __syncthreads();
    for (int i = 0; i < 4; i++)
      for (int k = 0; k < 32; k++) sums[i] += z[k][threadIdx.y * 4 + i] * w[k][threadIdx.x];
  }
  int column = blockIdx.x * 32 + threadIdx.x;
  for (int i = 0; i < 4; i++) {
    int row = blockIdx.y * 32 + threadIdx.y * 4 + i;
    if (row < columns && column < inner) by_weight[row * inner + column] = sums[i];
  }
  if (blockIdx.x > 0) return;
  __syncthreads();
  z[threadIdx.y][threadIdx.x] = bias;
  __syncthreads();
  for (int r = 1; r < 8; r++) bias += threadIdx.y == 0 ? z[r][threadIdx.x] : 0;
  if (threadIdx.y == 0 && blockIdx.y * 32 + threadIdx.x < columns)
    by_bias[blockIdx.y * 32 + threadIdx.x] = bias;
}
""",
    ),
    Alternative(
        "3.6 softmax_rows",
        """
__global__ void softmax_rows(const float *input, float *output, int columns) {
  __shared__ float largest[256], sum[256];
  const int t = threadIdx.x;
  input += blockIdx.x * columns;
  output += blockIdx.x * columns;
  // The smallest float instead of -infinity: a difference of two is a number.
  float m = -3.402823466e38f, d = 0;
  for (int j = t; j < columns; j += blockDim.x) {
    const float v = input[j];
    if (v > m) {
      d = d * expf(m - v) + 1;
      m = v;
    } else {
      d += expf(v - m);
    }
  }
  largest[t] = m;
  sum[t] = d;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (t < half && t + half < blockDim.x) {
      const float a = largest[t], b = largest[t + half], both = a > b ? a : b;
      sum[t] = sum[t] * expf(a - both) + sum[t + half] * expf(b - both);
      largest[t] = both;
    }
  }
  __syncthreads();
  const float factor = 1 / sum[0];
  for (int j = t; j < columns; j += blockDim.x) output[j] = expf(input[j] - largest[0]) * factor;
}
""",
    ),
    Alternative(
        "3.6 layer_norm_rows",
        """
__global__ void layer_norm_rows(
    const float *input, const float *scale, const float *shift, float *output, int columns,
    float epsilon) {
  __shared__ float sum[8], square[8];
  const float *row = input + blockIdx.x * columns;
  // The sums of differences to one element of the row: as good as those to the mean.
  const float base = row[0];
  float a = 0, b = 0;
  for (int j = threadIdx.x; j < columns; j += blockDim.x) {
    const float v = row[j] - base;
    a += v;
    b += v * v;
  }
  for (int k = 1; k < 32; k *= 2) {
    a += __shfl_xor_sync(0xffffffffu, a, k);
    b += __shfl_xor_sync(0xffffffffu, b, k);
  }
  if (threadIdx.x % 32 == 0) {
    sum[threadIdx.x / 32] = a;
    square[threadIdx.x / 32] = b;
  }
  __syncthreads();
  a = b = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) {
    a += sum[warp];
    b += square[warp];
  }
  const float mean = a / columns, variance = b / columns - mean * mean;
  const float factor = 1 / sqrtf((variance > 0 ? variance : 0) + epsilon);
  for (int j = threadIdx.x; j < columns; j += blockDim.x)
    output[blockIdx.x * columns + j] = (row[j] - base - mean) * factor * scale[j] + shift[j];
}
""",
    ),
    Alternative("3.6 register", _REGISTER),
]
