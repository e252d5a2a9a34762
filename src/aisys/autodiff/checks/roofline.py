"""Probes of 1.2: costs of layers, and their arithmetic intensity."""

from typing import Any

import numpy as np

from aisys.autodiff.roofline import (
    Cost,
    arithmetic_intensity,
    conv2d_cost,
    linear_cost,
    max_pool2d_cost,
)
from aisys.course import Case, Plain, probe


def cost_of(cost: Any) -> Plain:
    """A cost as plain data."""
    return {"flops": getattr(cost, "flops", None), "bytes": getattr(cost, "bytes", None)}


@probe(
    "1.2 linear_cost",
    cases=[
        Case("one image", {"batch": 1, "inputs": 3, "outputs": 2, "itemsize": 4}),
        Case(
            "fc1 of LeNet, 64 images", {"batch": 64, "inputs": 400, "outputs": 120, "itemsize": 4}
        ),
        Case("float64", {"batch": 5, "inputs": 7, "outputs": 11, "itemsize": 8}),
    ],
)
def linear_costs(case: dict, rng: np.random.Generator) -> Plain:
    """Operations and bytes."""
    return cost_of(linear_cost(case["batch"], case["inputs"], case["outputs"], case["itemsize"]))


def convolution_case(
    name: str,
    x: list[int],
    weight: list[int],
    stride: int = 1,
    padding: int = 0,
    itemsize: int = 4,
) -> Case:
    """A case of a convolution."""
    inputs = {"x": x, "weight": weight, "stride": stride, "padding": padding}
    return Case(name, {**inputs, "itemsize": itemsize})


@probe(
    "1.2 conv2d_cost",
    cases=[
        convolution_case("one channel", [1, 1, 4, 5], [1, 1, 2, 3]),
        convolution_case("conv1 of LeNet, 64 images", [64, 1, 28, 28], [6, 1, 5, 5], padding=2),
        convolution_case("stride 2, float64", [2, 3, 9, 8], [4, 3, 3, 2], stride=2, itemsize=8),
    ],
)
def conv2d_costs(case: dict, rng: np.random.Generator) -> Plain:
    """Operations and bytes."""
    x, weight = tuple(case["x"]), tuple(case["weight"])
    return cost_of(conv2d_cost(x, weight, case["stride"], case["padding"], case["itemsize"]))


@probe(
    "1.2 max_pool2d_cost",
    cases=[
        Case("pool1 of LeNet", {"x": [64, 6, 28, 28], "kernel": 2, "stride": None, "itemsize": 4}),
        Case("windows overlap", {"x": [2, 3, 7, 9], "kernel": 3, "stride": 2, "itemsize": 4}),
        Case("a last row is left", {"x": [1, 2, 7, 8], "kernel": 2, "stride": 2, "itemsize": 8}),
    ],
)
def max_pool2d_costs(case: dict, rng: np.random.Generator) -> Plain:
    """Operations and bytes."""
    x, kernel, stride = tuple(case["x"]), case["kernel"], case["stride"]
    return cost_of(max_pool2d_cost(x, kernel, stride, case["itemsize"]))


@probe(
    "1.2 arithmetic_intensity",
    cases=[
        Case("one layer", {"costs": [[600, 200]]}),
        Case("two layers of different size", {"costs": [[1000, 10], [100, 100]]}),
        Case("three layers", {"costs": [[500, 400], [90, 30], [7, 70]]}),
    ],
)
def intensities(case: dict, rng: np.random.Generator) -> Plain:
    """Operations a byte."""
    return arithmetic_intensity([Cost(*each) for each in case["costs"]])
