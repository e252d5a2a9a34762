"""The windows of a convolution as a view of the image, and the sum that is its transpose."""

import math
from collections.abc import Sequence

from torch import Tensor

from aisys.course import exercise

Pair = tuple[int, int]
"""A number for rows and a number for columns."""


def window_count(size: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows fit into a padded row or column of this size; 0 or less where none fits."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def images_at_once(shape: Sequence[int]) -> int:
    """Of how many images the windows are worth copying at a time: about a million elements.

    Where a matrix of windows is small, its memory is used again for the next images; a large one
    costs more to get from the system than to fill.

    Args:
        shape: Of the windows, as from `unfold`: [batch, ...].
    """
    return max(1, 2**20 // max(1, math.prod(shape[1:])))


@exercise("2.4", points=1)
def unfold(x: Tensor, kernel_size: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """Every window of a convolution, as a view of the image: nothing is copied or computed.

    `x.as_strided(shape, strides)` makes such a view: moving by one along axis k of the result
    moves by strides[k] elements in memory. `x.stride()` has the strides of x, and
    `window_count(size, kernel, stride, dilation)` says how many windows fit.

    Args:
        x: [batch, channels, height, width], padded already. Any strides: it may be transposed.
        kernel_size: Rows and columns of a window.
        stride: The step from a window to the next, in rows and in columns.
        dilation: The step from an element of a window to the next, in rows and in columns.

    Returns:
        [batch, channels, kernel_height, kernel_width, out_height, out_width]: element (u, v) of
        window (i, j) is the pixel in row i * stride + u * dilation, and so the column.
    """
    batch, channels, height, width = x.shape
    kernel_height, kernel_width = kernel_size
    out_height = window_count(height, kernel_height, stride[0], dilation[0])
    out_width = window_count(width, kernel_width, stride[1], dilation[1])
    by_image, by_channel, by_row, by_column = x.stride()
    return x.as_strided(
        (batch, channels, kernel_height, kernel_width, out_height, out_width),
        (
            by_image,
            by_channel,
            dilation[0] * by_row,
            dilation[1] * by_column,
            stride[0] * by_row,
            stride[1] * by_column,
        ),
    )


@exercise("2.4", points=1)
def fold(windows: Tensor, size: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """The transpose of unfold: each pixel gets the sum of what stands at its copies.

    It loops over the rows and columns of a window and over nothing else: element (u, v) of all
    windows together is a picture of its own, of every stride-th pixel. Use operations that
    autograd can follow, so that the sum has a gradient, too.

    Args:
        windows: [batch, channels, kernel_height, kernel_width, out_height, out_width].
        size: Height and width of the image, padding included.
        stride: As in unfold.
        dilation: As in unfold.

    Returns:
        [batch, channels, height, width], of the dtype of windows. A pixel in no window gets 0.
    """
    batch, channels, kernel_height, kernel_width, out_height, out_width = windows.shape
    image = windows.new_zeros(batch, channels, *size)
    for u in range(kernel_height):
        for v in range(kernel_width):
            top, left = u * dilation[0], v * dilation[1]
            rows = slice(top, top + stride[0] * (out_height - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (out_width - 1) + 1, stride[1])
            image[:, :, rows, columns] += windows[:, :, u, v]
    return image
