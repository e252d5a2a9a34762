"""Gradients as more graph: one function an operation, and a walk that puts them together.

`gradients(c, [x, y, z])` computes nothing. It adds nodes to the graph, as TensorFlow's
`tf.gradients` does (Lecture 3), so what it returns can be run, optimised, and differentiated
again.
"""

from collections.abc import Callable, Sequence

from aisys.autodiff.execution import ready_order
from aisys.autodiff.graph import (
    Node,
    broadcast_to,
    exp,
    greater,
    log,
    ones_like,
    reduce_sum,
    reshape,
    transpose,
    zeros_like,
)
from aisys.autodiff.operations import Shape
from aisys.course import exercise

GradientFunction = Callable[[Node, Node], Sequence[Node | None]]

GRADIENTS: dict[str, GradientFunction] = {}


class NoGradientError(LookupError):
    """An operation on the way from the target to a source has no gradient function."""


def register_gradient(operation: str) -> Callable[[GradientFunction], GradientFunction]:
    """Make the decorated function the gradient of an operation; a second one replaces the first.

    The function takes the operation's node and the gradient that arrives at it (a node of the
    same shape), and returns, for each input, a node of the input's shape, or None where no
    gradient flows.
    """

    def register(function: GradientFunction) -> GradientFunction:
        GRADIENTS[operation] = function
        return function

    return register


def gradient_function(operation: str) -> GradientFunction:
    """The registered gradient of an operation; raises NoGradientError where there is none."""
    if operation not in GRADIENTS:
        raise NoGradientError(f"{operation} has no gradient; see register_gradient")
    return GRADIENTS[operation]


@exercise("1.5", points=1)
def sum_to_shape(node: Node, shape: Shape) -> Node:
    """The reverse of broadcasting: sum a node over the axes along which `shape` was repeated.

    A value of this shape that broadcasts to the node's shape is used many times, once for each
    copy, so its gradient is the sum over the copies.

    Args:
        node: For example [batch, 10].
        shape: One that broadcasts to the node's, such as (10,), (1, 10), (batch, 1) or ().

    Returns:
        A node of exactly this shape; the node itself if it has that shape already.
    """
    new_axes = len(node.shape) - len(shape)
    if new_axes > 0:
        node = reduce_sum(node, range(new_axes))
    repeated = [axis for axis, size in enumerate(shape) if size != node.shape[axis]]
    if repeated:
        node = reduce_sum(node, repeated, keepdims=True)
    return node


@register_gradient("add")
@exercise("1.5", points=0.5)
def add_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """The gradients of both inputs of `x + y`, where either may have been broadcast.

    Args:
        node: The sum's node; its inputs are x and y.
        upstream: The gradient that arrives, of the node's shape.

    Returns:
        One node for each input, of the input's shape.
    """
    x, y = node.inputs
    return sum_to_shape(upstream, x.shape), sum_to_shape(upstream, y.shape)


@register_gradient("multiply")
@exercise("1.5", points=1)
def multiply_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """The gradients of both inputs of `x * y`, elementwise, where either may have been broadcast.

    Args:
        node: The product's node; its inputs are x and y.
        upstream: The gradient that arrives, of the node's shape.

    Returns:
        One node for each input, of the input's shape.
    """
    x, y = node.inputs
    return sum_to_shape(upstream * y, x.shape), sum_to_shape(upstream * x, y.shape)


@register_gradient("matmul")
@exercise("1.5", points=1)
def matmul_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """The gradients of both inputs of the matrix product `x @ y`.

    Args:
        node: x [rows, inner] @ y [inner, columns].
        upstream: The gradient that arrives, [rows, columns].
    """
    x, y = node.inputs
    return upstream @ transpose(y), transpose(x) @ upstream


@register_gradient("reduce_sum")
@exercise("1.5", points=1)
def reduce_sum_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The gradient of a sum: every element that went into it gets what arrives at it.

    Args:
        node: Its attributes are `axis`, a sorted tuple of non-negative numbers, and `keepdims`.
        upstream: The gradient that arrives, of the node's shape.
    """
    (x,) = node.inputs
    axis = node.attributes["axis"]
    kept = tuple(1 if i in axis else size for i, size in enumerate(x.shape))
    return (broadcast_to(reshape(upstream, kept), x.shape),)


@register_gradient("relu")
@exercise("1.5", points=0.5)
def relu_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The gradient of max(x, 0). At x = 0, where there is no derivative, it is 0.

    Args:
        node: Its only input is x.
        upstream: The gradient that arrives, of the node's shape.
    """
    (x,) = node.inputs
    return (upstream * greater(x, 0),)


