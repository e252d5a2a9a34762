"""Stage 2.1: hidden cases, mistakes and alternatives of the linear layer and of GELU."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.linear import gelu_case, linear_case, needs_case
from autograder.catalogue import Alternative, Mistake


def seed(rng: np.random.Generator) -> int:
    """A seed for a case."""
    return int(rng.integers(2**31))


def layers(rng: np.random.Generator) -> list[Case]:
    """Layers of random sizes, with 0 to 3 axes in front, of every layout, and of size 0."""
    a, b, c, d = (int(size) for size in rng.permutation([2, 3, 4, 5]))
    out = int(rng.integers(2, 5))
    return [
        linear_case(f"hidden 1: x {[a, b]}", seed(rng), [a, b], out),
        linear_case(f"hidden 2: x {[b, c, d]}", seed(rng), [b, c, d], a, upstream="expanded"),
        linear_case(f"hidden 3: x {[2, 2, a, c]}", seed(rng), [2, 2, a, c], d, x="transposed"),
        linear_case(f"hidden 4: x {[d]}", seed(rng), [d], c, x="strided"),
        linear_case(f"hidden 5: x {[c, c]}", seed(rng), [c, c], c, upstream="transposed"),
        linear_case(f"hidden 6: x {[0, b]}", seed(rng), [0, b], d, weight="transposed"),
        linear_case(f"hidden 7: x {[a, 3, 0]}", seed(rng), [a, 3, 0], b),
        linear_case(f"hidden 8: x {[c, a]}, no output", seed(rng), [c, a], 0),
    ]


def needs(rng: np.random.Generator) -> list[Case]:
    """Every choice of what needs a gradient but all and none."""
    ways = [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    cases = []
    for number, way in enumerate(ways, 1):
        a, b, c = (int(size) for size in rng.permutation([3, 4, 5]))
        names = [name for name, need in zip(("x", "weight", "bias"), way, strict=True) if need]
        name = f"hidden {number}: needed for {' and '.join(names)}"
        cases.append(needs_case(name, seed(rng), *map(bool, way), x=(2, a, b), out=c))
    return cases


def changes(rng: np.random.Generator) -> list[Case]:
    """A change of either argument that is kept."""
    return [
        Case(f"hidden {number}: {changed} changed", {"changed": changed}, seed(rng))
        for number, changed in enumerate(("weight", "x"), 1)
    ]


def gelus(rng: np.random.Generator) -> list[Case]:
    """Numbers of several sizes and layouts."""
    a, b = (int(size) for size in rng.permutation([3, 4, 5])[:2])
    return [
        gelu_case(f"hidden 1: {a} numbers", seed(rng), [a]),
        gelu_case("hidden 2: of size 0.1", seed(rng), [a, b], size=0.1),
        gelu_case("hidden 3: of size 8", seed(rng), [b, a], size=8.0, layout="strided"),
        gelu_case("hidden 4: three axes", seed(rng), [2, b, a], layout="transposed"),
        gelu_case("hidden 5: no number", seed(rng), [a, 0]),
    ]


CASES = {
    "linear_values": layers,
    "linear_gradients": layers,
    "linear_needs": needs,
    "linear_changed_in_place": changes,
    "gelu_values": gelus,
    "gelu_gradients": gelus,
}

MISTAKES = [
    Mistake(
        "2.1 Linear",
        "weight not transposed",
        hint="weight is [out_features, in_features]: a row of it belongs to one output feature. "
        "Where rows and features have the same number, only the values tell.",
        replace={"return x @ weight.T": "return x @ weight.reshape(weight.shape[::-1])"},
    ),
    Mistake(
        "2.1 Linear",
        "the gradient of the bias not summed",
        hint="bias is added to every row, so its gradient is the sum of what arrives at all rows, "
        "over all axes in front. (PyTorch's engine would sum it in silence; it is yours to do.)",
        replace={"arriving.sum(0)": "upstream"},
    ),
    Mistake(
        "2.1 Linear",
        "the bias summed over one axis only",
        hint="There may be several axes in front of the features, or none. The gradient of the "
        "bias has the shape [out_features] all the same.",
        replace={"arriving.sum(0)": "upstream.sum(0)"},
    ),
    Mistake(
        "2.1 Linear",
        "view of a tensor that may not be contiguous",
        hint="`view` works only where the elements lie in memory in the order of the new shape. "
        "x and upstream may be transposed: nobody has copied them.",
        replace={
            "upstream.reshape(rows, upstream.shape[-1])": "upstream.view(rows, upstream.shape[-1])",
            "x.reshape(rows, x.shape[-1])": "x.view(rows, x.shape[-1])",
        },
    ),
    Mistake(
        "2.1 Linear",
        "-1 for a size that may be 0",
        hint="reshape(-1, n) works the missing size out by a division. With a size of 0 there is "
        "nothing to divide: multiply the sizes in front yourself.",
        replace={
            "rows = math.prod(upstream.shape[:-1])": "rows = -1",
        },
    ),
    Mistake(
        "2.1 Linear",
        "needs_input_grad ignored",
        hint="A gradient that nobody needs costs a matrix product. Look at "
        "`ctx.needs_input_grad` before you compute it, and return None in its place.",
        replace={
            "needs_x, needs_weight, _ = ctx.needs_input_grad": "needs_x = needs_weight = True",
            "needs_x, needs_weight, needs_bias = ctx.needs_input_grad": (
                "needs_x = needs_weight = needs_bias = True"
            ),
        },
    ),
    Mistake(
        "2.1 Linear",
        "both tensors kept, needed or not",
        hint="Each of the two is kept for the gradient of the other. A frozen layer need not hold "
        "its input until backward: save None in its place.",
        replace={
            "x if needs_weight else None, weight if needs_x else None": "x, weight",
        },
    ),
    Mistake(
        "2.1 Linear",
        "kept as attributes of ctx",
        hint="`ctx.x = x` hides the tensor from autograd: nobody notices that it was changed in "
        "place, and the gradient is wrong without a word. Use save_for_backward.",
        replace={
            "ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)": (
                "ctx.kept = x if needs_weight else None, weight if needs_x else None"
            ),
            "x, weight = ctx.saved_tensors": "x, weight = ctx.kept",
        },
    ),
    Mistake(
        "2.1 Linear",
        "the two factors of the weight's gradient exchanged",
        hint="The gradient of weight has weight's shape: which factor has out_features for its "
        "rows?",
        replace={
            "arriving.T @ x.reshape(rows, x.shape[-1])": "x.reshape(rows, x.shape[-1]).T @ arriving"
        },
    ),
    Mistake(
        "2.1 GELU",
        "the approximation by tanh",
        hint="This is the approximation that GPT-2 used; here the exact form is wanted, with erf. "
        "They differ in the fourth digit.",
        replace={
            "x * (0.5 * (1 + torch.erf(x / math.sqrt(2))))": (
                "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"
            )
        },
    ),
    Mistake(
        "2.1 GELU",
        "only one term of the product rule",
        hint="x * P(x) depends on x in two places. Hold your gradient against the differences of "
        "forward: where x is 0 they agree, elsewhere not.",
        replace={"(below + x * density)": "below"},
    ),
    Mistake(
        "2.1 GELU",
        "upstream forgotten",
        hint="backward gets the gradient of what comes after, and has to multiply by it.",
        replace={"upstream * (below + x * density)": "below + x * density"},
    ),
    Mistake(
        "2.1 GELU",
        "more kept than one tensor",
        hint="What can be computed again from x at little cost need not be kept from forward to "
        "backward: one tensor of x's size is enough.",
        replace={
            "ctx.save_for_backward(x)": (
                "ctx.save_for_backward(x, 0.5 * (1 + torch.erf(x / math.sqrt(2))))"
            ),
            "(x,) = ctx.saved_tensors": "x, _ = ctx.saved_tensors",
        },
    ),
    Mistake(
        "2.1 GELU",
        "the density without its factor",
        hint="The derivative of P is exp(-x**2 / 2) / sqrt(2 * pi); the whole of it.",
        replace={" / math.sqrt(2 * math.pi)": ""},
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.1 Linear",
        """
