"""Probes of 2.5: bytes that are kept, recomputing, overwriting, and loss scaling."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import Case, Difference, Plain, compare, probe
from aisys.operators.checks.evaluation import arrays, drawn, passed_back
from aisys.operators.in_place import LeakyReLUInPlace
from aisys.operators.linear_gelu import LinearGELU
from aisys.operators.loss_scaling import LossScaler, lost_share
from aisys.operators.memory import saved_bytes

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "exp(x)": lambda x, w: x.exp(),
    "x @ w": lambda x, w: x @ w,
    "gelu(x @ w)": lambda x, w: F.gelu(x @ w),
    "sigmoid(x @ w) ** 2": lambda x, w: torch.sigmoid(x @ w) ** 2,
    "y * y with y = exp(x)": lambda x, w: x.exp() * x.exp(),
    "y * y.T with y = sin(x)": lambda x, w: (lambda y: y * y.T)(x.sin()),
    "a column of exp(x), squared": lambda x, w: x.exp()[:, :1] ** 2,
    "x + 1": lambda x, w: x + 1,
    "exp(x[0])": lambda x, w: x[0].exp(),
    "x[0] ** 2": lambda x, w: x[0] ** 2,
    "tanh(tanh(x))": lambda x, w: x.tanh().tanh(),
}
"""What is run under `saved_bytes`: functions of x [n, n] and w [n, n]."""


@probe(
    "2.5 saved_bytes",
    cases=[
        Case(name, {"function": name, "size": 3}, number)
        for number, name in enumerate(
            (
                "exp(x)",
                "x @ w",
                "gelu(x @ w)",
                "y * y.T with y = sin(x)",
                "a column of exp(x), squared",
                "x + 1",
            ),
            1,
        )
    ],
)
def bytes_counted(case: dict, rng: np.random.Generator) -> Plain:
    """The bytes that a function keeps."""
    size = case["size"]
    inputs = [drawn(rng, (size, size)).requires_grad_() for _ in range(2)]
    return int(saved_bytes(FUNCTIONS[case["function"]], *inputs))


def recomputing_case(
    name: str, seed: int, shape: Sequence[int], out: int, **inputs: object
) -> Case:
    """A case of the fused layer: x's shape, the size of its result, what needs a gradient."""
    given = {"x": list(shape), "out": out, "needs": [True, True, True], "upstream": "contiguous"}
    return Case(name, {**given, **inputs}, seed)


def same_and_nothing_kept(got: Plain, expected: Plain) -> Difference | None:
    """Equal values, and no bytes kept beside the arguments."""
    for name in ("result", "backward"):
        difference = compare(got[name], expected[name], 1e-9, 1e-12, f"[{name!r}]")
        if difference is not None:
            return difference
    if got["bytes kept"] > expected["bytes kept"]:
        message = f"{got['bytes kept']} bytes are kept for backward beside the arguments."
        return Difference("memory", message)
    return None


@probe(
    "2.5 LinearGELU",
    verdict=same_and_nothing_kept,
    cases=[
        recomputing_case("four rows, 3 features to 2", 1, [4, 3], 2),
        recomputing_case("two axes in front", 2, [2, 3, 4], 5),
        recomputing_case("no axis in front", 3, [3], 2),
        recomputing_case("only x needs a gradient", 4, [3, 3], 3, needs=[True, False, False]),
        recomputing_case("the gradient of a sum arrives", 5, [4, 3], 2, upstream="expanded"),
        recomputing_case("no row at all", 6, [0, 3], 2),
    ],
)
def recomputed(case: dict, rng: np.random.Generator) -> Plain:
    """The layer's result, what backward returns, and the bytes kept beside the arguments."""
    features, out = case["x"][-1], case["out"]
    x, weight, bias = drawn(rng, case["x"]), drawn(rng, (out, features)), drawn(rng, (out,))
    for tensor, need in zip((x, weight, bias), case["needs"], strict=True):
        tensor.requires_grad_(need)
    result = LinearGELU.apply(x, weight, bias)
    upstream = drawn(rng, (*case["x"][:-1], out), case["upstream"])
    # Counted here and not with the student's saved_bytes.
    kept: dict[int, int] = {}
    given = {tensor.untyped_storage().data_ptr() for tensor in (x, weight, bias)}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        again = LinearGELU.apply(x, weight, bias)
    attributes = [each for each in vars(again.grad_fn).values() if isinstance(each, Tensor)]
    return {
        "result": arrays(result),
        "backward": passed_back(LinearGELU, result, upstream),
        "bytes kept": sum(kept.values()) + sum(each.nbytes for each in attributes),
    }


IN_PLACE = [
    Case("six numbers", {"shape": [6], "slope": 0.1}, 1),
    Case("a slope of 2", {"shape": [3, 4], "slope": 2.0}, 2),
    Case("transposed in memory", {"shape": [4, 3], "slope": 0.5, "layout": "transposed"}, 3),
]


def negated_and_back(x: Tensor) -> Tensor:
    """A tensor that is no leaf, with the numbers of x in its layout."""
    return x.neg().neg()


