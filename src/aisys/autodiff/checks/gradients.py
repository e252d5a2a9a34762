"""Probes of 1.5: each gradient function by itself, and what gradients() builds from them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.autodiff.checks.evaluation import Log, shape_and_value, tracked
from aisys.autodiff.gradients import (
    NoGradientError,
    add_gradient,
    gradients,
    log_softmax_gradient,
    matmul_gradient,
    multiply_gradient,
    reduce_sum_gradient,
    relu_gradient,
    reshape_gradient,
    sum_to_shape,
    transpose_gradient,
)
from aisys.autodiff.graph import Node, apply, exp, log_softmax, placeholder, relu
from aisys.course import Case, Plain, probe

BROADCASTS = [
    Case("equal shapes", {"left": [2, 3], "right": [2, 3]}, 1),
    Case("a row on the right", {"left": [2, 3], "right": [3]}, 2),
    Case("a column on the left", {"left": [2, 1], "right": [2, 3]}, 3),
    Case("a single value", {"left": [2, 3], "right": []}, 4),
    Case("a column and a row", {"left": [2, 1], "right": [1, 3]}, 5),
]


def passed_on(
    function: Callable[[Node, Node], Any],
    operation: str,
    values: list[np.ndarray],
    rng: np.random.Generator,
    **attributes: Any,
) -> Plain:
    """What a gradient function returns for an operation on these values and a random upstream."""
    inputs = [placeholder(value.shape, f"input {i}") for i, value in enumerate(values)]
    node = apply(operation, *inputs, **attributes)
    upstream = placeholder(node.shape, "upstream")
    result = function(node, upstream)
    if not isinstance(result, (tuple, list)):
        return {"not a tuple, but": type(result).__name__}
    feeds = dict(zip(inputs, values, strict=True))
    feeds[upstream] = rng.standard_normal(node.shape)
    return [shape_and_value(each, feeds) for each in result]


@probe(
    "1.5 sum_to_shape",
    cases=[
        Case("a new axis", {"from": [4, 3], "to": [3]}, 1),
        Case("an axis of size 1", {"from": [4, 3], "to": [4, 1]}, 2),
        Case("both", {"from": [2, 4, 3], "to": [1, 3]}, 3),
        Case("to a single value", {"from": [2, 3], "to": []}, 4),
        Case("nothing to do", {"from": [2, 1], "to": [2, 1]}, 5),
    ],
)
def summed(case: dict, rng: np.random.Generator) -> Plain:
    """A node summed to a shape, and whether it is the same node where nothing is to do."""
    node = placeholder(case["from"], "upstream")
    result = sum_to_shape(node, tuple(case["to"]))
    value = shape_and_value(result, {node: rng.standard_normal(case["from"])})
    return {**value, "the same node": result is node}


@probe("1.5 add_gradient", cases=BROADCASTS)
def add_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of both inputs of a sum."""
    values = [rng.standard_normal(case["left"]), rng.standard_normal(case["right"])]
    return passed_on(add_gradient, "add", values, rng)


@probe("1.5 multiply_gradient", cases=BROADCASTS)
def multiply_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of both inputs of a product."""
    values = [rng.standard_normal(case["left"]), rng.standard_normal(case["right"])]
    return passed_on(multiply_gradient, "multiply", values, rng)


@probe(
    "1.5 matmul_gradient",
    cases=[
        Case("[2, 3] @ [3, 4]", {"rows": 2, "inner": 3, "columns": 4}, 1),
        Case("square matrices", {"rows": 2, "inner": 2, "columns": 2}, 2),
        Case("a row and a column", {"rows": 1, "inner": 3, "columns": 1}, 3),
    ],
)
def matmul_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of both matrices of a product."""
    left = rng.standard_normal((case["rows"], case["inner"]))
    right = rng.standard_normal((case["inner"], case["columns"]))
    return passed_on(matmul_gradient, "matmul", [left, right], rng)


@probe(
    "1.5 reduce_sum_gradient",
    cases=[
        Case("all axes", {"shape": [2, 3], "axis": [0, 1], "keepdims": False}, 1),
        Case("the first axis", {"shape": [2, 3], "axis": [0], "keepdims": False}, 2),
        Case("the second axis of a square", {"shape": [3, 3], "axis": [1], "keepdims": False}, 3),
        Case("the outer axes, kept", {"shape": [2, 3, 2], "axis": [0, 2], "keepdims": True}, 4),
    ],
)
def reduce_sum_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of a sum over some axes."""
    values = [rng.standard_normal(case["shape"])]
    attributes = {"axis": tuple(case["axis"]), "keepdims": case["keepdims"]}
    return passed_on(reduce_sum_gradient, "reduce_sum", values, rng, **attributes)


@probe(
    "1.5 relu_gradient",
    cases=[
        Case("positive and negative", {"values": [[1.5, -0.5, 2.0], [-3.0, 0.25, -1.0]]}, 1),
        Case("zeros", {"values": [0.0, 1.0, -1.0, 0.0]}, 2),
    ],
)
def relu_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of max(x, 0)."""
    return passed_on(relu_gradient, "relu", [np.array(case["values"])], rng)


@probe(
    "1.5 log_softmax_gradient",
    cases=[
        Case("rows of logits", {"shape": [2, 4], "axis": -1}, 1),
        Case("the first axis", {"shape": [3, 2], "axis": 0}, 2),
        Case("a square", {"shape": [3, 3], "axis": 1}, 3),
    ],
)
def log_softmax_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of log_softmax along an axis."""
    values = [rng.standard_normal(case["shape"])]
    return passed_on(log_softmax_gradient, "log_softmax", values, rng, axis=case["axis"])


@probe(
    "1.5 reshape_gradient",
    cases=[
        Case("a matrix to a vector", {"old": [2, 3], "new": [6]}, 1),
        Case("four axes to two", {"old": [2, 1, 2, 3], "new": [2, 6]}, 2),
    ],
)
def reshape_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of reshape."""
    values = [rng.standard_normal(case["old"])]
    return passed_on(reshape_gradient, "reshape", values, rng, shape=tuple(case["new"]))


