"""A conditional node: two small graphs of which a run executes one.

`cond(predicate, then, otherwise, operands)` traces both functions once, when the graph is built,
as `tf.cond` and `jax.lax.cond` do. What is not taken costs no time, and its errors do not occur.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aisys.autodiff.execution import ready_order, run
from aisys.autodiff.gradients import gradients, register_gradient
from aisys.autodiff.graph import Node, Operand, apply, as_node, placeholder
from aisys.autodiff.operations import Shape, Value, register_operation
from aisys.course import exercise


@dataclass(frozen=True)
class Branch:
    """A graph of its own: it computes `result` from values for `parameters` (placeholders)."""

    parameters: tuple[Node, ...]
    result: Node


def cond(
    predicate: Operand,
    then: Callable[..., Operand],
    otherwise: Callable[..., Operand],
    operands: Sequence[Operand] = (),
) -> Node:
    """A node whose value is then(*operands) where the predicate is true, else otherwise(*operands).

    Args:
        predicate: A node of shape ().
        then: A function of nodes that returns a node.
        otherwise: Another one, whose node has the same shape.
        operands: The nodes that both functions get. They may use no other placeholder from
            outside, because each is traced into a graph of its own.

    Raises:
        ShapeError: The predicate is no single value, or the two shapes differ.
        ValueError: A function uses a placeholder from outside.
    """
    given = [as_node(each) for each in operands]
    shapes = [each.shape for each in given]
    return apply(
        "cond",
        as_node(predicate),
        *given,
        then=trace(then, shapes),
        otherwise=trace(otherwise, shapes),
    )


def trace(function: Callable[..., Operand], shapes: Sequence[Shape]) -> Branch:
    """The graph that a function builds on fresh placeholders of these shapes."""
    parameters = tuple(placeholder(shape, f"operand {i}") for i, shape in enumerate(shapes))
    result = as_node(function(*parameters))
    seen = set()
    found = [result]
    while found:
        node = found.pop()
        if node in seen:
            continue
        seen.add(node)
        found.extend(node.inputs)
        if node.operation == "placeholder" and node not in parameters:
            raise ValueError(f"a branch uses {node} from outside: pass it in operands")
    return Branch(parameters, result)


@exercise("1.4", points=1)
def run_cond(predicate: Value, *operands: Value, then: Branch, otherwise: Branch) -> Value:
    """Compute a conditional node: run the branch that is taken, and only that one.

    This is the `compute` of the operation "cond", so `run` calls it as any other.

    Args:
        predicate: A number or an array of shape ().
        operands: The values of the branch's parameters, in order.
        then: The branch for a true predicate.
        otherwise: The branch for a false one.
    """
    taken = then if predicate else otherwise
    feeds = dict(zip(taken.parameters, operands, strict=True))
    return run([taken.result], feeds).values[0]


def cond_shape(predicate: Shape, *operands: Shape, then: Branch, otherwise: Branch) -> Shape:
    """The shape of both results, which must be the same."""
    if predicate != ():
        raise ValueError("the predicate must be a single value")
    if then.result.shape != otherwise.result.shape:
        raise ValueError(
            f"the branches give {list(then.result.shape)} and {list(otherwise.result.shape)}"
        )
    return then.result.shape


register_operation("cond", cond_shape, run_cond)


@register_gradient("cond")
def cond_gradient(node: Node, upstream: Node) -> tuple[Node | None, ...]:
    """For each operand one conditional node, whose branches compute the branches' gradients."""
    predicate, *operands = node.inputs

    def branch_gradient(branch: Branch, index: int) -> Callable[..., Node]:
        def gradient(*arguments: Node) -> Node:
            *values, arriving = arguments
            copies = dict(zip(branch.parameters, values, strict=True))
            result = rebuild(branch.result, copies)
            return gradients(result, [values[index]], arriving)[0]

        return gradient

    passed_on = (
        cond(
            predicate,
            branch_gradient(node.attributes["then"], index),
            branch_gradient(node.attributes["otherwise"], index),
            [*operands, upstream],
        )
        for index in range(len(operands))
    )
    return None, *passed_on


def rebuild(target: Node, replacements: dict[Node, Node]) -> Node:
    """A copy of the graph of a node in which some nodes are replaced by others."""
    copies = dict(replacements)
    for node in ready_order([target]):
        if node not in copies:
            inputs = tuple(copies[each] for each in node.inputs)
            copies[node] = Node(node.operation, inputs, node.shape, node.attributes, node.name)
    return copies[target]
