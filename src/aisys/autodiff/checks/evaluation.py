"""What probes of graphs share: an evaluator of their own, and operations that leave a trace."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aisys.autodiff.gradients import register_gradient
from aisys.autodiff.graph import Node, apply
from aisys.autodiff.operations import OPERATIONS, Shape, Value, register_operation


def evaluate(node: Node, feeds: Mapping[Node, Value]) -> Value:
    """The value of a node, independent of the exercises that run graphs. Cycles never end."""
    values = dict(feeds)

    def value_of(node: Node) -> Value:
        if node not in values:
            arguments = [value_of(each) for each in node.inputs]
            values[node] = OPERATIONS[node.operation].compute(*arguments, **node.attributes)
        return values[node]

    return value_of(node)


def describe(node: Any, feeds: Mapping[Node, Value]) -> dict[str, Any]:
    """A node as plain data: its operation, its inputs' operations, its shape and its value."""
    if not isinstance(node, Node):
        return {"not a node, but": type(node).__name__}
    value = np.asarray(evaluate(node, feeds))
    return {
        "operation": node.operation,
        "inputs": [each.operation for each in node.inputs],
        "shape": list(node.shape),
        "value": value,
        "dtype": str(value.dtype),
    }


def shape_and_value(node: Any, feeds: Mapping[Node, Value]) -> dict[str, Any]:
    """A node's shape and value, whatever operations it is made of."""
    if not isinstance(node, Node):
        return {"not a node, but": type(node).__name__}
    return {"shape": list(node.shape), "value": np.asarray(evaluate(node, feeds), dtype=np.float64)}


class Log:
    """What the operation "check_tracked" did: which nodes were computed, which values then lived.

    Attributes:
        computed: The tags of the computed nodes, in order.
        alive: For each of them, the sorted tags of the values that existed when it began.
    """

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.alive: list[list[int]] = []
        self._values: dict[int, weakref.ref[np.ndarray]] = {}

    def alive_now(self) -> list[int]:
        """The sorted tags of the values that exist now."""
        return sorted(tag for tag, value in self._values.items() if value() is not None)

    def compute(self, tag: int, value: np.ndarray) -> np.ndarray:
        """Note that a node is computed; returns its value."""
        self.computed.append(tag)
        self.alive.append(self.alive_now())
        self._values[tag] = weakref.ref(value)
        return value


def tracked(log: Log, tag: int, inputs: Sequence[Node], size: int = 1) -> Node:
    """A node whose computation is noted: [size], the sum of all elements of its inputs plus tag."""
    return apply("check_tracked", *inputs, log=log, tag=tag, size=size)


def tracked_shape(*shapes: Shape, log: Log, tag: int, size: int) -> Shape:
    """[size]."""
    return (size,)


def compute_tracked(*values: np.ndarray, log: Log, tag: int, size: int) -> np.ndarray:
    """A new array, noted in the log before it is made."""
    total = float(tag) + sum(float(np.sum(value)) for value in values)
    return log.compute(tag, np.full(size, total))


register_operation("check_tracked", tracked_shape, compute_tracked)


@register_gradient("check_tracked")
def tracked_gradient(node: Node, upstream: Node) -> list[Node]:
    """The same for every input, if all have the node's shape; a call of it is noted."""
    node.attributes["log"].computed.append(node.attributes["tag"])
    return [upstream for _ in node.inputs]


register_operation("check_opaque", lambda shape: shape, lambda value: value * 1.0)
