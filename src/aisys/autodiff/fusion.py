"""Fusion: a group of elementwise operations becomes one function that goes through memory once.

An elementwise operation reads its inputs from memory and writes its result back for the next one
to read. The fused function takes a block of rows that fits into a cache, does all the operations
on it, and goes on to the next block: what lies between is neither written to memory nor held in
full. NumExpr works this way; XLA and TorchInductor generate such loops in C++ or Triton.
"""

import functools
import linecache
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisys.autodiff.execution import ready_order
from aisys.autodiff.graph import Node, apply
from aisys.autodiff.operations import Shape, Value, register_operation
from aisys.autodiff.passes import map_branches, with_inputs
from aisys.course import exercise

BLOCK_ELEMENTS = 32768
"""Elements of a block: 128 KiB of float32, so that some blocks fit into a core's own cache."""

CALLS = {
    "add": "np.add({}, {}",
    "subtract": "np.subtract({}, {}",
    "multiply": "np.multiply({}, {}",
    "divide": "np.divide({}, {}",
    "negate": "np.negative({}",
    "greater": "np.greater({}, {}",
    "relu": "np.maximum({}, 0",
    "exp": "np.exp({}",
    "log": "np.log({}",
    "sqrt": "np.sqrt({}",
}
"""The operations that can be fused. x ** 2 is none: for it NumPy's operator is not np.power."""


def call_source(operation: str, arguments: Sequence[str], out: str) -> str:
    """The source of one operation of CALLS, such as "np.add(t0, x1, out=t2)".

    Args:
        operation: A name in the table CALLS.
        arguments: The sources of the inputs, in order.
        out: The source of the array that receives the result. At run time it may be None, and
            NumPy then makes a new array of the right dtype.
    """
    return f"{CALLS[operation].format(*arguments)}, out={out})"


@exercise("1.7", points=1)
def fusion_groups(targets: Sequence[Node]) -> list[list[Node]]:
    """The groups of elementwise operations that are each to become one function.

    Only a group's last node, its root, is seen from outside, so nothing is computed twice and
    nothing that somebody needs is lost. A node of `ready_order(targets)` belongs to the group of
    its consumers if

    - its operation and the root's are in the table CALLS,
    - it has the shape of the root, and that is not (),
    - all of its consumers are in that one group, and it is no target.

    Otherwise it is the root of a group of its own. Going through the order backwards, the
    consumers of a node come before it.

    Args:
        targets: Nodes.

    Returns:
        The groups of at least two nodes, each in the order of `ready_order`, the root last; the
        groups themselves in any order.
    """
    order = ready_order(targets)
    consumers: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for each in node.inputs:
            consumers[each].append(node)

    root: dict[Node, Node] = {}
    for node in reversed(order):
        root[node] = node
        roots = {root[consumer] for consumer in consumers[node]}
        if len(roots) == 1 and node not in targets and node.operation in CALLS:
            (shared,) = roots
            if shared.operation in CALLS and shared.shape == node.shape != ():
                root[node] = shared

    members: dict[Node, list[Node]] = {}
    for node in order:
        members.setdefault(root[node], []).append(node)
    return [group for group in members.values() if len(group) > 1]


def outside_inputs(group: Sequence[Node]) -> list[Node]:
    """What the nodes of a group take from outside, each once, in the order of first use."""
    inside = set(group)
    return list(dict.fromkeys(e for node in group for e in node.inputs if e not in inside))


@exercise("1.7", points=2)
def generate_source(group: Sequence[Node], inputs: Sequence[Node], rows: int) -> str:
    """The source of a Python function that computes a group of operations block by block.

    For relu(x * y + b) with x and y of shape (4000, 128), b of shape (128,) and blocks of 256
    rows, this will do:

        def fused(x0, x1, x2):
            result = t0 = t1 = t2 = None
            for start in range(0, 4000, 256):
                block = slice(min(start, 4000 - 256), start + 256)
                t0 = np.multiply(x0[block], x1[block], out=t0)
                t1 = np.add(t0, x2, out=t1)
                t2 = np.maximum(t1, 0, out=t2)
                if result is None:
                    result = np.empty((4000, 128), t2.dtype)
                result[block] = t2
            return result

    In the first block the temporary arrays are made, with whatever dtype NumPy gives them; all
    others use them again. The last block begins earlier, so that it is not smaller. An input with
    as many axes as the result, and as many rows, is cut into blocks; any other, such as the row
    b, a column of one row or a number, is used whole. Every node is computed once a block. No
    input is changed.

    Args:
        group: Nodes whose operations are in CALLS, each after its inputs; the last is the result.
            All have its shape, which is not ().
        inputs: The nodes that the group takes from outside; the function takes their values.
        rows: The rows of a block, from 1 to the first size of the shape.

    Returns:
        Python source that defines the function `fused` and finds NumPy under the name np. See
        `call_source`.
    """
    shape = group[-1].shape
    names = {}
    for i, each in enumerate(inputs):
        cut = len(each.shape) == len(shape) and each.shape[0] == shape[0]
        names[each] = f"x{i}[block]" if cut else f"x{i}"
    calls = []
    for i, node in enumerate(group):
        arguments = [names[each] for each in node.inputs]
        names[node] = f"t{i}"
        calls.append(f"t{i} = {call_source(node.operation, arguments, f't{i}')}")

    last = names[group[-1]]
    lines = [
        f"def fused({', '.join(f'x{i}' for i in range(len(inputs)))}):",
        f"    result = {' = '.join(names[node] for node in group)} = None",
        f"    for start in range(0, {shape[0]}, {rows}):",
        f"        block = slice(min(start, {shape[0]} - {rows}), start + {rows})",
        *(f"        {call}" for call in calls),
        "        if result is None:",
        f"            result = np.empty({shape}, {last}.dtype)",
        f"        result[block] = {last}",
        "    return result",
    ]
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=1024)
def compile_source(source: str) -> Callable[..., np.ndarray]:
    """The function `fused` that a source defines; a traceback through it shows its lines."""
    file = f"<fused {abs(hash(source)):x}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    namespace: dict[str, Any] = {"np": np}
    exec(compile(source, file, "exec"), namespace)
    return namespace["fused"]


def compute_fused(*values: Value, source: str, shape: Shape) -> Value:
    """The value of a fused node."""
    return compile_source(source)(*values)


def fused_shape(*shapes: Shape, source: str, shape: Shape) -> Shape:
    """The shape of the group's root."""
    return shape


register_operation("fused", fused_shape, compute_fused)


def fuse(targets: Sequence[Node]) -> list[Node]:
    """A pass: each of the `fusion_groups` becomes one node of the operation "fused".

    Its attributes are the generated `source` and the `shape`. It has no gradient: differentiate
    first, and fuse last. Branches are fused each on their own.
    """
    groups = {group[-1]: group for group in fusion_groups(targets) if math.prod(group[-1].shape)}
    inside = {node for group in groups.values() for node in group[:-1]}
    new: dict[Node, Node] = {}
    for node in ready_order(targets):
        if node in groups:
            inputs = outside_inputs(groups[node])
            height, *rest = node.shape
            rows = min(height, max(1, BLOCK_ELEMENTS // math.prod(rest)))
            source = generate_source(groups[node], inputs, rows)
            taken = (new[each] for each in inputs)
            new[node] = apply("fused", *taken, source=source, shape=node.shape)
        elif node not in inside:
            moved = with_inputs(node, [new[each] for each in node.inputs])
            new[node] = map_branches(moved, fuse)
    return [new[node] for node in targets]
