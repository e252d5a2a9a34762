"""Stage 2.2: hidden cases, mistakes and alternatives of the functions that must be stable."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.stability import range_case, sum_case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab2_operators.stage_2_1 import seed


def wide(rng: np.random.Generator) -> list[Case]:
    """Numbers of every size, both signs."""
    small, large = rng.uniform(36, 60), rng.uniform(800, 5000)
    return [
        range_case("hidden 1: between -6 and 6", seed(rng), -6, 6),
        range_case("hidden 2: zeros", seed(rng), 0, 0),
        range_case("hidden 3: between 20 and 25", seed(rng), 20, 25),
        range_case(f"hidden 4: about {large:.0f}", seed(rng), large, large + 50),
        range_case(f"hidden 5: about {-small:.0f}", seed(rng), -small - 1, -small),
        range_case("hidden 6: between -600 and -400", seed(rng), -600, -400),
        range_case("hidden 7: infinite", seed(rng), np.inf, np.inf),
        range_case("hidden 8: between -20 and -10", seed(rng), -20, -10),
    ]


def sums(rng: np.random.Generator) -> list[Case]:
    """Rows of every size, along every axis, hidden in part and as a whole."""
    a, b = (int(size) for size in rng.permutation([2, 3, 4])[:2])
    return [
        sum_case(f"hidden 1: {[a, b]}, axis 0", seed(rng), [a, b], 0),
        sum_case(f"hidden 2: {[a, b, 4]}, axis 1", seed(rng), [a, b, 4], 1),
        sum_case("hidden 3: of size 3,000", seed(rng), [b, b], -1, size=3e3),
        sum_case("hidden 4: rows 5,000 apart", seed(rng), [a, 3, b], -2, offsets=5e3),
        sum_case("hidden 5: some elements hidden", seed(rng), [b, a + 2], 1, hidden="some"),
        sum_case("hidden 6: a row hidden", seed(rng), [a + 1, b], -1, hidden="a row"),
        sum_case("hidden 7: one element", seed(rng), [a, 1], -1),
    ]


def losses(rng: np.random.Generator) -> list[Case]:
    """Logits of every size, right and wrong by far, with hard and soft targets."""
    small, large = rng.uniform(36, 60), rng.uniform(800, 5000)
    return [
        range_case("hidden 1: between -6 and 6, soft", seed(rng), -6, 6, target=None),
        range_case(f"hidden 2: {small:.0f}, yes", seed(rng), small, small + 1, target=1.0),
        range_case(f"hidden 3: {-small:.0f}, no", seed(rng), -small - 1, -small, target=0.0),
        range_case(f"hidden 4: {-large:.0f}, yes", seed(rng), -large - 9, -large, target=1.0),
        range_case(f"hidden 5: {large:.0f}, no", seed(rng), large, large + 9, target=0.0),
        range_case("hidden 6: zeros, soft", seed(rng), 0, 0, target=None),
    ]


def losses_and_targets(rng: np.random.Generator) -> list[Case]:
    """The same, and targets that need a gradient."""
    soft = {"target": None, "needs_targets": True}
    return [*losses(rng), range_case("hidden 7: targets too", seed(rng), -4, 4, **soft)]


CASES = {
    "softplus_values": wide,
    "softplus_gradients": wide,
    "sum_values": sums,
    "sum_gradients": sums,
    "loss_values": losses,
    "loss_gradients": losses_and_targets,
}

SOFTPLUS_FORWARD = "torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs()))"
LOSS_FORWARD = "(1 - targets) * positive - targets * negative + smooth"
LOSS_BACKWARD = "(1 - targets) * torch.sigmoid(logits) - targets * torch.sigmoid(-logits)"

MISTAKES = [
    # The order matters: of two that make the same of a failing case, the first one's hint is given.
    Mistake(
        "2.2 Softplus",
        "PyTorch's softplus",
        hint="torch.nn.functional.softplus returns x itself above 20: exp(-20) is too much to be "
        "left out in float64.",
        replace={SOFTPLUS_FORWARD: "torch.nn.functional.softplus(x)"},
    ),
    Mistake(
        "2.2 Softplus",
        "1 + y rounded before the logarithm",
        hint="For y = 1e-17 the sum 1 + y is 1, and its logarithm 0. There is a function that "
        "computes log(1 + y) without making 1 + y.",
        replace={"torch.log1p(torch.exp(-x.abs()))": "torch.log(1 + torch.exp(-x.abs()))"},
    ),
    Mistake(
        "2.2 Softplus",
        "as the formula is written",
        hint="exp(1000) is infinite. Take the large part out before the exponential: only "
        "exp(-|x|) is never larger than 1.",
        replace={SOFTPLUS_FORWARD: "torch.log(1 + torch.exp(x))"},
    ),
    Mistake(
        "2.2 Softplus",
        "infinity divided by infinity in the gradient",
        hint="exp(x) / (1 + exp(x)) is nan where exp(x) is infinite. The gradient needs a stable "
        "form as much as the value.",
        replace={"torch.sigmoid(x)": "torch.exp(x) / (1 + torch.exp(x))"},
    ),
    Mistake(
        "2.2 Softplus",
        "the gradient of the stable form, as a program would take it",
        hint="max(x, 0) and |x| have corners at 0, softplus has none. Its slope at 0 is neither "
        "0 nor 1; write down the derivative of log(1 + exp(x)) itself.",
        replace={
            "upstream * torch.sigmoid(x)": (
                "upstream * ((x >= 0).to(x.dtype) - torch.sign(x) * torch.sigmoid(-x.abs()))"
            )
        },
    ),
    Mistake(
        "2.2 Softplus",
        "the small side by a difference from 1",
        hint="1 - s has lost all digits where s is nearly 1. Which sigmoid is the small number "
        "itself?",
        replace={"torch.sigmoid(x)": "(1 - torch.sigmoid(-x))"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "nothing taken off before exp",
        hint="exp(1000) is infinite, and exp(-1000) of all elements sums to 0. Take the largest "
        "element off before, and add it afterwards.",
        replace={"torch.where(torch.isfinite(largest), largest, 0)": "torch.zeros_like(largest)"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "the largest element of the whole tensor taken off",
        hint="A row that lies 10,000 below another one vanishes if the other one's maximum is "
        "taken off. Each row has its own.",
        replace={"x.amax(dim, keepdim=True)": "x.amax(dim, keepdim=True) * 0 + x.max()"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "a hidden row gives nan",
        hint="In a row of nothing but -inf the maximum is -inf, too, and -inf - (-inf) is nan. "
        "What may be taken off instead?",
        replace={"torch.where(torch.isfinite(largest), largest, 0)": "largest"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "the gradient of a hidden row is nan",
        hint="The result of a row of nothing but -inf is -inf: x - result is nan there, and one "
        "nan is enough for all weights before it. Nobody can move such a row: its gradient is 0.",
        replace={"torch.where(torch.isfinite(result), result, 0)": "result"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "upstream along the wrong axis",
        hint="upstream has lost the axis that was summed over. Put it back in its place, or "
        "broadcasting puts it in front.",
        replace={"upstream.unsqueeze(ctx.dim)": "upstream.unsqueeze(0)"},
    ),
    Mistake(
        "2.2 LogSumExp",
        "exponentials without their sum",
        hint="The gradient is the share of each element in the sum: a row of it adds up to 1 "
        "(times upstream).",
        replace={"torch.exp(x - finite.unsqueeze(ctx.dim)), None": "torch.exp(x), None"},
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "as the formula is written",
        hint="sigmoid(1000) is 1, and log(1 - 1) is -inf. Write log(sigmoid(z)) without the "
        "sigmoid, as a softplus.",
        replace={
            LOSS_FORWARD: (
                "-targets * torch.log(torch.sigmoid(logits))"
                " - (1 - targets) * torch.log(1 - torch.sigmoid(logits))"
            )
        },
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "probabilities kept away from 0 and 1 by a constant",
        hint="A probability that is clamped gives a loss that is wrong for every logit beyond the "
        "bound, though no longer infinite. A form that needs no constant exists.",
        replace={
            LOSS_FORWARD: (
                "torch.nn.functional.binary_cross_entropy("
                "torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7), targets, reduction='none')"
            )
        },
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "1 + y rounded before the logarithm",
        hint="A right answer with a logit of 40 has a loss of 4e-18, not 0. Look at what happens "
        "to it next to the 1.",
        replace={
            "torch.log1p(torch.exp(-logits.abs()))": "torch.log(1 + torch.exp(-logits.abs()))"
        },
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "sigmoid minus target",
        hint="The formula is right, but sigmoid(40) - 1 is 0 where -4.2e-18 is right. "
        "1 - sigmoid(z) can be had without a subtraction.",
        replace={LOSS_BACKWARD: "torch.sigmoid(logits) - targets"},
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "targets without a gradient",
        hint="Targets may be made by another network. Where `ctx.needs_input_grad[1]` says so, "
        "they get a gradient, too.",
        replace={"-upstream * logits if ctx.needs_input_grad[1] else None": "None"},
    ),
    Mistake(
        "2.2 SigmoidCrossEntropy",
        "averaged over the elements",
        hint="There is one loss for each element: whoever calls decides whether to average.",
        replace={LOSS_FORWARD: f"({LOSS_FORWARD}).mean()"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.2 Softplus",
        """
class Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        small = torch.exp(-torch.abs(x))
        ctx.save_for_backward(torch.where(x < 0, small, 1) / (1 + small))
        return torch.maximum(x, torch.zeros_like(x)) + torch.log1p(small)

    @staticmethod
    def backward(ctx, upstream):
        (slope,) = ctx.saved_tensors
        return slope * upstream
""",
        "the slope is kept, made from the same exponential",
    ),
    Alternative(
        "2.2 LogSumExp",
        """
class LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim):
        largest = torch.max(x, dim, keepdim=True).values
        largest = largest.masked_fill(largest == -torch.inf, 0)
        powers = (x - largest).exp()
        total = powers.sum(dim, keepdim=True)
        ctx.dim = dim
        ctx.save_for_backward(powers / total.clamp(min=1e-300))
        return (largest + total.log()).squeeze(dim)

    @staticmethod
    def backward(ctx, upstream):
        (shares,) = ctx.saved_tensors
        return shares * torch.unsqueeze(upstream, ctx.dim), None
""",
        "the shares are kept",
    ),
    Alternative(
        "2.2 SigmoidCrossEntropy",
        """
class SigmoidCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        yes, no = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
        return -(targets * yes + (1 - targets) * no)

    @staticmethod
    def backward(ctx, upstream):
        z, t = ctx.saved_tensors
        small = torch.exp(-z.abs())
        low, high = small / (1 + small), 1 / (1 + small)
        p, q = torch.where(z > 0, high, low), torch.where(z > 0, low, high)
        gradients = [upstream * ((1 - t) * p - t * q), None]
        if ctx.needs_input_grad[1]:
            gradients[1] = upstream * -z
        return tuple(gradients)
