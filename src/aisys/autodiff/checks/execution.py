"""Probes of 1.4: the order, what a run computes, and what it holds on to."""

import numpy as np

from aisys.autodiff.checks.evaluation import Log, tracked
from aisys.autodiff.conditional import run_cond, trace
from aisys.autodiff.execution import (
    CycleError,
    FeedShapeError,
    MissingFeedError,
    ready_order,
    run,
)
from aisys.autodiff.graph import Node, apply, as_node, placeholder
from aisys.course import Case, Difference, Plain, probe


def valid_order(got: Plain, expected: Plain) -> Difference | None:
    """Every needed node once, after its inputs; any such order is right."""
    order = got.get("order") if isinstance(got, dict) else None
    if not isinstance(order, list):
        return Difference("type", "no list of nodes came back.")
    needed = set(expected["order"])
    place = {node: i for i, node in enumerate(order)}
    if len(place) < len(order):
        twice = next(node for node in order if order.count(node) > 1)
        return Difference("value", f"node {twice} is in the order {order.count(twice)} times.")
    if set(place) != needed:
        missing, extra = sorted(needed - set(place)), sorted(set(place) - needed)
        if missing:
            return Difference("value", f"node {missing[0]} is needed and not in the order.")
        return Difference("value", f"node {extra[0]} is in the order and no target needs it.")
    for before, after in expected["edges"]:
        if after in place and place[before] > place[after]:
            return Difference("value", f"node {after} comes before its input, node {before}.")
    return None


@probe(
    "1.4 ready_order",
    verdict=valid_order,
    cases=[
        Case("a diamond", {"inputs": [[], [0], [0], [1, 2]], "targets": [3]}),
        Case("a late input", {"inputs": [[], [0], [1], [], [2, 3], [4, 0]], "targets": [5]}),
        Case("x * x, twice a target", {"inputs": [[], [0, 0], [1, 1]], "targets": [2, 2]}),
        Case(
            "nodes that no target needs",
            {"inputs": [[], [], [0], [1], [2, 3], [2]], "targets": [2, 5]},
        ),
    ],
)
def order_of_graph(case: dict, rng: np.random.Generator) -> Plain:
    """The order of a graph that is given by each node's inputs, as numbers of the nodes."""
    nodes: list[Node] = []
    for i, inputs in enumerate(case["inputs"]):
        operation = "add" if inputs else "placeholder"
        nodes.append(Node(operation, tuple(nodes[j] for j in inputs), (), name=f"n{i}"))
    number = {node: i for i, node in enumerate(nodes)}
    order = ready_order([nodes[i] for i in case["targets"]])
    return {
        "order": [number.get(node, -1) for node in order],
        "edges": [[j, i] for i, inputs in enumerate(case["inputs"]) for j in inputs],
    }


@probe("1.4 ready_order", cases=[Case("a chain of 3,000 nodes", {"length": 3000})])
def order_of_long_chain(case: dict, rng: np.random.Generator) -> Plain:
    """How many nodes of a long chain are in the right place."""
    chain = [placeholder(())]
    for _ in range(case["length"] - 1):
        chain.append(apply("negate", chain[-1]))
    order = ready_order(chain[-1:])
    return {
        "length": len(order),
        "in place": sum(a is b for a, b in zip(order, chain, strict=False)),
    }


@probe(
    "1.4 ready_order",
    cases=[
        Case("a cycle of 3", {"cycle": 3, "before": 1, "after": 2, "needed": True}),
        Case("a node that is its own input", {"cycle": 1, "before": 0, "after": 1, "needed": True}),
        Case("a cycle that is not needed", {"cycle": 2, "before": 2, "after": 0, "needed": False}),
    ],
)
def cycle_found(case: dict, rng: np.random.Generator) -> Plain:
    """The nodes that CycleError names: those on the cycle, not those before or after it."""
    nodes = [placeholder((), "before 0")]
    names = [f"before {i}" for i in range(1, case["before"] + 1)]
    names += [f"cycle {i}" for i in range(case["cycle"])]
    names += [f"after {i}" for i in range(case["after"])]
    for name in names:
        nodes.append(apply("add", nodes[-1], nodes[0], name=name))
    first, last = case["before"] + 1, case["before"] + case["cycle"]
    nodes[first].inputs = (nodes[first - 1], nodes[last])
    target = nodes[-1] if case["needed"] else nodes[first - 1]
    try:
        return {"error": "none", "length": len(ready_order([target]))}
    except CycleError as error:
        named = list(error.nodes)
        following = [*named[1:], *named[:1]]
        return {
            "error": "CycleError",
            "nodes": sorted(str(node) for node in named),
            "each is an input of the next": all(
                node in after.inputs for node, after in zip(named, following, strict=True)
            ),
        }


