"""A data-flow graph: every operation on nodes makes a node, and nothing is computed yet.

As in the first generation of TensorFlow (Abadi et al., OSDI 2016, section 3), a program builds
the graph once and `execution.run` computes the nodes that are asked for. A node knows the shape
of its value from the start, so an error of shapes appears on the line that made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from aisys.autodiff.operations import OPERATIONS, Shape, Value
from aisys.course import exercise

Operand = Union["Node", np.ndarray, np.generic, float]


class ShapeError(ValueError):
    """An operation does not take inputs of these shapes."""


@dataclass(eq=False, repr=False)
class Node:
    """One value of the graph: the operation that makes it, and the nodes that it is made from.

    Two nodes are equal only if they are the same object, so a node can be a key of a dictionary.

    Attributes:
        operation: A name in the table OPERATIONS, or "placeholder".
        inputs: The nodes whose values the operation takes, in order.
        shape: The shape of the value; () for a number.
        attributes: What else the operation takes, such as {"axis": (0,), "keepdims": False}.
        name: For people to read; may be empty.
    """

    operation: str
    inputs: tuple["Node", ...]
    shape: Shape
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    __array_ufunc__ = None  # an array on the left leaves the operation to the methods below

    @exercise("1.4", points=0.5)
    def __add__(self, other: Operand) -> "Node":
        """The node of the operation "add" on self and other, elementwise with broadcasting.

        Args:
            other: A node, an array or a number; `as_node` makes a node of each.
        """
        return apply("add", self, as_node(other))

    @exercise("1.4", points=0.5)
    def __mul__(self, other: Operand) -> "Node":
        """The node of the operation "multiply" on self and other, elementwise with broadcasting.

        Args:
            other: A node, an array or a number.
        """
        return apply("multiply", self, as_node(other))

    @exercise("1.4", points=0.5)
    def __matmul__(self, other: Operand) -> "Node":
        """The node of the operation "matmul" on self, [rows, inner], and other.

        Args:
            other: A node or an array, [inner, columns].
        """
        return apply("matmul", self, as_node(other))

    def __sub__(self, other: Operand) -> "Node":
        return apply("subtract", self, as_node(other))

    def __truediv__(self, other: Operand) -> "Node":
        return apply("divide", self, as_node(other))

    def __pow__(self, other: Operand) -> "Node":
        return apply("power", self, as_node(other))

    def __neg__(self) -> "Node":
        return apply("negate", self)

    def __radd__(self, other: Operand) -> "Node":
        return as_node(other) + self

    def __rmul__(self, other: Operand) -> "Node":
        return as_node(other) * self

    def __rmatmul__(self, other: Operand) -> "Node":
        return as_node(other) @ self

    def __rsub__(self, other: Operand) -> "Node":
        return as_node(other) - self

    def __rtruediv__(self, other: Operand) -> "Node":
        return as_node(other) / self

    def __str__(self) -> str:
        return self.name or self.operation

    def __repr__(self) -> str:
        return f"<{self.operation} {self.name} {list(self.shape)}>".replace("  ", " ")


def placeholder(shape: Sequence[int], name: str = "") -> Node:
    """A node whose value is fed when the graph is run."""
    return Node("placeholder", (), tuple(shape), name=name)


def constant(value: Value, name: str = "") -> Node:
    """A node that always has this value. A Python number stays one: it promotes no float32."""
    return Node("constant", (), np.shape(value), {"value": value}, name)


def as_node(value: Operand) -> Node:
    """A node as it is; an array or a number as a constant."""
    return value if isinstance(value, Node) else constant(value)


def apply(operation: str, /, *inputs: Node, name: str = "", **attributes: Any) -> Node:
    """A new node: an operation of the table on nodes.

    Args:
        operation: A name in the table OPERATIONS.
        inputs: Nodes.
        name: For people to read.
        attributes: What else the operation takes.

    Raises:
        ShapeError: The operation does not take inputs of these shapes.
        KeyError: The table has no such operation.
        TypeError: An input is not a node.
    """
    for each in inputs:
        if not isinstance(each, Node):
            raise TypeError(f"{operation} takes nodes; {each!r} is none (see as_node)")
    if operation not in OPERATIONS:
        raise KeyError(f"there is no operation {operation!r}; see register_operation")
    shapes = [each.shape for each in inputs]
    try:
        shape = OPERATIONS[operation].infer_shape(*shapes, **attributes)
    except ValueError as reason:
        taken = ", ".join(f"{each} {list(each.shape)}" for each in inputs)
        raise ShapeError(f"{operation} cannot take {taken}: {reason}") from None
    return Node(operation, inputs, shape, attributes, name)


@exercise("1.4", points=1)
def reduce_sum(node: Node, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Node:
    """The node of the sum over an axis, several axes, or all of them.

    The new node has the operation "reduce_sum" and two attributes. `axis` is a sorted tuple of
    non-negative numbers, whatever the caller wrote: for a node of two axes, None becomes (0, 1),
    and -1 becomes (1,). `keepdims`, as in NumPy, says whether a summed axis stays with size 1.

    Args:
        node: Any shape.
        axis: A number, several, or None for all axes; a negative number counts from the end.
        keepdims: As above.

    Raises:
        ShapeError: From `apply`, for an axis that the node does not have.
    """
    rank = len(node.shape)
    axes: Sequence[int]
    if axis is None:
        axes = range(rank)
    elif isinstance(axis, int):
        axes = [axis]
    else:
        axes = axis
    counted = tuple(sorted(each + rank if each < 0 else each for each in axes))
    return apply("reduce_sum", node, axis=counted, keepdims=keepdims)


def relu(node: Node) -> Node:
    """max(node, 0), elementwise."""
    return apply("relu", node)


def exp(node: Node) -> Node:
    """The exponential, elementwise."""
    return apply("exp", node)


def log(node: Node) -> Node:
    """The natural logarithm, elementwise."""
    return apply("log", node)


def sqrt(node: Node) -> Node:
    """The square root, elementwise."""
    return apply("sqrt", node)


def greater(left: Operand, right: Operand) -> Node:
    """True where left > right, elementwise."""
    return apply("greater", as_node(left), as_node(right))


def softmax(node: Node, axis: int = -1) -> Node:
    """exp(node) / sum(exp(node)) along an axis."""
    return apply("softmax", node, axis=axis)


def log_softmax(node: Node, axis: int = -1) -> Node:
    """The logarithm of softmax along an axis, computed without overflow."""
    return apply("log_softmax", node, axis=axis)


def reshape(node: Node, shape: Sequence[int]) -> Node:
    """The same elements in another shape; one size may be -1 and is worked out."""
    sizes = tuple(shape)
    if -1 in sizes:
        known = -int(np.prod(sizes))
        sizes = tuple(int(np.prod(node.shape)) // max(known, 1) if s == -1 else s for s in sizes)
    return apply("reshape", node, shape=sizes)


def transpose(node: Node, axes: Sequence[int] | None = None) -> Node:
    """The axes permuted as in NumPy: axis i of the result is axis axes[i]; None reverses them."""
    order = tuple(range(len(node.shape)))[::-1] if axes is None else tuple(axes)
    return apply("transpose", node, axes=order)


def broadcast_to(node: Node, shape: Sequence[int]) -> Node:
    """The value repeated to a larger shape, by NumPy's rules."""
    return apply("broadcast_to", node, shape=tuple(shape))


def zeros_like(node: Node) -> Node:
    """Zeros of the node's shape and type."""
    return apply("zeros_like", node)


def ones_like(node: Node) -> Node:
    """Ones of the node's shape and type."""
    return apply("ones_like", node)