""",
        "logsigmoid, and both probabilities from one exponential",
    ),
]

WRITTEN = """\
log(1 + exp(x)) leaves the right value on both sides. Above 88 (float32) exp(x) is infinite, and \
so is the result. Below about -8 the sum 1 + exp(x) keeps fewer and fewer digits of exp(x), and \
below -17 none: the result is 0 and the relative error 1. max(x, 0) + log1p(exp(-|x|)) cures both: \
the exponential is at most 1, and log1p never forms the sum.

A value can be right while the automatic gradient of the same form is wrong, because autograd \
differentiates the program and not the function. clamp and |x| have corners at 0, autograd picks \
one of the slopes for each (1 and 0), and the sum is 1 where softplus has the slope 1/2; the \
corners cancel in the function, not in the program. A row of nothing but -inf has a right result \
and the gradient exp(-inf - (-inf)) = nan. (Cross-entropy: sigmoid(z) - t subtracts two numbers \
that are nearly equal and loses the digits that sigmoid(-z) has.)

In training, the overflow and the nan matter most: one nan in one element spreads through the next \
products to every weight, and no later step repairs it. The lost digits matter little: a gradient \
of 4e-18 beside others of size 1 changes no weight in float32. They matter where small values are \
summed, divided or taken the logarithm of, as in log-likelihoods of rare events.
"""

ANSWERS = {"2.2-written": WRITTEN}