@probe("2.5 LeakyReLUInPlace", cases=IN_PLACE)
def overwritten(case: dict, rng: np.random.Generator) -> Plain:
    """The result, where it is stored, and the gradient; what arrives must be left as it is."""
    leaf = drawn(rng, case["shape"], case.get("layout", "contiguous")).requires_grad_()
    x = negated_and_back(leaf)
    version = x._version
    result = LeakyReLUInPlace.apply(x, case["slope"])
    upstream = drawn(rng, case["shape"])
    before = upstream.clone()
    (gradient,) = torch.autograd.grad(result, leaf, upstream, retain_graph=True)
    return {
        "result": arrays(result),
        "is stored in x": result.data_ptr() == x.data_ptr(),
        "version of x has gone up": x._version > version,
        "gradient": arrays(gradient),
        "upstream is untouched": bool((upstream == before).all()),
    }


@probe(
    "2.5 LeakyReLUInPlace",
    cases=[
        Case("what exp has saved is overwritten", {"saved": "before"}, 1),
        Case("the result is changed afterwards", {"saved": "after"}, 2),
        Case("nobody else needs x", {"saved": "nowhere"}, 3),
    ],
)
def changes_noticed(case: dict, rng: np.random.Generator) -> Plain:
    """Whether backward gives a gradient, or the error that a version counter leads to."""
    leaf = drawn(rng, (4,)).requires_grad_()
    x = leaf.exp() if case["saved"] == "before" else leaf + 1
    result = LeakyReLUInPlace.apply(x - 1 if case["saved"] == "nowhere" else x, 0.1)
    if case["saved"] == "after":
        result.mul_(-1)
    try:
        (gradient,) = torch.autograd.grad(result.sum(), leaf)
    except RuntimeError as error:
        return {"error": type(error).__name__}
    return {"gradient": arrays(gradient)}


@probe(
    "2.5 lost_share",
    cases=[
        Case("float16, gradients around 1e-7", {"dtype": "float16", "size": 1e-7, "scale": 1.0}, 1),
        Case("the same, scaled", {"dtype": "float16", "size": 1e-7, "scale": 256.0}, 2),
        Case("scaled too much", {"dtype": "float16", "size": 1e-2, "scale": 2.0**22}, 3),
        Case("bfloat16", {"dtype": "bfloat16", "size": 1e-7, "scale": 1.0}, 4),
        Case("many zeros", {"dtype": "float16", "size": 3e-8, "scale": 1.0, "zeros": 0.5}, 5),
        Case("nothing but zeros", {"dtype": "float16", "size": 1.0, "scale": 1.0, "zeros": 1.0}, 6),
    ],
)
def shares(case: dict, rng: np.random.Generator) -> Plain:
    """The share that is lost of numbers of several sizes, some of them 0."""
    numbers = case["size"] * rng.standard_normal(200) * 10 ** rng.uniform(-1, 1, 200)
    numbers[rng.random(200) < case.get("zeros", 0.0)] = 0
    gradient = torch.from_numpy(numbers).float().reshape(20, 10)
    return float(lost_share(gradient, getattr(torch, case["dtype"]), case["scale"]))


@probe(
    "2.5 LossScaler.scaled",
    cases=[Case("scale 8", {"scale": 8.0}, 1), Case("scale 65536", {"scale": 65536.0}, 2)],
)
def scaled_losses(case: dict, rng: np.random.Generator) -> Plain:
    """The scaled loss, and the gradient that it leads to."""
    x = drawn(rng, (3,)).requires_grad_()
    loss = LossScaler(case["scale"]).scaled(x.square().sum())
    (gradient,) = torch.autograd.grad(loss, x)
    return {"loss": arrays(loss), "gradient": arrays(gradient)}


def scaling_case(name: str, seed: int, arriving: Sequence[str], interval: int = 100) -> Case:
    """A case of the scaler: what arrives in each step, and the growth interval."""
    return Case(name, {"arriving": list(arriving), "interval": interval, "scale": 1024.0}, seed)


BAD = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}
"""What may stand in a gradient after an overflow."""


@probe(
    "2.5 LossScaler.step",
    cases=[
        scaling_case("three good steps", 1, ["good"] * 3),
        scaling_case("an overflow in between", 2, ["good", "inf", "good"]),
        scaling_case("not a number, three times", 3, ["nan", "nan", "nan", "good"]),
        scaling_case("growth after 3 good steps", 4, ["good"] * 7, interval=3),
        scaling_case(
            "an overflow interrupts the count", 5, ["good"] * 2 + ["-inf"] + ["good"] * 4, 3
        ),
    ],
)
def scaled_steps(case: dict, rng: np.random.Generator) -> Plain:
    """After every step: whether it was taken, the scale, the count, and the parameters.

    The last of three parameters never gets a gradient; a bad element is in the second gradient.
    """
    parameters = [drawn(rng, (3,)), drawn(rng, (2, 2)), drawn(rng, (2,))]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    scaler = LossScaler(case["scale"], case["interval"])
    seen = []
    for kind in case["arriving"]:
        for parameter in parameters[:2]:
            parameter.grad = drawn(rng, parameter.shape) * scaler.scale
        if kind in BAD:
            assert parameters[1].grad is not None
            parameters[1].grad[1, 0] = BAD[kind]
        taken = scaler.step(optimizer, parameters)
        values = [parameter.detach().numpy().copy() for parameter in parameters]
        seen.append(
            {
                "taken": bool(taken),
                "scale": float(scaler.scale),
                "good_steps": int(scaler.good_steps),
                "parameters": values,
            }
        )
    return seen
