"""Probes of 2.1: both halves of the linear layer and of GELU, in float64."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aisys.course import Case, Difference, Plain, compare, probe
from aisys.operators.checks.evaluation import (
    CountProducts,
    arrays,
    drawn,
    kept_elements,
    passed_back,
)
from aisys.operators.gelu import GELU
from aisys.operators.linear import Linear
from aisys.operators.numerical import difference_quotients

CONTIGUOUS = {"x": "contiguous", "weight": "contiguous", "upstream": "contiguous"}


def linear_case(
    name: str, seed: int, shape: Sequence[int], out_features: int, **layouts: str
) -> Case:
    """A case of the linear layer: x's shape, the size of its result, and layouts by argument."""
    inputs = {"x": list(shape), "out_features": out_features, "layouts": {**CONTIGUOUS, **layouts}}
    return Case(name, inputs, seed)


SHAPES = [
    linear_case("four rows, 3 features to 2", 1, [4, 3], 2),
    linear_case("two axes in front", 2, [2, 3, 4], 5),
    linear_case("no axis in front", 3, [3], 2),
    linear_case("as many rows as features", 4, [3, 3], 3),
    linear_case("transposed in memory", 5, [2, 3, 4], 2, x="transposed", upstream="transposed"),
    linear_case("no row at all", 6, [2, 0, 3], 2),
    linear_case("no input feature", 7, [4, 0], 2),
]


def layer(case: dict, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, weight and bias of a case."""
    layouts, out_features = case["layouts"], case["out_features"]
    x = drawn(rng, case["x"], layouts["x"])
    weight = drawn(rng, (out_features, case["x"][-1]), layouts["weight"])
    return x, weight, drawn(rng, (out_features,))


@probe("2.1 Linear", cases=SHAPES)
def linear_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return arrays(Linear.apply(*layer(case, rng)))


@probe(
    "2.1 Linear",
    rtol=1e-6,
    atol=1e-7,
    cases=[
        *SHAPES,
        linear_case("the gradient of a sum arrives", 8, [2, 3, 4], 5, upstream="expanded"),
    ],
)
def linear_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns for x, weight and bias, and the same from forward by differences."""
    tensors = [tensor.requires_grad_() for tensor in layer(case, rng)]
    upstream = drawn(rng, (*case["x"][:-1], case["out_features"]), case["layouts"]["upstream"])
    result = Linear.apply(*tensors)
    quotients = difference_quotients(Linear.apply, tensors, upstream)
    return {
        "backward": passed_back(Linear, result, upstream),
        "differences of forward": arrays(quotients),
    }


def only_what_is_needed(got: Plain, expected: Plain) -> Difference | None:
    """No gradient, product or element more than in the reference."""
    difference = compare(got["backward"], expected["backward"], 1e-9, 1e-12, "['backward']")
    if difference is not None:
        return difference
    spared, kept = got["products spared"], got["elements kept"]
    if spared < expected["products spared"]:
        message = (
            f"backward computes {spared} products less than where all gradients are needed; "
            f"it can spare {expected['products spared']}."
        )
        return Difference("products", message)
    if kept > expected["elements kept"]:
        message = f"{kept} elements are kept for backward; {expected['elements kept']} are needed."
        return Difference("memory", message)
    return None


def needs_case(name: str, seed: int, *needs: bool, x: Sequence[int] = (4, 3), out: int = 2) -> Case:
    """A case in which only some of x, weight and bias need a gradient."""
    inputs = {"x": list(x), "out_features": out, "layouts": CONTIGUOUS, "needs": list(needs)}
    return Case(name, inputs, seed)


@probe(
    "2.1 Linear",
    verdict=only_what_is_needed,
    cases=[
        needs_case("the first layer: x needs no gradient", 1, False, True, True),
        needs_case("a frozen layer: only x needs one", 2, True, False, False),
        needs_case("only the bias needs one", 3, False, False, True),
    ],
)
def linear_needs(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns, how many products it spares, and what forward keeps for it."""
    tensors = layer(case, rng)
    upstream = drawn(rng, (*case["x"][:-1], case["out_features"]))

    def both_halves(needs: list[bool]) -> tuple[Plain, int, int]:
        chosen = [t.clone().requires_grad_(need) for t, need in zip(tensors, needs, strict=True)]
        with kept_elements() as kept:
            result = Linear.apply(*chosen)
        with CountProducts() as products:
            gradients = passed_back(Linear, result, upstream)
        return gradients, products.count, sum(kept)

    _, all_products, _ = both_halves([True, True, True])
    gradients, products, kept = both_halves(case["needs"])
    return {
        "backward": gradients,
        "products spared": all_products - products,
        "elements kept": kept,
    }


@probe(
    "2.1 Linear",
    cases=[
        Case("weight changed between the halves", {"changed": "weight"}, 1),
        Case("x changed between the halves", {"changed": "x"}, 2),
    ],
)
def linear_changed_in_place(case: dict, rng: np.random.Generator) -> Plain:
    """The error that a change in place leads to; without one the gradients would be wrong."""
    tensors = {"x": drawn(rng, (4, 3)), "weight": drawn(rng, (2, 3)), "bias": drawn(rng, (2,))}
    result = Linear.apply(*(tensor.requires_grad_() for tensor in tensors.values()))
    with torch.no_grad():
        tensors[case["changed"]].mul_(2)
    try:
        passed_back(Linear, result, drawn(rng, (4, 2)))
    except RuntimeError as error:
        return {"error": type(error).__name__}
    return {"error": "none"}


def gelu_case(name: str, seed: int, shape: Sequence[int], **inputs: object) -> Case:
    """A case of GELU: random numbers of a shape, a layout and a size."""
    return Case(name, {"shape": list(shape), "layout": "contiguous", "size": 2.0, **inputs}, seed)


GELUS = [
    gelu_case("six numbers", 1, [6]),
    gelu_case("of size 10", 2, [2, 5], size=10.0),
    gelu_case("transposed in memory", 3, [3, 4], layout="transposed"),
    gelu_case("no number at all", 4, [0, 3]),
]


@probe("2.1 GELU", cases=GELUS)
def gelu_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward, and how many elements it keeps for each of x."""
    x = case["size"] * drawn(rng, case["shape"], case["layout"])
    with kept_elements() as kept:
        result = GELU.apply(x.requires_grad_())
    return {"result": arrays(result), "elements kept": sum(kept) / max(x.numel(), 1)}


@probe("2.1 GELU", rtol=1e-6, atol=1e-7, cases=GELUS)
def gelu_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns, and the same from forward by differences."""
    x = (case["size"] * drawn(rng, case["shape"], case["layout"])).requires_grad_()
    upstream = drawn(rng, case["shape"])
    quotients = difference_quotients(GELU.apply, [x], upstream)
    return {
        "backward": passed_back(GELU, GELU.apply(x), upstream),
        "differences of forward": arrays(quotients),
    }
