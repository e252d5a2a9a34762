"""Probes of 1.4: the nodes that operators and reduce_sum make."""

from collections import Counter

import numpy as np

from aisys.autodiff.checks.evaluation import describe
from aisys.autodiff.graph import Node, ShapeError, placeholder, reduce_sum
from aisys.autodiff.operations import Value
from aisys.course import Case, Plain, probe

ELEMENTWISE = [
    Case("two nodes", {"left": [2, 3], "right": [2, 3], "other": "node"}, 1),
    Case("two nodes, broadcast", {"left": [2, 3], "right": [3], "other": "node"}, 2),
    Case("a node and a number", {"left": [2, 3], "right": [], "other": "number"}, 3),
    Case("an array on the left", {"left": [3], "right": [2, 3], "other": "array on the left"}, 4),
]


def operands(case: dict, rng: np.random.Generator) -> tuple[Node, Node | Value, dict[Node, Value]]:
    """A node of float32, what is combined with it, and the values of both."""
    left = placeholder(case["left"], "left")
    feeds: dict[Node, Value] = {left: rng.standard_normal(case["left"]).astype(np.float32)}
    if case["other"] == "number":
        return left, float(rng.standard_normal()), feeds
    value = rng.standard_normal(case["right"]).astype(np.float32)
    if case["other"] == "node":
        right = placeholder(case["right"], "right")
        return left, right, {**feeds, right: value}
    return left, value, feeds


@probe("1.4 Node.__add__", cases=ELEMENTWISE, rtol=1e-6)
def add_nodes(case: dict, rng: np.random.Generator) -> Plain:
    """The node that + makes."""
    node, other, feeds = operands(case, rng)
    return describe(other + node if "left" in case["other"] else node + other, feeds)


@probe("1.4 Node.__mul__", cases=ELEMENTWISE, rtol=1e-6)
def multiply_nodes(case: dict, rng: np.random.Generator) -> Plain:
    """The node that * makes."""
    node, other, feeds = operands(case, rng)
    return describe(other * node if "left" in case["other"] else node * other, feeds)


@probe(
    "1.4 Node.__matmul__",
    rtol=1e-5,
    cases=[
        Case("two nodes", {"left": [2, 3], "right": [3, 4], "other": "node"}, 1),
        Case("two square nodes", {"left": [2, 2], "right": [2, 2], "other": "node"}, 2),
        Case("a node and an array", {"left": [2, 3], "right": [3, 4], "other": "array"}, 3),
        Case("shapes that do not fit", {"left": [2, 3], "right": [2, 3], "other": "node"}, 4),
    ],
)
def matmul_nodes(case: dict, rng: np.random.Generator) -> Plain:
    """The node that @ makes, or the error of shapes."""
    node, other, feeds = operands(case, rng)
    try:
        product = other @ node if "left" in case["other"] else node @ other
    except ShapeError:
        return {"error": "ShapeError"}
    return describe(product, feeds)


@probe(
    "1.4 reduce_sum",
    cases=[
        Case("all axes", {"shape": [2, 3], "axis": None, "keepdims": False}, 1),
        Case("the last axis", {"shape": [2, 3], "axis": -1, "keepdims": False}, 2),
        Case("axes -1 and 0, kept", {"shape": [2, 3, 4], "axis": [-1, 0], "keepdims": True}, 3),
        Case("an axis that does not exist", {"shape": [2, 3], "axis": 2, "keepdims": False}, 4),
    ],
)
def reduce_sum_nodes(case: dict, rng: np.random.Generator) -> Plain:
    """The node of a sum with its attributes, or the error of shapes."""
    x = placeholder(case["shape"], "x")
    axis = tuple(case["axis"]) if isinstance(case["axis"], list) else case["axis"]
    try:
        node = reduce_sum(x, axis, case["keepdims"])
    except ShapeError:
        return {"error": "ShapeError"}
    described = describe(node, {x: rng.standard_normal(case["shape"])})
    if isinstance(node, Node):
        kept = node.attributes.get("axis")
        described["axis"] = list(kept) if isinstance(kept, tuple) else f"a {type(kept).__name__}"
        described["keepdims"] = bool(node.attributes.get("keepdims"))
    return described


@probe(
    "1.4 reduce_sum",
    cases=[Case("c = reduce_sum(x * y + z)", {"shape": [2, 3], "z": [2, 3]}, 1)],
)
def slides_graph(case: dict, rng: np.random.Generator) -> Plain:
    """The graph of the slides: its value, and how often each operation is in it."""
    x, y, z = (placeholder(case[k], n) for k, n in (("shape", "x"), ("shape", "y"), ("z", "z")))
    c = reduce_sum(x * y + z)
    described = describe(c, {each: rng.standard_normal(each.shape) for each in (x, y, z)})
    nodes: set[Node] = set()
    found = [c]
    while found:
        node = found.pop()
        if node not in nodes:
            nodes.add(node)
            found.extend(node.inputs)
    return {**described, "nodes": dict(Counter(node.operation for node in nodes))}
