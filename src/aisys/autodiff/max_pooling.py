"""Max-pooling as a node of the graph, and its gradient: what arrives goes to the largest pixel."""

import numpy as np

from aisys.autodiff.gradients import register_gradient
from aisys.autodiff.graph import Node, apply
from aisys.autodiff.operations import Shape, register_operation
from aisys.course import exercise


def max_pool2d(x: Node, size: int) -> Node:
    """The largest value in each window of size x size pixels; the windows do not overlap.

    Args:
        x: [batch, channels, height, width].
        size: Rows and columns of a window, and the step between two windows.

    Returns:
        [batch, channels, height // size, width // size]. Rows and columns that do not fill a
        window are left out.
    """
    return apply("max_pool2d", x, size=size)


def compute_max_pool2d(x: np.ndarray, size: int) -> np.ndarray:
    """The maximum over the windows, one place in the window after the other."""
    height, width = (length // size * size for length in x.shape[2:])
    largest = x[:, :, 0:height:size, 0:width:size]
    for u in range(size):
        for v in range(size):
            if (u, v) != (0, 0):
                largest = np.maximum(largest, x[:, :, u:height:size, v:width:size])
    return largest


@exercise("1.6", points=1.5)
def route_to_max(upstream: np.ndarray, x: np.ndarray, largest: np.ndarray, size: int) -> np.ndarray:
    """The gradient of max-pooling: the largest pixel of a window gets all of what arrives.

    Of several pixels that are equally large, the first one gets it, row by row, as in PyTorch; all
    others get 0. So do rows and columns at the end that do not fill a window.

    There is no loop over images, channels or windows; one over the places in a window is fine.

    Args:
        upstream: The gradient that arrives, [batch, channels, height // size, width // size].
        x: The input of the pooling, [batch, channels, height, width].
        largest: The result of the pooling, of upstream's shape.
        size: Rows and columns of a window, and the step between two windows.

    Returns:
        An array of x's shape, of upstream's dtype.
    """
    height, width = (length * size for length in largest.shape[2:])
    gradient = np.zeros_like(x, dtype=upstream.dtype)
    waiting = np.ones_like(largest, dtype=bool)  # windows whose largest pixel is still to come
    for u in range(size):
        for v in range(size):
            place = (..., slice(u, height, size), slice(v, width, size))
            found = (x[place] == largest) & waiting
            gradient[place] = upstream * found
            waiting &= ~found
    return gradient


@register_gradient("max_pool2d")
def max_pool2d_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """What arrives, routed. There is no second derivative: route_to_max has no gradient."""
    return (apply("route_to_max", upstream, node.inputs[0], node, size=node.attributes["size"]),)


def max_pool2d_shape(shape: Shape, size: int) -> Shape:
    """[batch, channels, height // size, width // size]."""
    if len(shape) != 4:
        raise ValueError("images have the axes batch, channels, height, width")
    if min(shape[2:]) < size:
        raise ValueError(
            f"a window of {size}x{size} does not fit into {shape[2]}x{shape[3]} pixels"
        )
    return shape[0], shape[1], shape[2] // size, shape[3] // size


def route_to_max_shape(upstream: Shape, x: Shape, largest: Shape, size: int) -> Shape:
    """The shape of the pooling's input."""
    if not upstream == largest == max_pool2d_shape(x, size):
        raise ValueError("these are not the result and the gradient of a pooling")
    return x


register_operation("max_pool2d", max_pool2d_shape, compute_max_pool2d)
register_operation("route_to_max", route_to_max_shape, route_to_max)
