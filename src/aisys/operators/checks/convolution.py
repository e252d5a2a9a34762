"""Probes of 2.4: windows, their sum, the three products, and gradients of gradients, in float64."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisys.course import Case, Difference, Plain, compare, probe
from aisys.operators.checks.evaluation import arrays, drawn, kept_elements, passed_back
from aisys.operators.convolution import Convolution, convolve, input_gradient, weight_gradient
from aisys.operators.sliding_windows import fold, unfold, window_count

DEFAULT = {
    "batch": 2,
    "channels": 2,
    "out_channels": 2,
    "image": [5, 6],
    "kernel": [3, 2],
    "stride": [1, 1],
    "padding": [0, 0],
    "dilation": [1, 1],
    "groups": 1,
    "layout": "contiguous",
}


def convolution_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of one of the probes here; what is left out is as in DEFAULT."""
    return Case(name, {**DEFAULT, **inputs}, seed)


PLAIN = convolution_case("stride 1", 1, channels=3)
STRIDED = convolution_case("stride 2 and 3", 2, image=[7, 8], stride=[2, 3])
DILATED = convolution_case("dilation 2 and 1", 3, image=[6, 5], dilation=[2, 1])
BOTH = convolution_case(
    "stride 1 and 2, dilation 2 and 3", 4, image=[7, 9], stride=[1, 2], dilation=[2, 3]
)
TURNED = convolution_case("an image with rows and columns exchanged", 5, layout="transposed")
PADDED = convolution_case("padding 2 above, 1 at the left", 6, padding=[2, 1])
GROUPED = convolution_case("two groups, 4 channels to 6", 7, channels=4, out_channels=6, groups=2)
DEPTHWISE = convolution_case("a group for each channel", 8, channels=3, out_channels=3, groups=3)
CONVOLUTIONS = [PLAIN, STRIDED, DILATED, BOTH, PADDED, GROUPED, DEPTHWISE]
EXPANDED = convolution_case("the gradient of a sum arrives", 9, layout="expanded")


def settings_of(case: dict) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups of a case, as the functions take them."""
    pairs = (tuple(case[name]) for name in ("stride", "padding", "dilation"))
    return (*pairs, case["groups"])


def images_and_weights(case: dict, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random x [batch, channels, *image], weight [out_channels, channels / groups, *kernel]."""
    x = drawn(rng, (case["batch"], case["channels"], *case["image"]))
    group_channels = case["channels"] // case["groups"]
    return x, drawn(rng, (case["out_channels"], group_channels, *case["kernel"]))


def out_shape(case: dict) -> tuple[int, ...]:
    """The shape of a case's result."""
    counts = (
        window_count(size + 2 * padding, kernel, stride, dilation)
        for size, padding, kernel, stride, dilation in zip(
            *(case[name] for name in ("image", "padding", "kernel", "stride", "dilation")),
            strict=True,
        )
    )
    return (case["batch"], case["out_channels"], *counts)


@probe("2.4 unfold", cases=[PLAIN, STRIDED, DILATED, BOTH, TURNED])
def unfold_values(case: dict, rng: np.random.Generator) -> Plain:
    """The windows, and whether they lie in the image's own memory."""
    x = drawn(rng, (case["batch"], case["channels"], *case["image"]), case["layout"])
    stride, _, dilation, _ = settings_of(case)
    windows = unfold(x, tuple(case["kernel"]), stride, dilation)
    own = x.untyped_storage().data_ptr() == windows.untyped_storage().data_ptr()
    return {"windows": arrays(windows), "is a view of the image": own}


@probe("2.4 fold", cases=[PLAIN, STRIDED, DILATED, BOTH])
def fold_values(case: dict, rng: np.random.Generator) -> Plain:
    """The sums, and the gradient of the windows."""
    stride, _, dilation, _ = settings_of(case)
    counts = out_shape({**case, "padding": [0, 0]})[2:]
    windows = drawn(rng, (case["batch"], case["channels"], *case["kernel"], *counts))
    image = fold(windows.requires_grad_(), tuple(case["image"]), stride, dilation)
    upstream = drawn(rng, (case["batch"], case["channels"], *case["image"]))
    (gradient,) = torch.autograd.grad(image, windows, upstream)
    return {"image": arrays(image), "gradient of the windows": arrays(gradient)}


