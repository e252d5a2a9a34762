"""Convolution, twice: seven loops, and one matrix product (Chellapilla et al., IWFHR 2006)."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from aisys.course import exercise


@exercise("1.3", points=2)
def conv2d_loops(
    x: np.ndarray, weight: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """Convolution as on the slides: one loop for each index, one multiplication inside.

    As in every framework, the kernel is not flipped.

    Args:
        x: [batch, channels, height, width].
        weight: [out_channels, channels, kernel_height, kernel_width].
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros added on each of the four sides.

    Returns:
        [batch, out_channels, out_height, out_width], of x's dtype, with
        out_height = (height + 2 * padding - kernel_height) // stride + 1, and so the width.
    """
    batch, channels, height, width = x.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    result = np.zeros((batch, out_channels, out_height, out_width), x.dtype)
    for n in range(batch):
        for o in range(out_channels):
            for c in range(channels):
                for i in range(out_height):
                    for j in range(out_width):
                        for u in range(kernel_height):
                            for v in range(kernel_width):
                                pixel = padded[n, c, i * stride + u, j * stride + v]
                                result[n, o, i, j] += pixel * weight[o, c, u, v]
    return result


@exercise("1.3", points=2)
def im2col(
    x: np.ndarray, kernel_height: int, kernel_width: int, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """The windows of a convolution as the rows of a matrix, without a loop over them.

    `sliding_window_view` gives all windows as a view that copies nothing; the matrix is one copy.

    Args:
        x: [batch, channels, height, width].
        kernel_height: Rows of a window.
        kernel_width: Columns of a window.
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros added on each of the four sides.

    Returns:
        [batch * out_height * out_width, channels * kernel_height * kernel_width]. A row holds one
        window. Rows are ordered by (image, output row, output column), and the elements of a row
        by (channel, kernel row, kernel column).
    """
    channels = x.shape[1]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (kernel_height, kernel_width), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]  # [n, c, out_height, out_width, kernel_h, kernel_w]
    # Neighbours in memory are neighbours in the image, so the copy moves whole rows of it: three
    # times as fast as in the order of the result, and a matrix product takes the transpose as well.
    elements = channels * kernel_height * kernel_width
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(elements, -1).T


@exercise("1.3", points=1)
def conv2d_im2col(
    x: np.ndarray, weight: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """Convolution as one matrix product: im2col, times the weights as a matrix.

    Args:
        x: [batch, channels, height, width].
        weight: [out_channels, channels, kernel_height, kernel_width].
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros added on each of the four sides.

    Returns:
        The same as conv2d_loops. A row of the product is one place of the output, a column one
        output channel; in the result the channels come second.
    """
    batch, _, height, width = x.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    rows = im2col(x, kernel_height, kernel_width, stride, padding)
    product = rows @ weight.reshape(out_channels, -1).T
    return product.reshape(batch, out_height, out_width, out_channels).transpose(0, 3, 1, 2)
