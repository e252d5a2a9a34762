"""Stage 1.3: hidden cases, mistakes and alternatives of the two convolutions."""

import numpy as np

from aisys.autodiff.checks.convolution import convolution_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def convolutions(rng: np.random.Generator) -> list[Case]:
    """Convolutions of random sizes, among them strides above 1 and paddings above 0."""
    cases = []
    for number, (stride, padding) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1), (3, 2)]):
        sizes = {
            "batch": int(rng.integers(1, 4)),
            "channels": int(rng.integers(2, 4)),
            "out_channels": int(rng.integers(2, 4)),
            "image": rng.permutation([6, 7, 8])[:2].tolist(),
            "kernel": rng.permutation([2, 3, 4])[:2].tolist(),
        }
        seed = int(rng.integers(2**31))
        name = f"hidden {number + 1}: stride {stride}, padding {padding}"
        cases.append(convolution_case(name, seed, stride=stride, padding=padding, **sizes))
    return cases


CASES = {
    "conv2d_loops_values": convolutions,
    "im2col_values": convolutions,
    "conv2d_im2col_values": convolutions,
}

MISTAKES = [
    Mistake(
        "1.3 conv2d_loops",
        "stride not used for the place in the image",
        hint="Neighbouring outputs look at windows that are `stride` pixels apart. "
        "Which pixel does output (i, j) begin at?",
        replace={"i * stride + u, j * stride + v": "i + u, j + v"},
    ),
    Mistake(
        "1.3 conv2d_loops",
        "kernel flipped",
        hint="The mathematical convolution flips the kernel; frameworks do not. "
        "Weight (u, v) meets the pixel that is u rows and v columns from the window's corner.",
        replace={"weight[o, c, u, v]": "weight[o, c, kernel_height - 1 - u, kernel_width - 1 - v]"},
    ),
    Mistake(
        "1.3 conv2d_loops",
        "only the last product kept",
        hint="Each output is a sum over channels, kernel rows and kernel columns. "
        "Look at how a product gets into the result.",
        replace={"result[n, o, i, j] += pixel": "result[n, o, i, j] = pixel"},
    ),
    Mistake(
        "1.3 conv2d_loops",
        "padded on one side only",
        hint="Padding goes on both sides of each axis, so the height grows by 2 * padding.",
        replace={
            "((0, 0), (0, 0), (padding, padding), (padding, padding))": (
                "((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding))"
            )
        },
    ),
    Mistake(
        "1.3 im2col",
        "channels innermost",
        hint="Inside a row the channel comes first, then the kernel's row, then its column: "
        "the order in which weight[o] lies in memory.",
        source="""
def im2col(x, kernel_height, kernel_width, stride=1, padding=0):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (kernel_height, kernel_width), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    elements = x.shape[1] * kernel_height * kernel_width
    return windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, elements)
""",
    ),
    Mistake(
        "1.3 im2col",
        "windows reshaped without moving the axes",
        hint="The view of windows has the axes (image, channel, row, column, kernel row, "
        "kernel column). A reshape keeps their order; a row of the result needs another one.",
        replace={
            "windows.transpose(1, 4, 5, 0, 2, 3).reshape(elements, -1).T": (
                "windows.reshape(-1, elements)"
            )
        },
    ),
    Mistake(
        "1.3 im2col",
        "stride forgotten",
        hint="With stride 2 there are fewer windows. How many rows does the result have, "
        "and how many should it have?",
        replace={"windows[:, :, ::stride, ::stride]": "windows"},
    ),
    Mistake(
        "1.3 im2col",
        "padding forgotten",
        hint="The windows at the edge reach into the zeros around the image.",
        replace={
            "((0, 0), (0, 0), (padding, padding), (padding, padding))": (
                "((0, 0), (0, 0), (0, 0), (0, 0))"
            )
        },
    ),
    Mistake(
        "1.3 conv2d_im2col",
        "result reshaped straight to [batch, out_channels, height, width]",
        hint="In the product the output channel is the last axis. A reshape does not move an "
        "axis: first give the rows their three axes back, then put the channels second.",
        replace={
            "product.reshape(batch, out_height, out_width, out_channels).transpose(0, 3, 1, 2)": (
                "product.reshape(batch, out_channels, out_height, out_width)"
            )
        },
    ),
    Mistake(
        "1.3 conv2d_im2col",
        "weights reshaped to the transposed matrix",
        hint="A column of the weight matrix holds one output channel. Reshaping to the matrix's "
        "shape mixes the channels; reshape to one row a channel and transpose.",
        replace={"weight.reshape(out_channels, -1).T": "weight.reshape(-1, out_channels)"},
    ),
    Mistake(
        "1.3 conv2d_im2col",
        "stride and padding not handed on",
        hint="im2col has to know about stride and padding too.",
        source="""
def conv2d_im2col(x, weight, stride=1, padding=0):
    batch, _, height, width = x.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    out_height = height - kernel_height + 1
    out_width = width - kernel_width + 1
    product = im2col(x, kernel_height, kernel_width) @ weight.reshape(out_channels, -1).T
    return product.reshape(batch, out_height, out_width, out_channels).transpose(0, 3, 1, 2)
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.3 conv2d_loops",
        """
import itertools


def conv2d_loops(x, weight, stride=1, padding=0):
    batch, channels, height, width = x.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    shape = (
        batch,
        out_channels,
        (height + 2 * padding - kernel_height) // stride + 1,
        (width + 2 * padding - kernel_width) // stride + 1,
    )
    result = np.zeros(shape, x.dtype)
    inner = list(itertools.product(range(channels), range(kernel_height), range(kernel_width)))
    for n, o, i, j in np.ndindex(shape):
        total = 0.0
        for c, u, v in inner:
            row, column = i * stride + u - padding, j * stride + v - padding
            if 0 <= row < height and 0 <= column < width:
                total += x[n, c, row, column] * weight[o, c, u, v]
        result[n, o, i, j] = total
    return result
""",
        "no padded copy",
    ),
    Alternative(
        "1.3 im2col",
        """
def im2col(x, kernel_height, kernel_width, stride=1, padding=0):
    batch, channels, height, width = x.shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    padded = np.zeros((batch, channels, height + 2 * padding, width + 2 * padding), x.dtype)
    padded[:, :, padding : padding + height, padding : padding + width] = x
    kernel, output = (kernel_height, kernel_width), (out_height, out_width)
    columns = np.empty((batch, channels, *kernel, *output), x.dtype)
    for u in range(kernel_height):
        for v in range(kernel_width):
            rows = slice(u, u + stride * out_height, stride)
            places = slice(v, v + stride * out_width, stride)
            columns[:, :, u, v] = padded[:, :, rows, places]
    return columns.transpose(0, 4, 5, 1, 2, 3).reshape(batch * out_height * out_width, -1)
""",
        "a loop over the kernel's elements",
    ),
    Alternative(
        "1.3 conv2d_im2col",
        """
def conv2d_im2col(x, weight, stride=1, padding=0):
    out_channels, _, kernel_height, kernel_width = weight.shape
    out_height = (x.shape[2] + 2 * padding - kernel_height) // stride + 1
    rows = im2col(x, kernel_height, kernel_width, stride, padding)
    images = rows.reshape(len(x), -1, rows.shape[1])
    product = np.einsum("npk,ok->nop", images, weight.reshape(out_channels, -1))
    return product.reshape(len(x), out_channels, out_height, -1)
""",
        "einsum",
    ),
]