@probe("2.4 convolve", cases=CONVOLUTIONS)
def convolve_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of the forward pass."""
    return arrays(convolve(*images_and_weights(case, rng), *settings_of(case)))


@probe("2.4 input_gradient", cases=[*CONVOLUTIONS, EXPANDED])
def input_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of the images."""
    _, weight = images_and_weights(case, rng)
    upstream = drawn(rng, out_shape(case), case["layout"])
    return arrays(input_gradient(upstream, weight, tuple(case["image"]), *settings_of(case)))


@probe("2.4 weight_gradient", cases=[*CONVOLUTIONS, EXPANDED])
def weight_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of the weights."""
    x, _ = images_and_weights(case, rng)
    upstream = drawn(rng, out_shape(case), case["layout"])
    return arrays(weight_gradient(x, upstream, tuple(case["kernel"]), *settings_of(case)))


def inputs_of(case: dict, rng: np.random.Generator) -> list[Tensor]:
    """Random x, weight and bias."""
    return [*images_and_weights(case, rng), drawn(rng, (case["out_channels"],))]


@probe("2.4 Convolution", cases=[PLAIN, BOTH, PADDED, GROUPED])
def convolution_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result with a bias and without one, and what backward returns for the former."""
    x, weight, bias = (tensor.requires_grad_() for tensor in inputs_of(case, rng))
    result = Convolution.apply(x, weight, bias, *settings_of(case))
    without = Convolution.apply(x, weight, None, *settings_of(case))
    returned = passed_back(Convolution, result, drawn(rng, out_shape(case)))
    return {"result": arrays(result), "without bias": arrays(without), "backward": returned}


def no_more_kept(got: Plain, expected: Plain) -> Difference | None:
    """The same gradients, and no element more kept than in the reference."""
    difference = compare(got["backward"], expected["backward"], 1e-9, 1e-12, "['backward']")
    if difference is None and got["elements kept"] > expected["elements kept"]:
        message = (
            f"{got['elements kept']} elements are kept for backward; "
            f"{expected['elements kept']} are needed."
        )
        return Difference("memory", message)
    return difference


def needs_case(name: str, seed: int, *needs: bool, **inputs: object) -> Case:
    """A case in which only some of x, weight and bias need a gradient."""
    return convolution_case(name, seed, needs=list(needs), **inputs)


@probe(
    "2.4 Convolution",
    verdict=no_more_kept,
    cases=[
        needs_case("the first layer: x needs no gradient", 1, False, True, True),
        needs_case("a frozen layer: only x needs one", 2, True, False, False),
        needs_case("all three need one", 3, True, True, True),
    ],
)
def convolution_needs(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns, and how many elements forward keeps for it."""
    tensors = inputs_of(case, rng)
    for tensor, need in zip(tensors, case["needs"], strict=True):
        tensor.requires_grad_(need)
    with kept_elements() as kept:
        result = Convolution.apply(*tensors, *settings_of(case))
    returned = passed_back(Convolution, result, drawn(rng, out_shape(case)))
    return {"backward": returned, "elements kept": sum(kept)}


SECOND = [
    convolution_case("second derivatives", 1, batch=1),
    convolution_case("second derivatives, stride 2, padding 1", 2, stride=[2, 2], padding=[1, 1]),
    convolution_case("second derivatives, two groups", 3, batch=1, channels=4, groups=2),
]


@probe("2.4 Convolution", cases=SECOND)
def convolution_second_derivatives(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of a weighted sum of the gradients: of x, weight, and what has arrived.

    As in `torch.autograd.gradgradcheck`; the gradient of the bias depends on upstream alone.
    """
    x, weight, bias = (tensor.requires_grad_() for tensor in inputs_of(case, rng))
    upstream = drawn(rng, out_shape(case)).requires_grad_()
    result = Convolution.apply(x, weight, bias, *settings_of(case))
    firsts = torch.autograd.grad(result, [x, weight, bias], upstream, create_graph=True)
    weighted = sum(((drawn(rng, each.shape) * each).sum() for each in firsts), torch.zeros(()))
    seconds = torch.autograd.grad(
        weighted, [x, weight, upstream], allow_unused=True, materialize_grads=True
    )
    return dict(zip(("x", "weight", "upstream"), arrays(seconds), strict=True))
