"""Stage 2.6: hidden cases, mistakes and alternatives of the registered operator."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.citizenship import layer_case
from autograder.catalogue import Alternative, Mistake

LEADING: tuple[list[int], ...] = ([4], [2, 3], [], [2, 1, 2])


def _layers(rng: np.random.Generator, **inputs: object) -> list[Case]:
    """A layer for each kind of leading axes."""
    cases = []
    for number, leading in enumerate(LEADING):
        sizes = {"in_features": int(rng.integers(2, 7)), "out_features": int(rng.integers(2, 7))}
        seed, name = int(rng.integers(2**31)), f"hidden {number + 1}: {leading} rows"
        cases.append(layer_case(name, seed, leading=leading, **sizes, **inputs))
    return cases


def _one(rng: np.random.Generator, weight: float = 1.0) -> list[Case]:
    """One layer, for what takes long."""
    case = layer_case("hidden: 6 rows", int(rng.integers(2**31)), leading=[6])
    return [Case(case.name, case.inputs, case.seed, weight)]


def refused(rng: np.random.Generator) -> list[Case]:
    """Shapes that do not fit."""
    more = int(rng.integers(1, 4))
    return [
        Case("hidden 1: weight too wide", {"argument": "weight", "shape": [5, 4 + more]}),
        Case("hidden 2: bias too long", {"argument": "bias", "shape": [5 + more]}),
    ]


def fakes(rng: np.random.Generator) -> list[Case]:
    """Layers of float64, and one of float16."""
    return [*_layers(rng), layer_case("hidden 5: float16", 0, leading=[2, 2], dtype="float16")]


def gradients(rng: np.random.Generator) -> list[Case]:
    """Layers with all gradients, and with some."""
    some = layer_case("hidden 5: weight alone", int(rng.integers(2**31)), needs=["weight"])
    return [*_layers(rng), some, layer_case("hidden 6: no rows", 0, leading=[2, 0])]


def batches(rng: np.random.Generator) -> list[Case]:
    """Batch axes at all places."""
    places: list[tuple[list[int], list[int | None]]] = [
        ([2], [1, None, None]),
        ([], [0, 2, 1]),
        ([2, 2], [2, None, 0]),
        ([3], [None, 0, None]),
        ([2], [0, 1, 0]),
    ]
    return [
        layer_case(
            f"hidden {number + 1}: axes {axes}",
            int(rng.integers(2**31)),
            leading=leading,
            axes=axes,
            in_features=int(rng.integers(2, 6)),
        )
        for number, (leading, axes) in enumerate(places)
    ]


def dtypes(rng: np.random.Generator) -> list[Case]:
    """Mixtures of dtypes."""
    low, full = "bfloat16", "float32"
    return [
        Case("hidden 1: all of float32", {"dtypes": [full, full, full]}),
        Case("hidden 2: weight of bfloat16", {"dtypes": [full, low, full]}),
        Case("hidden 3: all of bfloat16", {"dtypes": [low, low, low]}),
    ]


CASES = {
    "define_values": _layers,
    "define_refused": refused,
    "fake_shapes": fakes,
    "compiled_values": lambda rng: _one(rng, 2),
    "exported_values": lambda rng: _one(rng, 2),
    "registered_gradients": gradients,
    "checked_by_opcheck": lambda rng: _one(rng, 2),
    "compiled_gradients": lambda rng: _one(rng, 2),
    "batched_values": batches,
    "batched_calls": lambda rng: [Case("hidden: 50 layers", {"batch": 50}, weight=2)],
    "precision_of_results": dtypes,
    "precision_by_device": lambda rng: [Case("hidden: which devices")],
}

MISTAKES = [
    Mistake(
        "2.6 define_linear_gelu",
        "other names of the arguments",
        hint="The schema comes from the function's own arguments: their names, their order and "
        "their annotations. Callers may name them.",
        source="""
def define_linear_gelu(namespace):
    @custom_op(f"{namespace}::linear_gelu", mutates_args=())
    def linear_gelu(inputs: Tensor, w: Tensor, b: Tensor) -> Tensor:
        require_linear(inputs, w, b)
        return F.gelu(F.linear(inputs, w, b))

    return linear_gelu
