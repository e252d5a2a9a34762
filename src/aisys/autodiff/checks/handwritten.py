"""Probes of 1.6: each gradient by itself, on small random values."""

from typing import Any

import numpy as np

from aisys.autodiff.checks.gradients import passed_on
from aisys.autodiff.convolution_gradient import col2im, conv2d_gradient, window_counts
from aisys.autodiff.cross_entropy import (
    compute_softmax_cross_entropy,
    softmax_cross_entropy_gradient,
)
from aisys.autodiff.max_pooling import compute_max_pool2d, route_to_max
from aisys.course import Case, Plain, probe

WINDOW = {"batch": 1, "channels": 1, "image": [4, 4], "kernel": [3, 3], "stride": 1, "padding": 0}


def window_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of col2im; what is left out is as in WINDOW, with random whole numbers as float64."""
    return Case(name, {**WINDOW, "values": "random", "dtype": "float64", **inputs}, seed)


@probe(
    "1.6 col2im",
    cases=[
        window_case("ones: how many windows see a pixel", 1, values="ones"),
        window_case("two images, two channels", 2, batch=2, channels=2, kernel=[2, 3]),
        window_case("stride 2, a last row that is not seen", 3, image=[6, 5], stride=2),
        window_case("padding 1", 4, kernel=[3, 2], padding=1),
        window_case("float32", 5, dtype="float32"),
    ],
)
def pixels_summed(case: dict, rng: np.random.Generator) -> Plain:
    """The images that are summed from a matrix of windows, and their dtype."""
    shape = (case["batch"], case["channels"], *case["image"])
    window = (*case["kernel"], case["stride"], case["padding"])
    out_height, out_width = window_counts(shape, *window)
    size = (shape[0] * out_height * out_width, shape[1] * int(np.prod(case["kernel"])))
    # Whole numbers, so that float32 adds them up without rounding in whatever order.
    values = np.ones(size) if case["values"] == "ones" else rng.integers(-9, 10, size)
    images = col2im(values.astype(case["dtype"]), shape, *window)
    return {"images": images, "dtype": str(getattr(images, "dtype", "none"))}


@probe(
    "1.6 conv2d_gradient",
    cases=[
        Case("one channel to one", {"places": [1, 2, 3], "weight": [1, 1, 2, 2]}, 1),
        Case("two images, 3 channels to 2", {"places": [2, 3, 2], "weight": [2, 3, 2, 1]}, 2),
        Case("as many images as channels", {"places": [2, 2, 2], "weight": [2, 1, 2, 2]}, 3),
    ],
)
def convolution_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of windows, weights and bias."""
    places, weight = tuple(case["places"]), case["weight"]
    values = [
        rng.standard_normal((int(np.prod(places)), int(np.prod(weight[1:])))),
        rng.standard_normal(weight),
        rng.standard_normal(weight[0]),
    ]
    return passed_on(conv2d_gradient, "conv2d", values, rng, places=places)


@probe(
    "1.6 route_to_max",
    cases=[
        Case("different pixels", {"shape": [1, 1, 4, 4], "size": 2, "values": "different"}, 1),
        Case("equal pixels", {"shape": [1, 1, 4, 4], "size": 2, "values": "0 or 1"}, 2),
        Case("all pixels equal", {"shape": [1, 1, 2, 4], "size": 2, "values": "equal"}, 3),
        Case("a row too many", {"shape": [2, 2, 7, 6], "size": 3, "values": "different"}, 4),
    ],
)
def routed(case: dict, rng: np.random.Generator) -> Plain:
    """What the pixels get, its dtype, and whether the arguments are as they were."""
    shape, size = tuple(case["shape"]), case["size"]
    x = {
        "different": lambda: rng.permutation(int(np.prod(shape))).reshape(shape) - 3.0,
        "0 or 1": lambda: rng.integers(0, 2, shape).astype(float),
        "equal": lambda: np.zeros(shape),
    }[case["values"]]()
    largest = np.array(compute_max_pool2d(x, size))
    upstream = rng.standard_normal(largest.shape)
    before = [each.copy() for each in (upstream, x, largest)]
    gradient = route_to_max(upstream, x, largest, size)
    same = all(map(np.array_equal, before, (upstream, x, largest)))
    return {"gradient": gradient, "arguments unchanged": same}


def logits_and_labels(case: dict, rng: np.random.Generator) -> list[Any]:
    """Random logits [batch, classes] of a size, and labels [batch]."""
    logits = case["size"] * rng.standard_normal((case["batch"], case["classes"]))
    return [logits.astype(case["dtype"]), rng.integers(case["classes"], size=case["batch"])]


def logits_case(
    name: str, seed: int, batch: int, classes: int, size: float = 1.0, dtype: str = "float64"
) -> Case:
    """A case of cross-entropy: random logits of a size."""
    inputs = {"batch": batch, "classes": classes, "size": size, "dtype": dtype}
    return Case(name, inputs, seed)


@probe(
    "1.6 compute_softmax_cross_entropy",
    rtol=1e-6,
    atol=1e-5,
    cases=[
        logits_case("two rows, three classes", 1, 2, 3),
        logits_case("as many rows as classes", 2, 4, 4),
        logits_case("logits of about 1,000", 3, 3, 4, size=1e3),
        logits_case("float32", 4, 3, 5, size=4.0, dtype="float32"),
    ],
)
def cross_entropies(case: dict, rng: np.random.Generator) -> Plain:
    """The loss, and the type it has."""
    loss = compute_softmax_cross_entropy(*logits_and_labels(case, rng))
    array = np.asarray(loss)
    return {"loss": array.astype(float), "dtype": str(array.dtype)}


@probe(
    "1.6 softmax_cross_entropy_gradient",
    cases=[
        logits_case("two rows, three classes", 1, 2, 3),
        logits_case("as many rows as classes", 2, 3, 3),
        logits_case("logits of about 1,000", 3, 3, 4, size=1e3),
    ],
)
def cross_entropy_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of the logits, and what comes back for the labels."""
    values = logits_and_labels(case, rng)
    return passed_on(softmax_cross_entropy_gradient, "softmax_cross_entropy", values, rng)
