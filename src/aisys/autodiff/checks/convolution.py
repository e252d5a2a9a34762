"""Probes of 1.3: the results of the three functions on small random images."""

import numpy as np

from aisys.autodiff.convolution import conv2d_im2col, conv2d_loops, im2col
from aisys.course import Case, Plain, probe

DEFAULT = {
    "batch": 1,
    "channels": 1,
    "out_channels": 1,
    "image": [5, 5],
    "kernel": [3, 3],
    "stride": 1,
    "padding": 0,
}


def convolution_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of one of the probes here; what is left out is as in DEFAULT."""
    return Case(name, {**DEFAULT, **inputs}, seed)


CONVOLUTIONS = [
    convolution_case("one image, one channel", 1),
    convolution_case("two images, channels 3 to 2", 2, batch=2, channels=3, out_channels=2),
    convolution_case("stride 2, kernel 2x3", 3, image=[6, 7], kernel=[2, 3], stride=2),
    convolution_case("padding 2, image 4x6", 4, channels=2, image=[4, 6], padding=2),
]


def images_and_weights(case: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random images [batch, channels, *image] and weights [out_channels, channels, *kernel]."""
    x = rng.standard_normal((case["batch"], case["channels"], *case["image"]))
    weight = rng.standard_normal((case["out_channels"], case["channels"], *case["kernel"]))
    return x, weight


@probe("1.3 conv2d_loops", cases=CONVOLUTIONS)
def conv2d_loops_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of the seven loops."""
    return conv2d_loops(*images_and_weights(case, rng), case["stride"], case["padding"])


@probe("1.3 im2col", cases=CONVOLUTIONS)
def im2col_values(case: dict, rng: np.random.Generator) -> Plain:
    """The matrix of windows."""
    x, _ = images_and_weights(case, rng)
    kernel_height, kernel_width = case["kernel"]
    return im2col(x, kernel_height, kernel_width, case["stride"], case["padding"])


@probe("1.3 conv2d_im2col", cases=CONVOLUTIONS)
def conv2d_im2col_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of the matrix product."""
    return conv2d_im2col(*images_and_weights(case, rng), case["stride"], case["padding"])