""",
    ),
    Mistake(
        "2.6 define_linear_gelu",
        "the approximation with tanh",
        hint="The exact GELU is asked for, with the error function; "
        "the one with tanh differs from it in the fourth digit.",
        replace={"F.linear(x, weight, bias))": 'F.linear(x, weight, bias), approximate="tanh")'},
    ),
    Mistake(
        "2.6 add_fake",
        "only one leading axis",
        hint="x may have any number of axes before its features, and the result has them all.",
        replace={"(*x.shape[:-1], weight.shape[0])": "(x.shape[0], weight.shape[0])"},
    ),
    Mistake(
        "2.6 add_fake",
        "the default dtype",
        hint="The result has the dtype and the device of x. "
        "`torch.empty` takes the defaults, `x.new_empty` those of x.",
        replace={
            "x.new_empty((*x.shape[:-1], weight.shape[0]))": (
                "torch.empty((*x.shape[:-1], weight.shape[0]))"
            )
        },
    ),
    Mistake(
        "2.6 add_gradient",
        "the slope without its second term",
        hint="GELU(t) = t P(t) is a product, and the slope of a product has two terms.",
        replace={"upstream * (below + before * density)": "upstream * below"},
    ),
    Mistake(
        "2.6 add_gradient",
        "upstream not multiplied by the slope",
        hint="The upstream gradient is that of the GELU's result. "
        "It has to go back through the GELU before it reaches the matrix product.",
        replace={"arriving = upstream * (below + before * density)": "arriving = upstream * 1"},
    ),
    Mistake(
        "2.6 add_batching",
        "the batch's axis left where it is",
        hint="`in_dims` says which axis of x is the batch's. The operator takes the last axis for "
        "the features, whatever it is.",
        replace={"operator(x.movedim(x_axis, 0), weight, bias), 0": "operator(x, weight, bias), 0"},
    ),
    Mistake(
        "2.6 add_batching",
        "a loop over the batch",
        hint="The results are right, but a batch of 64 calls 64 operators, as a loop without vmap "
        "would. One product can do it for all elements: `einsum` with the batch as a letter.",
        source="""
def add_batching(operator):
    def rule(info, in_dims, *arguments):
        moved = [
            t.expand(info.batch_size, *t.shape) if d is None else t.movedim(d, 0)
            for t, d in zip(arguments, in_dims)
        ]
        return torch.stack([operator(*each) for each in zip(*moved)]), 0

    operator.register_vmap(rule)
""",
    ),
    Mistake(
        "2.6 add_precision",
        "CUDA left out",
        hint="Each type of device has an autocast of its own, and a rule holds for one of them.",
        replace={'    operator.register_autocast("cuda", torch.float16)\n': ""},
    ),
    Mistake(
        "2.6 add_precision",
        "float16 on the CPU",
        hint="On the CPU the narrow type is bfloat16, which has the range of float32.",
        replace={'"cpu", torch.bfloat16': '"cpu", torch.float16'},
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.6 define_linear_gelu",
        """
def define_linear_gelu(namespace):
    def linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        require_linear(x, weight, bias)
        t = x @ weight.T + bias
        return 0.5 * t * (1 + torch.erf(t * 0.5**0.5))

    return torch.library.custom_op(f"{namespace}::linear_gelu", linear_gelu, mutates_args=())
""",
    ),
    Alternative(
        "2.6 add_fake",
        """
def add_fake(operator):
    @operator.register_fake
    def shape_of_result(x, weight, bias):
        return torch.empty(
            [*x.shape[:-1], bias.shape[0]], dtype=x.dtype, device=x.device
        )
""",
    ),
    Alternative(
        "2.6 add_gradient",
        """
def add_gradient(operator):
    def setup(ctx, inputs, output):
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight, bias)

    def backward(ctx, upstream):
        x, weight, bias = ctx.saved_tensors
        t = x @ weight.T + bias
        slope = torch.special.ndtr(t) + t * torch.exp(-t * t / 2) * (2 * math.pi) ** -0.5
        g = upstream * slope
        axes = list(range(g.dim() - 1))
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = torch.einsum("...o,oi->...i", g, weight)
        if ctx.needs_input_grad[1]:
            of_weight = torch.einsum("...o,...i->oi", g, x)
        if ctx.needs_input_grad[2]:
            of_bias = g.sum(axes) if axes else g
        return of_x, of_weight, of_bias

    operator.register_autograd(backward, setup_context=setup)
""",
    ),
    Alternative(
        "2.6 add_batching",
        """
def add_batching(operator):
    def rule(info, in_dims, x, weight, bias):
        moved = []
        for tensor, axis in zip((x, weight, bias), in_dims):
            if axis is None:
                tensor, axis = tensor.unsqueeze(0), 0
            moved.append(tensor.movedim(axis, 0))
        x, weight, bias = moved
        # One row axis for matmul, and none left over afterwards.
        row = x.dim() == 2
        x = x.unsqueeze(1) if row else x
        while weight.dim() < x.dim():
            weight = weight.unsqueeze(1)
        while bias.dim() < x.dim():
            bias = bias.unsqueeze(1)
        result = F.gelu(x @ weight.mT + bias)
        return (result.squeeze(1) if row else result), 0

    operator.register_vmap(rule)
""",
    ),
    Alternative(
        "2.6 add_precision",
        """
def add_precision(operator):
    for device, dtype in {"cuda": torch.half, "cpu": torch.bfloat16}.items():
        operator.register_autocast(device, dtype)
""",
    ),
]
