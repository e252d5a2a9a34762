"""Stage 2.3: hidden cases, mistakes and alternatives of the straight-through estimators."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.straight_through import bits_case, exact_case, step_case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab2_operators.stage_2_1 import seed


def steps(rng: np.random.Generator) -> list[Case]:
    """Numbers inside, outside and between levels."""
    levels = int(rng.integers(2, 6))
    step = float(rng.choice([0.125, 0.25, 2.0]))
    halves = step * (rng.permutation(2 * levels)[:4] - levels + 0.5)
    edge = step * levels
    edges = [edge, -edge, edge + 0.4 * step, -edge - 0.6 * step, edge + 3 * step, edge - 0.1 * step]
    return [
        step_case(f"hidden 1: step {step}, inside", seed(rng), step, step, 15),
        step_case(f"hidden 2: {levels} levels", seed(rng), 2 * edge, step, levels),
        exact_case("hidden 3: half-way", seed(rng), halves.tolist(), step=step, levels=levels),
        exact_case("hidden 4: outermost", seed(rng), edges, step=step, levels=levels),
        step_case("hidden 5: one level", seed(rng), 1.0, 0.7, 1),
    ]


def signs(rng: np.random.Generator) -> list[Case]:
    """Numbers on both sides of 0 and of the bounds."""
    far = float(rng.uniform(2, 9))
    return [
        exact_case("hidden 1: random", seed(rng), [], size=1.0),
        exact_case("hidden 2: of size 3", seed(rng), [], size=3.0),
        exact_case("hidden 3: zeros", seed(rng), [0.0, 0.5, 0.0, -0.5]),
        exact_case("hidden 4: bounds", seed(rng), [-1.0, 1.0, far, -far, 0.99, -1.01]),
    ]


def corners(rng: np.random.Generator) -> list[Case]:
    """Zeros among other numbers, for several slopes."""
    slope = float(rng.uniform(0.1, 0.9))
    a, b = rng.uniform(0.5, 4, 2).tolist()
    return [
        exact_case("hidden 1: random", seed(rng), [], size=2.0, slope=slope),
        exact_case("hidden 2: slope 0", seed(rng), [a, 0.0, -b, 0.0], slope=0.0),
        exact_case("hidden 3: slope 1", seed(rng), [0.0, -a, b], slope=1.0),
        exact_case(f"hidden 4: slope {slope:.2f}", seed(rng), [0.0, -a, 0.0, b], slope=slope),
    ]


def weights(rng: np.random.Generator) -> list[Case]:
    """Every number of bits that is in use, and a layer of zeros."""
    a, b = (int(size) for size in rng.permutation([3, 4, 5, 6])[:2])
    cases = [
        bits_case(f"hidden {number}: {bits} bits", seed(rng), bits, (a, b))
        for number, bits in enumerate((1, 2, 3, 4, 8), 1)
    ]
    return [*cases, bits_case("hidden 6: zeros", seed(rng), 4, (b, a), zero=True)]


CASES = {
    "quantized_values": steps,
    "quantized_gradients": steps,
    "sign_values": signs,
    "sign_gradients": signs,
    "relu_halves": corners,
    "weights_in_bits": weights,
}

MISTAKES = [
    Mistake(
        "2.3 Quantize",
        "the true gradient",
        hint="A step function is flat between its steps: its true gradient is 0, and nothing "
        "would ever be learned. The estimator passes upstream through instead.",
        replace={"return upstream * inside, None, None": "return 0 * upstream, None, None"},
    ),
    Mistake(
        "2.3 Quantize",
        "not clipped in backward",
        hint="Where x lies beyond the outermost level, moving it a little changes nothing, and "
        "upstream would push it ever further out. There the gradient is 0.",
        replace={"return upstream * inside, None, None": "return upstream, None, None"},
    ),
    Mistake(
        "2.3 Quantize",
        "half a step too narrow",
        hint="A number a little beyond the outermost level is still rounded to it, not clipped: "
        "ask the rounded number, not x, whether it lies outside.",
        replace={"nearest.abs() <= levels": "(x / step).abs() <= levels"},
    ),
    Mistake(
        "2.3 Quantize",
        "rounded down",
        hint="The nearest multiple is wanted: 0.9 of a step becomes 1 step, not 0.",
        replace={"torch.round(x / step)": "torch.floor(x / step)"},
    ),
    Mistake(
        "2.3 Quantize",
        "half-way cases always up",
        hint="floor(x + 0.5) sends every half-way case up, which moves the mean of what is "
        "rounded. torch.round takes the even neighbour.",
        replace={"torch.round(x / step)": "torch.floor(x / step + 0.5)"},
    ),
    Mistake(
        "2.3 Quantize",
        "levels instead of values",
        hint="The result is a multiple of step, not the number of the level.",
        replace={"torch.clamp(nearest, -levels, levels) * step": "nearest.clamp(-levels, levels)"},
    ),
    Mistake(
        "2.3 Sign",
        "0 for 0",
        hint="torch.sign has three values, and three do not fit into one bit. What is the "
        "result where x is 0?",
        replace={"torch.where(x >= 0, 1.0, -1.0).to(x.dtype)": "torch.sign(x)"},
    ),
    Mistake(
        "2.3 Sign",
        "not clipped in backward",
        hint="Beyond 1 and -1 the gradient is 0. Without that, numbers whose sign is settled are "
        "pushed on and never come back.",
        replace={"return upstream * (x.abs() <= 1)": "return upstream.clone()"},
    ),
    Mistake(
        "2.3 Sign",
        "the sign of x in backward",
        hint="The estimator pretends that the step was a straight line with slope 1, on both sides "
        "of 0.",
        replace={"upstream * (x.abs() <= 1)": "upstream * (x.abs() <= 1) * torch.sign(x)"},
    ),
    Mistake(
        "2.3 Sign",
        "clipped at the value of upstream",
        hint="What is clipped is where x lies, not how large upstream is.",
        replace={"upstream * (x.abs() <= 1)": "upstream.clamp(-1, 1)"},
    ),
    Mistake(
        "2.3 ReLU",
        "slope_at_zero not used",
        hint="x == 0 is a case of its own: neither the left slope nor the right one, but the one "
        "that was asked for.",
        replace={"torch.where(x == 0, ctx.slope_at_zero, (x > 0).to(upstream.dtype))": "x > 0"},
    ),
    Mistake(
        "2.3 ReLU",
        "the result kept instead of x",
        hint="The slope holds where x is exactly 0, not for negative x. The result is 0 for both: "
        "it cannot tell you which of them it was.",
        replace={
            "ctx.save_for_backward(x)": "ctx.save_for_backward(torch.clamp(x, min=0))",
        },
    ),
    Mistake(
        "2.3 quantize_weight",
        "one level too many",
        hint="Of the 2**bits patterns one belongs to 0 and one stays unused, so that there are as "
        "many levels above 0 as below.",
        replace={"levels = 2 ** (bits - 1) - 1": "levels = 2 ** (bits - 1)"},
    ),
    Mistake(
        "2.3 quantize_weight",
        "the largest value without its sign",
        hint="The largest weight in absolute value may be negative.",
        replace={"weight.detach().abs().max().item()": "weight.detach().max().item()"},
    ),
    Mistake(
        "2.3 quantize_weight",
        "a gradient through the mean",
        hint="With 1 bit the mean of |weight| is a number here. If a gradient flows through it, "
        "every weight gets some of every other one's.",
        replace={
            "Sign.apply(weight) * weight.detach().abs().mean()": (
                "Sign.apply(weight) * weight.abs().mean()"
            )
        },
    ),
    Mistake(
        "2.3 quantize_weight",
        "division by 0",
        hint="A layer whose weights are all 0 has a step of 0, and 0 / 0 is nan.",
        replace={"largest / levels if largest > 0 else 1.0": "largest / levels"},
    ),
    Mistake(
        "2.3 quantize_weight",
        "the sign without its size",
        hint="With 1 bit a weight is its sign times the mean of |weight| in the layer.",
        replace={" * weight.detach().abs().mean()": ""},
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.3 Quantize",
        """
class Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, step, levels):
        ctx.save_for_backward(x)
        ctx.step, ctx.levels = step, levels
        top = torch.full_like(x, levels)
        return step * torch.maximum(torch.minimum((x / step).round(), top), -top)

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        outside = torch.round(x / ctx.step).abs() > ctx.levels
        return upstream.masked_fill(outside, 0), None, None
""",
        "x kept, and rounded again",
    ),
    Alternative(
        "2.3 Sign",
        """
class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward((x >= -1) & (x <= 1))
        return 2 * (x >= 0).to(x.dtype) - 1

    @staticmethod
    def backward(ctx, upstream):
        return torch.where(ctx.saved_tensors[0], upstream, torch.zeros_like(upstream))
""",
        "the mask is kept",
    ),
    Alternative(
        "2.3 ReLU",
        """
class ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope_at_zero):
        slope = torch.heaviside(x, torch.tensor(slope_at_zero, dtype=x.dtype))
        ctx.save_for_backward(slope)
        return torch.relu(x)

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream, None
""",
        "Heaviside's function",
    ),
    Alternative(
        "2.3 quantize_weight",
        """
def quantize_weight(weight, bits):
    with torch.no_grad():
        sizes = torch.abs(weight)
        mean, largest = float(sizes.mean()), float(sizes.max())
    if bits < 2:
        return mean * Sign.apply(weight)
    if largest == 0:
        return weight * 0 + Quantize.apply(weight, 1e-3, 1)
    levels = (1 << (bits - 1)) - 1
    return Quantize.apply(weight, largest / levels, levels)
""",
        "numbers under no_grad",
    ),
]