@probe(
    "1.4 run",
    cases=[
        Case("one target", {"steps": 5, "targets": [5]}, 1),
        Case("several targets, one twice", {"steps": 6, "targets": [8, 3, 8, 5]}, 2),
        Case("a placeholder and a constant", {"steps": 3, "targets": [0, 2, 5]}, 3),
    ],
)
def run_values(case: dict, rng: np.random.Generator) -> Plain:
    """The values of targets in a random graph of two placeholders, a constant and operations."""
    x, y = placeholder((2, 3), "x"), placeholder((3,), "y")
    nodes = [x, y, as_node(rng.standard_normal((2, 1)))]
    for _ in range(case["steps"]):
        operation = ["add", "multiply", "subtract", "relu"][rng.integers(4)]
        chosen = rng.integers(len(nodes), size=1 if operation == "relu" else 2)
        nodes.append(apply(operation, *(nodes[i] for i in chosen)))
    feeds = {x: rng.standard_normal((2, 3)), y: rng.standard_normal(3)}
    return list(run([nodes[i] for i in case["targets"]], feeds).values)


@probe(
    "1.4 run",
    cases=[
        Case("a chain", {"inputs": [[], [0], [1], [2]], "sizes": [4, 2, 3, 1], "targets": [3]}),
        Case(
            "a value that is used late",
            {"inputs": [[], [0], [1], [2, 0], [3]], "sizes": [8, 1, 2, 2, 1], "targets": [4]},
        ),
        Case(
            "a target in the middle",
            {"inputs": [[], [0], [1], [2]], "sizes": [2, 5, 1, 1], "targets": [3, 1]},
        ),
        Case("x + x", {"inputs": [[], [0, 0], [1, 1, 0]], "sizes": [3, 2, 1], "targets": [2]}),
    ],
)
def values_alive(case: dict, rng: np.random.Generator) -> Plain:
    """Which values exist when each node's computation begins, and what is counted.

    Every node takes the one before it, so there is only one order.
    """
    log = Log()
    x = placeholder((7,), "x")
    nodes: list[Node] = []
    for tag, (inputs, size) in enumerate(zip(case["inputs"], case["sizes"], strict=True)):
        nodes.append(tracked(log, tag, [nodes[i] for i in inputs] or [x], size))
    execution = run([nodes[i] for i in case["targets"]], {x: np.ones(7)})
    return {
        "computed": log.computed,
        "alive when each begins": log.alive,
        "alive afterwards": log.alive_now(),
        "live_bytes": [int(each) for each in execution.live_bytes],
        "peak_bytes": int(execution.peak_bytes),
    }


@probe(
    "1.4 run",
    cases=[
        Case("a missing feed", {"fed": ["x"], "shape": [2], "targets": [0, 1]}),
        Case("a feed of the wrong shape", {"fed": ["x", "y"], "shape": [3], "targets": [1]}),
        Case("a placeholder that is not needed", {"fed": ["x"], "shape": [2], "targets": [0]}),
    ],
)
def feeds_checked(case: dict, rng: np.random.Generator) -> Plain:
    """The error of a missing or wrong feed, and what had been computed by then."""
    log = Log()
    x, y = placeholder((2,), "x"), placeholder((2,), "y")
    nodes = [tracked(log, 0, [x])]
    nodes.append(tracked(log, 1, [nodes[0], y]))
    values = {"x": np.ones(2), "y": np.ones(case["shape"])}
    feeds = {node: values[node.name] for node in (x, y) if node.name in case["fed"]}
    try:
        values_of_targets = run([nodes[i] for i in case["targets"]], feeds).values
    except (MissingFeedError, FeedShapeError) as error:
        return {
            "error": type(error).__name__,
            "placeholder": error.node.name,
            "computed": log.computed,
        }
    return {"values": list(values_of_targets)}


@probe(
    "1.4 run_cond",
    cases=[
        Case("true", {"predicate": True, "given": "a bool", "size": 3}, 1),
        Case("an array that holds False", {"predicate": False, "given": "an array", "size": 3}, 2),
        Case("an array that holds True", {"predicate": True, "given": "an array", "size": 2}, 3),
        Case("false, through run", {"predicate": False, "given": "a node", "size": 2}, 4),
    ],
)
def cond_taken(case: dict, rng: np.random.Generator) -> Plain:
    """The value of a conditional node, and which branch was computed."""
    log = Log()
    size, predicate = case["size"], case["predicate"]
    values = [rng.standard_normal(size), rng.standard_normal(size)]

    def subtract(a: Node, b: Node) -> Node:
        return tracked(log, 1, [apply("subtract", a, b)], size)

    def multiply(a: Node, b: Node) -> Node:
        return tracked(log, 2, [apply("multiply", a, b)], size)

    then, otherwise = trace(subtract, [(size,)] * 2), trace(multiply, [(size,)] * 2)
    if case["given"] == "a node":
        inputs = [placeholder(shape) for shape in ((), (size,), (size,))]
        node = apply("cond", *inputs, then=then, otherwise=otherwise)
        value = run([node], dict(zip(inputs, [predicate, *values], strict=True))).values[0]
    else:
        given = predicate if case["given"] == "a bool" else np.asarray(predicate)
        value = run_cond(given, *values, then=then, otherwise=otherwise)
    return {"value": np.asarray(value), "computed": log.computed}