class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        saved = [None, None]
        if ctx.needs_input_grad[0]:
            saved[0] = weight
        if ctx.needs_input_grad[1]:
            saved[1] = x
        ctx.save_for_backward(*saved)
        return torch.einsum("...i,oi->...o", x, weight) + bias

    @staticmethod
    def backward(ctx, upstream):
        weight, x = ctx.saved_tensors
        in_front = tuple(range(upstream.dim() - 1))
        gradients = [None, None, None]
        if weight is not None:
            gradients[0] = torch.einsum("...o,oi->...i", upstream, weight)
        if x is not None:
            gradients[1] = torch.tensordot(upstream, x, dims=(in_front, in_front))
        if ctx.needs_input_grad[2]:
            gradients[2] = upstream.sum(in_front) if in_front else upstream.clone()
        return tuple(gradients)
""",
        "einsum and tensordot",
    ),
    Alternative(
        "2.1 Linear",
        """
class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        needs = ctx.needs_input_grad
        ctx.save_for_backward(*[t if n else None for t, n in ((x, needs[1]), (weight, needs[0]))])
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        shape = upstream.shape
        upstream = upstream.contiguous().view(math.prod(shape[:-1]), shape[-1])
        by_x = by_weight = None
        if weight is not None:
            by_x = torch.mm(upstream, weight).view(*shape[:-1], weight.shape[1])
        if x is not None:
            by_weight = torch.mm(x.reshape(len(upstream), x.shape[-1]).t(), upstream).t()
        ones = torch.ones(len(upstream), dtype=upstream.dtype)
        return by_x, by_weight, torch.mv(upstream.t(), ones) if ctx.needs_input_grad[2] else None
""",
        "one matrix throughout, the bias by a product",
    ),
    Alternative(
        "2.1 GELU",
        """
class GELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        below = torch.special.ndtr(x)
        density = torch.exp(-x.square() / 2) * (2 * math.pi) ** -0.5
        ctx.save_for_backward(below + x * density)
        return x * below

    @staticmethod
    def backward(ctx, upstream):
        (slope,) = ctx.saved_tensors
        return slope * upstream
""",
        "the slope is kept instead of x",
    ),
]