@register_gradient("log_softmax")
@exercise("1.5", points=1.5)
def log_softmax_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The gradient of log_softmax along an axis.

    With s = softmax(x) and u what arrives: u - s * (sum of u along the axis). The node itself
    holds the logarithm of s, so s need not be computed from x again.

    Args:
        node: Its attribute `axis` is a number, which may be negative.
        upstream: The gradient that arrives, of the node's shape.
    """
    total = reduce_sum(upstream, node.attributes["axis"], keepdims=True)
    return (upstream - exp(node) * total,)


@register_gradient("reshape")
@exercise("1.5", points=0.5)
def reshape_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The gradient of reshape: the same elements in the input's shape.

    Args:
        node: Its only input is x.
        upstream: The gradient that arrives, of the node's shape.
    """
    return (reshape(upstream, node.inputs[0].shape),)


@register_gradient("transpose")
@exercise("1.5", points=0.5)
def transpose_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The gradient of transpose: the axes go back to where they came from.

    Args:
        node: Axis i of its value is axis node.attributes["axes"][i] of the input's. There may be
            more than two.
        upstream: The gradient that arrives, of the node's shape.
    """
    axes = node.attributes["axes"]
    return (transpose(upstream, [axes.index(axis) for axis in range(len(axes))]),)


@exercise("1.5", points=2.5)
def gradients(target: Node, sources: Sequence[Node], upstream: Node | None = None) -> list[Node]:
    """The gradients of the sum of a node with respect to others, as nodes that extend the graph.

    Goes through the nodes that the target needs in reverse order (`ready_order`), asks each
    operation's `gradient_function` what its inputs get, and adds up what arrives at a node that
    has several consumers. A node passes its gradient on once, when all of it has arrived. Only
    nodes that depend on a source matter: no gradient function is asked for the others, so they
    need none.

    Args:
        target: Any shape; the gradient is that of the sum of its elements.
        sources: Placeholders or any other nodes.
        upstream: The gradient that arrives at the target, of its shape; ones if left out.

    Returns:
        A node for each source, of its shape; zeros where the target does not depend on it.

    Raises:
        NoGradientError: From `gradient_function`, for an operation without one.
    """
    order = ready_order([target])
    depends = set(sources)
    for node in order:
        if any(each in depends for each in node.inputs):
            depends.add(node)

    arrived = {target: ones_like(target) if upstream is None else upstream}
    for node in reversed(order):
        if node not in arrived or not any(each in depends for each in node.inputs):
            continue
        passed_on = gradient_function(node.operation)(node, arrived[node])
        for each, gradient in zip(node.inputs, passed_on, strict=True):
            if gradient is not None and each in depends:
                arrived[each] = arrived[each] + gradient if each in arrived else gradient
    return [arrived[node] if node in arrived else zeros_like(node) for node in sources]


@register_gradient("negate")
def negate_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """-u."""
    return (-upstream,)


@register_gradient("subtract")
def subtract_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """u and -u."""
    x, y = node.inputs
    return sum_to_shape(upstream, x.shape), -sum_to_shape(upstream, y.shape)


@register_gradient("divide")
def divide_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """u / y and -u * (x / y) / y."""
    x, y = node.inputs
    by_x = upstream / y
    return sum_to_shape(by_x, x.shape), -sum_to_shape(by_x * node, y.shape)


@register_gradient("power")
def power_gradient(node: Node, upstream: Node) -> tuple[Node, Node]:
    """u * y * x**(y - 1) and u * x**y * log(x); the second is nan where x is negative."""
    x, y = node.inputs
    by_x = upstream * y * x ** (y - 1)
    return sum_to_shape(by_x, x.shape), sum_to_shape(upstream * node * log(x), y.shape)


@register_gradient("exp")
def exp_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """u * exp(x)."""
    return (upstream * node,)


@register_gradient("log")
def log_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """u / x."""
    return (upstream / node.inputs[0],)


@register_gradient("sqrt")
def sqrt_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """u / (2 * sqrt(x))."""
    return (upstream / (node * 2.0),)


@register_gradient("softmax")
def softmax_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """s * (u - sum of u * s along the axis)."""
    total = reduce_sum(upstream * node, node.attributes["axis"], keepdims=True)
    return (node * (upstream - total),)


@register_gradient("broadcast_to")
def broadcast_to_gradient(node: Node, upstream: Node) -> tuple[Node]:
    """The sum over the copies."""
    return (sum_to_shape(upstream, node.inputs[0].shape),)


@register_gradient("greater")
def greater_gradient(node: Node, upstream: Node) -> tuple[None, None]:
    """A comparison is constant nearly everywhere: nothing flows."""
    return None, None


@register_gradient("zeros_like")
@register_gradient("ones_like")
def like_gradient(node: Node, upstream: Node) -> tuple[None]:
    """A constant: nothing flows."""
    return (None,)
