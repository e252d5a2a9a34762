"""What every pass of the compiler stands on: a walk that builds the new graph beside the old one.

A pass is a function from targets to targets. It changes no node: it makes new ones where it has
something better and keeps the others, so both graphs can be run, with the same feeds, and
compared. Every value stays what it was, bit for bit, and keeps its dtype. A pass may assume that
placeholders are fed floating-point values.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from aisys.autodiff.conditional import Branch
from aisys.autodiff.execution import ready_order
from aisys.autodiff.graph import Node

Pass = Callable[[Sequence[Node]], list[Node]]
Rule = Callable[[Node], Node]

ALWAYS_FLOATING = {"placeholder", "divide", "exp", "log", "sqrt", "softmax", "log_softmax"}
FLOATING_LIKE_INPUTS = {
    *("add", "subtract", "multiply", "power", "negate", "relu", "matmul", "reduce_sum"),
    *("reshape", "transpose", "broadcast_to", "zeros_like", "ones_like"),
}
NUMBER_ARITHMETIC = {"add", "subtract", "multiply", "divide", "power", "negate"}


class PassError(ValueError):
    """A rule put something in the place of a node that does not fit there."""


def rewrite(targets: Sequence[Node], rule: Rule) -> list[Node]:
    """Build a new graph by asking a rule what stands in the place of each node.

    Goes from the placeholders to the targets. The node that the rule gets has new inputs already:
    whatever the rule put in their places. So a rule sees all that it did before. The branches of
    a conditional node are rewritten by the same rule before the node itself.

    Args:
        targets: Nodes; one may occur twice.
        rule: Takes a node (placeholders and constants too) and returns the node that stands in
            its place: a new one, an input of it, or the node itself where there is nothing to do.
            It changes no node.

    Returns:
        The new targets, in the same order.

    Raises:
        PassError: The rule returned no node, or one of another shape.
    """
    new: dict[Node, Node] = {}
    for node in ready_order(targets):
        moved = with_inputs(node, [new[each] for each in node.inputs])
        moved = map_branches(moved, lambda results: rewrite(results, rule))
        chosen = rule(moved)
        if not isinstance(chosen, Node):
            raise PassError(f"the rule returned {chosen!r} for {node!r}; expected a node")
        if chosen.shape != node.shape:
            raise PassError(f"the rule put {chosen!r} in the place of {node!r}: the shape changed")
        new[node] = chosen
    return [new[node] for node in targets]


def with_inputs(node: Node, inputs: Sequence[Node]) -> Node:
    """The same operation on other inputs; the node itself if they are its own."""
    if all(a is b for a, b in zip(node.inputs, inputs, strict=True)):
        return node
    return Node(node.operation, tuple(inputs), node.shape, node.attributes, node.name)


def map_branches(node: Node, change: Pass) -> Node:
    """The node with a pass applied to each of its branches; the node itself if it has none."""
    attributes = dict(node.attributes)
    for name, branch in node.attributes.items():
        if isinstance(branch, Branch):
            (result,) = change([branch.result])
            if result is not branch.result:
                attributes[name] = replace(branch, result=result)
    if all(attributes[name] is value for name, value in node.attributes.items()):
        return node
    return Node(node.operation, node.inputs, node.shape, attributes, node.name)


def python_number(node: Node) -> int | float | None:
    """The value of a constant that is a Python number; None for any other node.

    Arrays and NumPy's own numbers are others: np.float64(1) times a float32 array is float64,
    while 1.0 times it is float32.
    """
    value = node.attributes.get("value")
    return value if node.operation == "constant" and type(value) in (int, float) else None


def is_python_number(node: Node) -> bool:
    """Whether the value is a Python number: such a constant, or arithmetic on nothing else."""
    found = [node]
    while found:
        each = found.pop()
        if each.operation in NUMBER_ARITHMETIC:
            found.extend(each.inputs)
        elif python_number(each) is None:
            return False
    return True


def is_floating(node: Node) -> bool:
    """Whether the value is certainly floating point; a comparison is not, nor what is unknown."""
    seen = set()
    found = [node]
    while found:
        each = found.pop()
        if each in seen:
            continue
        seen.add(each)
        if each.operation in ALWAYS_FLOATING:
            return True
        if each.operation == "constant" and np.asarray(each.attributes["value"]).dtype.kind == "f":
            return True
        if each.operation in FLOATING_LIKE_INPUTS:
            found.extend(each.inputs)
    return False


def count_operations(targets: Sequence[Node]) -> Counter[str]:
    """How often each operation is in a graph, branches included; nothing that needs no work."""
    counts: Counter[str] = Counter()
    for node in ready_order(targets):
        if node.operation not in ("placeholder", "constant"):
            counts[node.operation] += 1
        for branch in node.attributes.values():
            if isinstance(branch, Branch):
                counts += count_operations([branch.result])
    return counts
