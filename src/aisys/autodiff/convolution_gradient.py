"""Convolution as two nodes of the graph, and the gradients that a person writes for them.

A walk through seven loops or through sliding windows has no gradient that `gradients` could put
together. Written by hand it is short: im2col copies pixels, so its gradient, col2im, adds up; the
rest is a matrix product. The windows are a node of their own because the gradient of the weights
needs them again: what a node holds is computed once.
"""

from typing import Any

import numpy as np

from aisys.autodiff.convolution import im2col
from aisys.autodiff.gradients import register_gradient
from aisys.autodiff.graph import Node, ShapeError, apply, reduce_sum, reshape, transpose
from aisys.autodiff.operations import Shape, register_operation
from aisys.course import exercise


def conv2d(x: Node, weight: Node, bias: Node, stride: int = 1, padding: int = 0) -> Node:
    """The convolution of images with weights, plus a bias for each output channel.

    Args:
        x: [batch, channels, height, width].
        weight: [out_channels, channels, kernel_height, kernel_width].
        bias: [out_channels].
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros added on each of the four sides.

    Returns:
        [batch, out_channels, out_height, out_width]: a node "conv2d", whose inputs are the node
        "im2col" (the windows of x), weight and bias.

    Raises:
        ShapeError: The shapes do not fit.
    """
    if len(weight.shape) != 4:
        raise ShapeError(
            "the weight of conv2d has the axes out_channels, channels, kernel_height and "
            f"kernel_width; {weight} has the shape {list(weight.shape)}"
        )
    _, _, kernel_height, kernel_width = weight.shape
    window: dict[str, Any] = {
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "stride": stride,
        "padding": padding,
    }
    windows = apply("im2col", x, **window)
    out_height, out_width = window_counts(x.shape, **window)
    return apply("conv2d", windows, weight, bias, places=(x.shape[0], out_height, out_width))


@exercise("1.6", points=2)
def col2im(
    windows: np.ndarray,
    shape: Shape,
    kernel_height: int,
    kernel_width: int,
    stride: int = 1,
    padding: int = 0,
) -> np.ndarray:
    """The reverse of im2col for gradients: what has arrived at the copies of a pixel, added up.

    im2col copies a pixel into every window that contains it. This function takes a matrix of that
    form and adds each of its elements to the pixel that it is a copy of; what belongs to the
    padding is dropped. A pixel that no window contains gets 0. Windows that overlap make it a
    sum, so it does not undo im2col.

    It computes in a loop over the rows and columns of the kernel and in no other: element (u, v)
    of all windows together is a picture of its own, of every stride-th pixel.

    Args:
        windows: [batch * out_height * out_width, channels * kernel_height * kernel_width], in the
            order of im2col: rows by (image, output row, output column), elements by (channel,
            kernel row, kernel column).
        shape: The shape of the images, (batch, channels, height, width).
        kernel_height: Rows of a window.
        kernel_width: Columns of a window.
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros that im2col added on each of the four sides.

    Returns:
        An array of this shape, of the dtype of windows.
    """
    batch, channels, height, width = shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    elements = windows.reshape(
        batch, out_height, out_width, channels, kernel_height, kernel_width
    ).transpose(4, 5, 0, 3, 1, 2)
    padded = np.zeros((batch, channels, height + 2 * padding, width + 2 * padding), windows.dtype)
    for u in range(kernel_height):
        for v in range(kernel_width):
            rows = slice(u, u + stride * out_height, stride)
            columns = slice(v, v + stride * out_width, stride)
            padded[:, :, rows, columns] += elements[u, v]
    return padded[:, :, padding : padding + height, padding : padding + width]


