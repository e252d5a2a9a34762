"""Algebraic simplification: operations that leave their input as it is, and chains that are one.

The rules of real numbers are not those of floating point. Only the rules below are used; among
those that are not: x * 0 is nan where x is infinite or nan, x - x and x / x are not 0 and 1 there,
and (x + a) + b is rounded otherwise than x + (a + b).
"""

from collections.abc import Sequence

from aisys.autodiff.graph import Node, apply
from aisys.autodiff.operations import ELEMENTWISE, elementwise_shape
from aisys.autodiff.passes import (
    is_floating,
    is_python_number,
    python_number,
    rewrite,
    with_inputs,
)
from aisys.course import exercise


@exercise("1.7", points=1)
def simplify_arithmetic(targets: Sequence[Node]) -> list[Node]:
    """A pass: drop arithmetic that changes nothing.

    - x * 1, 1 * x, x / 1, x ** 1, x + 0, 0 + x and x - 0 become x, where the 1 or 0 is a Python
      number (see `python_number`; 1 and 1.0 alike) and x is floating point (see `is_floating`).
    - -(-x) becomes x.
    - x + (-y) and (-y) + x become x - y, and x - (-y) becomes x + y.

    And nothing else. An array of ones may repeat x to a larger shape or change its dtype, and a
    comparison times 1 is a number where the comparison is a boolean. x * 0 is not 0 for every x.
    (0.0 and -0.0 count as equal here; otherwise x + 0 would have to stay.)

    Args:
        targets: Nodes, which stay as they are.

    Returns:
        The new targets.
    """
    neutral = {"multiply": 1, "divide": 1, "power": 1, "add": 0, "subtract": 0}

    def simplify(node: Node) -> Node:
        if node.operation == "negate" and node.inputs[0].operation == "negate":
            return node.inputs[0].inputs[0]
        if node.operation not in neutral:
            return node
        left, right = node.inputs
        if python_number(right) == neutral[node.operation] and is_floating(left):
            return left
        commutes = node.operation in ("add", "multiply")
        if commutes and python_number(left) == neutral[node.operation] and is_floating(right):
            return right
        if node.operation == "add" and right.operation == "negate":
            return apply("subtract", left, right.inputs[0], name=node.name)
        if node.operation == "add" and left.operation == "negate":
            return apply("subtract", right, left.inputs[0], name=node.name)
        if node.operation == "subtract" and right.operation == "negate":
            return apply("add", left, right.inputs[0], name=node.name)
        return node

    return rewrite(targets, simplify)


@exercise("1.7", points=1.5)
def simplify_shapes(targets: Sequence[Node]) -> list[Node]:
    """A pass: drop changes of shape that change nothing, and join those that follow each other.

    - A reshape of a reshape becomes one reshape, a broadcast_to of a broadcast_to one
      broadcast_to, and a transpose of a transpose one transpose. Axis i of a transpose is axis
      axes[i] of its input.
    - A reshape or broadcast_to to the shape that its input has, and a transpose that leaves every
      axis in place, become their input. So may what was just joined.
    - An ELEMENTWISE operation broadcasts by itself: in the place of an input that is a
      broadcast_to it takes that node's own input, if the operation's shape stays what it was
      (`elementwise_shape(*shapes)` says what it would be). Inputs are tried from left to right,
      each with what was done to those before it.

    A Python number (see `is_python_number`) takes no node's place: broadcast_to and the others
    make a float64 array of it, which promotes a float32 where the number does not.

    Args:
        targets: Nodes, which stay as they are.

    Returns:
        The new targets.
    """

    def simplify(node: Node) -> Node:
        if node.operation in ("reshape", "broadcast_to", "transpose"):
            return shorten(node)
        if node.operation in ELEMENTWISE:
            return skip_broadcasts(node)
        return node

    def shorten(node: Node) -> Node:
        (x,) = node.inputs
        if x.operation == node.operation:
            (x,) = x.inputs
            attributes = dict(node.attributes)
            if node.operation == "transpose":
                inner = node.inputs[0].attributes["axes"]
                attributes["axes"] = tuple(inner[axis] for axis in attributes["axes"])
            node = apply(node.operation, x, name=node.name, **attributes)
        if node.operation == "transpose":
            unchanged = node.attributes["axes"] == tuple(range(len(x.shape)))
        else:
            unchanged = node.shape == x.shape
        return x if unchanged and not is_python_number(x) else node

    def skip_broadcasts(node: Node) -> Node:
        inputs = list(node.inputs)
        for i, each in enumerate(node.inputs):
            if each.operation == "broadcast_to" and not is_python_number(each.inputs[0]):
                shorter = [*inputs[:i], each.inputs[0], *inputs[i + 1 :]]
                if elementwise_shape(*(taken.shape for taken in shorter)) == node.shape:
                    inputs = shorter
        return with_inputs(node, inputs)

    return rewrite(targets, simplify)
