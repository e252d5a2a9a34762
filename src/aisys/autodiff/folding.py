"""Constant folding: what does not depend on a placeholder is computed once, by the compiler."""

from collections.abc import Sequence

from aisys.autodiff.graph import Node, constant
from aisys.autodiff.operations import OPERATIONS
from aisys.autodiff.passes import rewrite
from aisys.course import exercise


@exercise("1.7", points=1)
def fold_constants(targets: Sequence[Node]) -> list[Node]:
    """A pass: every node whose inputs are all constants becomes a constant.

    Its value is what the node would have at every run: OPERATIONS[node.operation].compute(*values
    of its inputs, **node.attributes), of exactly that type. A constant's value is
    node.attributes["value"], and `constant(value)` makes one. A chain of such nodes folds to its
    end. `rewrite` does the walk; the pass is a rule for one node.

    A node with a placeholder among its inputs stays, even ones_like(x): the shape of x is known,
    but not the dtype that it will have. A node without inputs stays too.

    Args:
        targets: Nodes, which stay as they are.

    Returns:
        The new targets.
    """

    def fold(node: Node) -> Node:
        if not node.inputs or any(each.operation != "constant" for each in node.inputs):
            return node
        values = [each.attributes["value"] for each in node.inputs]
        return constant(OPERATIONS[node.operation].compute(*values, **node.attributes), node.name)

    return rewrite(targets, fold)
