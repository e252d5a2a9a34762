"""Dead-code elimination, where a data-flow graph still has any: around conditional nodes.

Anywhere else a node that no target needs is dead already, because nothing refers to it: an order
of the targets does not meet it.
"""

from collections.abc import Sequence

from aisys.autodiff.conditional import Branch, rebuild
from aisys.autodiff.execution import ready_order
from aisys.autodiff.graph import Node, apply
from aisys.autodiff.passes import rewrite
from aisys.course import exercise


@exercise("1.7", points=1)
def eliminate_dead_code(targets: Sequence[Node]) -> list[Node]:
    """A pass: drop the branches that are never taken, and the operands that no branch uses.

    Only nodes of the operation "cond" change. Their inputs are the predicate and then the
    operands; the attributes `then` and `otherwise` are each a `Branch`, whose parameters are
    placeholders, one for each operand, and whose result is a node.

    - Where the predicate is a constant, the result of the branch that is taken stands in the
      place of the node, with the operands in the places of its parameters.
      `rebuild(branch.result, {parameter: operand, ...})` makes that copy.
    - Otherwise, an operand is dead if neither result needs its parameter. The new node has the
      remaining operands, and two new branches with the remaining parameters. Both branches always
      have a parameter for each operand: what one of them uses stays in the other.

    A conditional node inside a branch comes first (`rewrite` sees to that), because a parameter
    may be used only as an operand that is dead in there.

    Args:
        targets: Nodes, which stay as they are.

    Returns:
        The new targets.
    """

    def clean(node: Node) -> Node:
        if node.operation != "cond":
            return node
        predicate, *operands = node.inputs
        branches: dict[str, Branch] = node.attributes
        if predicate.operation == "constant":
            taken = branches["then" if predicate.attributes["value"] else "otherwise"]
            return rebuild(taken.result, dict(zip(taken.parameters, operands, strict=True)))

        used = {name: set(ready_order([branches[name].result])) for name in branches}
        kept = [
            i
            for i in range(len(operands))
            if any(branch.parameters[i] in used[name] for name, branch in branches.items())
        ]
        if len(kept) == len(operands):
            return node
        smaller = {
            name: Branch(tuple(branch.parameters[i] for i in kept), branch.result)
            for name, branch in branches.items()
        }
        return apply("cond", predicate, *(operands[i] for i in kept), name=node.name, **smaller)

    return rewrite(targets, clean)