@register_gradient("conv2d")
@exercise("1.6", points=1.5)
def conv2d_gradient(node: Node, upstream: Node) -> tuple[Node, Node, Node]:
    """The gradients of the windows, the weights and the bias of a convolution.

    With the weights as a matrix W [out_channels, elements] and the output as a matrix
    [out_channels, batch * out_height * out_width], the node is W @ windows.T + bias.

    Args:
        node: Its inputs are windows [batch * out_height * out_width, elements], with elements =
            channels * kernel_height * kernel_width; weight [out_channels, channels,
            kernel_height, kernel_width]; and bias [out_channels].
        upstream: The gradient that arrives, [batch, out_channels, out_height, out_width]. Its
            channels come second, those of the matrix first.

    Returns:
        One node for each input, of the input's shape.
    """
    windows, weight, _ = node.inputs
    out_channels = weight.shape[0]
    arriving = reshape(transpose(upstream, (1, 0, 2, 3)), (out_channels, -1))
    by_weight = reshape(arriving @ windows, weight.shape)
    by_bias = reduce_sum(arriving, 1)
    # In this order an element of all windows is one stretch of memory, as col2im wants it:
    # twice as fast as transpose(arriving) @ matrix.
    matrix = reshape(weight, (out_channels, -1))
    by_windows = transpose(transpose(matrix) @ arriving)
    return by_windows, by_weight, by_bias


@register_gradient("im2col")
def im2col_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """Each pixel gets what arrives at its copies."""
    return (apply("col2im", upstream, shape=node.inputs[0].shape, **node.attributes),)


@register_gradient("col2im")
def col2im_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """Each copy gets what arrives at its pixel: the two are each other's gradient."""
    window = {name: value for name, value in node.attributes.items() if name != "shape"}
    return (apply("im2col", upstream, **window),)


def compute_conv2d(
    windows: np.ndarray, weight: np.ndarray, bias: np.ndarray, places: Shape
) -> np.ndarray:
    """The product of windows and weights, plus the bias.

    Args:
        windows: From im2col.
        weight: [out_channels, channels, kernel_height, kernel_width].
        bias: [out_channels].
        places: (batch, out_height, out_width).
    """
    out_channels = len(bias)
    product = weight.reshape(out_channels, -1) @ windows.T
    product += bias[:, None]
    return product.reshape(out_channels, *places).transpose(1, 0, 2, 3)


def window_counts(
    shape: Shape, kernel_height: int, kernel_width: int, stride: int, padding: int
) -> tuple[int, int]:
    """(out_height, out_width) for images of a shape; raises ValueError where no window fits."""
    height, width = shape[2] + 2 * padding, shape[3] + 2 * padding
    if kernel_height > height or kernel_width > width:
        raise ValueError(
            f"a kernel of {kernel_height}x{kernel_width} does not fit into {height}x{width} pixels"
        )
    return (height - kernel_height) // stride + 1, (width - kernel_width) // stride + 1


def im2col_shape(
    shape: Shape, kernel_height: int, kernel_width: int, stride: int, padding: int
) -> Shape:
    """A row for each window, an element for each channel and place in it."""
    if len(shape) != 4:
        raise ValueError("images have the axes batch, channels, height, width")
    out_height, out_width = window_counts(shape, kernel_height, kernel_width, stride, padding)
    return shape[0] * out_height * out_width, shape[1] * kernel_height * kernel_width


def col2im_shape(windows: Shape, shape: Shape, **window: int) -> Shape:
    """The shape of the images, if this is the shape of their windows."""
    if im2col_shape(shape, **window) != windows:
        raise ValueError(f"the windows of images {list(shape)} have another shape")
    return shape


def conv2d_shape(windows: Shape, weight: Shape, bias: Shape, places: Shape) -> Shape:
    """[batch, out_channels, out_height, out_width]."""
    elements = int(np.prod(weight[1:]))
    if windows[1] != elements:
        raise ValueError(f"a window has {windows[1]} elements, a kernel {elements}")
    if bias != weight[:1]:
        raise ValueError(f"the bias must have shape [{weight[0]}]")
    batch, out_height, out_width = places
    return batch, weight[0], out_height, out_width


register_operation("im2col", im2col_shape, im2col)
register_operation("col2im", col2im_shape, col2im)
register_operation("conv2d", conv2d_shape, compute_conv2d)