@probe(
    "1.5 transpose_gradient",
    cases=[
        Case("a matrix", {"shape": [2, 3], "axes": [1, 0]}, 1),
        Case("three axes in a circle", {"shape": [2, 3, 4], "axes": [1, 2, 0]}, 2),
        Case("a cube in a circle", {"shape": [2, 2, 2], "axes": [2, 0, 1]}, 3),
    ],
)
def transpose_passes_on(case: dict, rng: np.random.Generator) -> Plain:
    """The gradient of a permutation of axes."""
    values = [rng.standard_normal(case["shape"])]
    return passed_on(transpose_gradient, "transpose", values, rng, axes=tuple(case["axes"]))


def build(kind: str, rows: int, inner: int) -> tuple[Node, list[Node], list[Node]]:
    """A graph by its kind: the target, the sources, and the placeholders.

    It is made with `apply`, so that it does not depend on the exercises of 1.4.
    """
    x = placeholder((rows, inner), "x")
    y = placeholder((inner,), "y")
    z = placeholder((inner, rows), "z")
    everything = [x, y, z]
    everywhere: dict[str, Any] = {"axis": (0, 1), "keepdims": False}
    product = apply("multiply", x, y)
    if kind == "slides":  # c = reduce_sum(x * y + x)
        return apply("reduce_sum", apply("add", product, x), **everywhere), [x, y], everything
    if kind == "reused":  # one node with three consumers, one of them a consumer of another
        squared = apply("multiply", product, product)
        return apply("multiply", apply("add", squared, product), x), [x, y], everything
    if kind == "network":  # sum(x * log_softmax(relu(x @ z) @ transpose(z) + y))
        hidden = relu(apply("matmul", x, z))
        back = apply("transpose", z, axes=(1, 0))
        logits = apply("add", apply("matmul", hidden, back), y)
        losses = apply("multiply", x, log_softmax(logits))
        return apply("reduce_sum", losses, **everywhere), everything, everything
    if kind == "inner node":  # the gradient with respect to a node between x and the target
        return apply("multiply", exp(product), product), [product, x], everything
    if kind == "unreached":  # nothing of z in the target
        return apply("multiply", x, y), [z, x], everything
    if kind == "itself":  # the target is a source
        return product, [product, y], everything
    raise ValueError(kind)


@probe(
    "1.5 gradients",
    cases=[
        Case("reduce_sum(x * y + x)", {"kind": "slides", "upstream": False, "sizes": [2, 3]}, 1),
        Case("a node used three times", {"kind": "reused", "upstream": False, "sizes": [2, 2]}, 2),
        Case("a source not reached", {"kind": "unreached", "upstream": True, "sizes": [2, 3]}, 3),
        Case("a small network", {"kind": "network", "upstream": False, "sizes": [2, 3]}, 4),
    ],
)
def gradient_values(case: dict, rng: np.random.Generator) -> Plain:
    """The values of the gradients of a graph, with an upstream of ones or a given one."""
    target, sources, placeholders = build(case["kind"], *case["sizes"])
    feeds: dict[Node, Any] = {each: rng.standard_normal(each.shape) for each in placeholders}
    upstream = None
    if case["upstream"]:
        upstream = placeholder(target.shape, "upstream")
        feeds[upstream] = rng.standard_normal(target.shape)
    return [shape_and_value(each, feeds) for each in gradients(target, sources, upstream)]


@probe(
    "1.5 gradients",
    cases=[Case("a node used three times", {"kind": "reused", "sizes": [1, 2]}, 1)],
)
def second_derivatives(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of a weighted sum of the gradients: a row of the Hessian for each source."""
    target, sources, placeholders = build(case["kind"], *case["sizes"])
    feeds: dict[Node, Any] = {each: rng.standard_normal(each.shape) for each in placeholders}
    results = []
    for first in gradients(target, sources):
        weights = placeholder(first.shape, "weights")
        feeds[weights] = rng.standard_normal(first.shape)
        weighted = apply("multiply", first, weights)
        results += [shape_and_value(each, feeds) for each in gradients(weighted, sources)]
    return results


@probe(
    "1.5 gradients",
    cases=[
        Case("every node used twice", {"kind": "ladder", "depth": 8}),
        Case("an operation off the way", {"kind": "off the way", "depth": 2}),
        Case("an operation in the way", {"kind": "in the way", "depth": 2}),
    ],
)
def gradient_calls(case: dict, rng: np.random.Generator) -> Plain:
    """Whose gradient functions are called, how often, and NoGradientError where one is missing."""
    log = Log()
    x, y = placeholder((1,), "x"), placeholder((1,), "y")
    first = x if case["kind"] == "ladder" else apply("check_opaque", y)
    node = tracked(log, 0, [first, x])
    for tag in range(1, case["depth"]):
        node = tracked(log, tag, [node, node])
    try:
        (gradient,) = gradients(node, [y if case["kind"] == "in the way" else x])
    except NoGradientError:
        return {"error": "NoGradientError"}
    calls = list(log.computed)  # what follows computes the nodes, which is noted too
    value = shape_and_value(gradient, {x: np.ones(1), y: np.ones(1)})
    return {"calls": calls, "gradient": value}
