"""Probes of 1.7: which operations are fused, and what the generated function does to memory."""

import tracemalloc

import numpy as np

from aisys.autodiff.checks.programs import read
from aisys.autodiff.fusion import (
    compile_source,
    fusion_groups,
    generate_source,
    outside_inputs,
)
from aisys.autodiff.graph import Node
from aisys.autodiff.traffic import Traffic, TrafficArray
from aisys.course import Case, Difference, Plain, compare, probe

MATRICES = {name: [3, 4] for name in "xyzw"}


@probe(
    "1.7 fusion_groups",
    cases=[
        Case("a chain", {"program": "a = x + y; b = -a; c = exp(b); c", "shapes": MATRICES}),
        Case(
            "a tree between other operations",
            {
                "program": "a = softmax(x, axis=-1); b = a * y; c = x - z; d = b / c;"
                " e = reduce_sum(d, axis=(0,), keepdims=False); e",
                "shapes": MATRICES,
            },
        ),
        Case(
            "two consumers in two groups",
            {
                "program": "a = x * y; b = a + z; c = softmax(b, axis=-1); d = a - c; e = -d; e",
                "shapes": MATRICES,
            },
        ),
        Case(
            "two consumers in one group",
            {"program": "a = x * y; b = exp(a); c = a + b; d = relu(c); d", "shapes": MATRICES},
        ),
        Case(
            "a target in the middle",
            {"program": "a = x * y; b = a + z; c = b - w; d = exp(c); d, b", "shapes": MATRICES},
        ),
        Case(
            "other shapes",
            {
                "program": "a = r * 2.0; b = -a; c = x + b; d = c * s; e = s + s; f = e * 3.0;"
                " g = d - f; g",
                "shapes": {"x": [3, 4], "r": [4], "s": []},
            },
        ),
    ],
)
def grouped(case: dict, rng: np.random.Generator) -> Plain:
    """The groups of a graph by the names of their nodes, and whether each is in order."""
    targets, _ = read(case["program"], case["shapes"])
    groups = [list(group) for group in fusion_groups(targets)]
    named = sorted(sorted(str(node) for node in group) for group in groups)
    return {"groups": named, "in order": all(_in_order(group) for group in groups)}


def _in_order(group: list[Node]) -> bool:
    place = {node: i for i, node in enumerate(group)}
    edges = ((each, node) for node in group for each in node.inputs if each in place)
    return all(place[each] < place[node] for each, node in edges)


def fast_and_right(got: Plain, expected: Plain) -> Difference | None:
    """The same value and dtype, with no more work, passes and memory than the reference."""
    if not isinstance(got, dict) or set(got) != set(expected):
        return Difference("type", "this is not what the probe returns.")
    exact = ("value", "dtype", "inputs unchanged")
    difference = compare({k: got[k] for k in exact}, {k: expected[k] for k in exact}, 1e-12, 0)
    if difference is not None:
        return difference
    for name, slack in (("operations an element", 0.01), ("passes", 0.15), ("arrays held", 0.5)):
        if not isinstance(got[name], float) or not got[name] <= expected[name] + slack:
            message = f"{name}: {got[name]}, where {expected[name]} is enough."
            return Difference(name, message)
    return None


@probe(
    "1.7 generate_source",
    verdict=fast_and_right,
    cases=[
        Case(
            "relu(x * y + b)",
            {
                "program": "a = x * y; c = a + b; d = relu(c); d",
                "shapes": {"x": [400, 100], "y": [400, 100], "b": [100]},
                "rows": 40,
            },
            1,
        ),
        Case(
            "blocks that do not divide the rows",
            {
                "program": "a = x - y; b = exp(a); b",
                "shapes": {"x": [410, 100], "y": [410, 1]},
                "rows": 40,
            },
            2,
        ),
        Case(
            "float32 and a number",
            {
                "program": "a = x * 0.5; b = a + 1; c = x > y; d = b * c; d",
                "shapes": {"x": [900, 50], "y": [900, 50]},
                "rows": 60,
                "dtype": "float32",
            },
            3,
        ),
        Case(
            "a row of as many elements as there are rows",
            {
                "program": "a = x / r; b = a - s; c = -b; c",
                "shapes": {"x": [200, 200], "r": [200], "s": [1, 200]},
                "rows": 20,
            },
            4,
        ),
        Case(
            "a value used three times",
            {
                "program": "a = x + y; b = a * a; c = b * a; d = c * b; d",
                "shapes": {"x": [400, 100], "y": [400, 100]},
                "rows": 40,
            },
            5,
        ),
    ],
)
def generated(case: dict, rng: np.random.Generator) -> Plain:
    """What a generated function returns, and what it reads, writes, computes and holds.

    The cache holds four blocks.
    """
    (root,), _ = read(case["program"], case["shapes"])
    group = _elementwise(root)
    inputs = outside_inputs(group)
    dtype = np.dtype(case.get("dtype", "float64"))
    values = [
        each.attributes["value"]
        if each.operation == "constant"
        else rng.standard_normal(each.shape).astype(dtype)
        for each in inputs
    ]
    before = [np.copy(value) for value in values]
    function = compile_source(generate_source(group, inputs, case["rows"]))

    block = case["rows"] * root.shape[1] * dtype.itemsize
    traffic = Traffic(cache_bytes=4 * block)
    result = function(*(traffic.follow(value) for value in values))
    traffic.result(result if not isinstance(result, TrafficArray) else np.asarray(result))
    tracemalloc.start()
    try:
        again = function(*values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = int(np.prod(root.shape))
    return {
        "value": np.asarray(again),
        "dtype": str(np.asarray(again).dtype),
        "inputs unchanged": all(map(np.array_equal, values, before)),
        "operations an element": round(traffic.computed / size, 3),
        "passes": round(traffic.passes, 2),
        "arrays held": round(peak / (size * dtype.itemsize), 1),
    }


def _elementwise(root: Node) -> list[Node]:
    """The operations that a node is made of, each after its inputs."""
    order: dict[Node, None] = {}
    pending = [root]
    while pending:
        node = pending[-1]
        waiting = [each for each in node.inputs if each.inputs and each not in order]
        if waiting:
            pending.extend(waiting)
        else:
            order[pending.pop()] = None
    return list(order)
