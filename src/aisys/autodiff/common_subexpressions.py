"""Common-subexpression elimination: what is computed twice in the same way is computed once."""

from collections.abc import Hashable, Sequence

import numpy as np

from aisys.autodiff.graph import Node
from aisys.autodiff.passes import rewrite
from aisys.course import exercise

COMMUTATIVE = {"add", "multiply"}


@exercise("1.7", points=1.5)
def merge_common_subexpressions(targets: Sequence[Node]) -> list[Node]:
    """A pass: of nodes that compute the same, the first one stands for all.

    Two nodes compute the same if they have the same operation, the same inputs and equal
    attributes (of these, every value can be hashed, except that of a constant). The inputs are
    the same if they are the same nodes after merging, so equal graphs of any depth become one. In
    COMMUTATIVE operations their order does not count.

    Two constants are equal only if their types, dtypes, shapes and all their bits are. Python
    finds 1 == 1.0 == True and 0.0 == -0.0, but x + 1 and x + 1.0 differ in dtype where x is an
    integer, and 1 / 0.0 and 1 / -0.0 in value. An array's bytes are `array.tobytes()`.

    Two placeholders are never merged: they are fed different values.

    Args:
        targets: Nodes, which stay as they are.

    Returns:
        The new targets; the same node twice where two targets compute the same.
    """
    first: dict[Hashable, Node] = {}

    def merge(node: Node) -> Node:
        key: Hashable
        if node.operation == "placeholder":
            return node
        if node.operation == "constant":
            value = node.attributes["value"]
            array = np.asarray(value)
            key = "constant", type(value), array.dtype, array.shape, array.tobytes()
        else:
            commutes = node.operation in COMMUTATIVE
            inputs = frozenset(node.inputs) if commutes else node.inputs
            key = node.operation, inputs, tuple(sorted(node.attributes.items()))
        return first.setdefault(key, node)

    return rewrite(targets, merge)
