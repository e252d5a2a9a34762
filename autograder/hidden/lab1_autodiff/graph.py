"""Stage 1.4: hidden cases, mistakes and alternatives of the data-flow graph."""

import numpy as np

from aisys.course import Case
from autograder.catalogue import Alternative, Mistake


def seed(rng: np.random.Generator) -> int:
    """A seed for a case."""
    return int(rng.integers(2**31))


def elementwise(rng: np.random.Generator) -> list[Case]:
    """A node with another node, a number and an array, on either side."""
    rows, columns = (int(n) for n in rng.permutation([2, 3, 4, 5])[:2])
    return [
        Case(f"hidden {number}: {other}, {left} and {right}", inputs, seed(rng))
        for number, (left, right, other) in enumerate(
            [
                ([rows, columns], [rows, columns], "node"),
                ([rows, 1], [columns], "node"),
                ([rows, columns], [], "number"),
                ([rows, columns], [columns], "array"),
                ([columns], [rows, 1], "array on the left"),
            ],
            1,
        )
        for inputs in [{"left": left, "right": right, "other": other}]
    ]


def products(rng: np.random.Generator) -> list[Case]:
    """Matrix products of nodes and arrays, and shapes that do not fit."""
    m, k, n = (int(size) for size in rng.permutation([2, 3, 4, 5])[:3])
    return [
        Case(f"hidden {number}: {other}, {left} and {right}", inputs, seed(rng))
        for number, (left, right, other) in enumerate(
            [
                ([m, k], [k, n], "node"),
                ([k, k], [k, k], "node"),
                ([m, k], [k, m], "array"),
                ([k, n], [m, k], "array on the left"),
                ([m, k], [n, k], "node"),
            ],
            1,
        )
        for inputs in [{"left": left, "right": right, "other": other}]
    ]


def sums(rng: np.random.Generator) -> list[Case]:
    """Sums over axes written in every way, and one over an axis that does not exist."""
    shape = [int(size) for size in rng.permutation([2, 3, 4, 5])[:3]]
    ways = [(None, True), (1, False), (-2, True), ([-1, 0], False), ([2, 1, 0], False), (3, False)]
    return [
        Case(
            f"hidden {number}: axis {axis}, keepdims {keepdims}",
            {"shape": shape, "axis": axis, "keepdims": keepdims},
            seed(rng),
        )
        for number, (axis, keepdims) in enumerate(ways, 1)
    ]


def slides(rng: np.random.Generator) -> list[Case]:
    """The graph of the slides with z broadcast."""
    rows, columns = (int(n) for n in rng.permutation([2, 3, 4, 5])[:2])
    return [
        Case("hidden 1: z is a row", {"shape": [rows, columns], "z": [columns]}, seed(rng)),
        Case("hidden 2: z is a column", {"shape": [rows, columns], "z": [rows, 1]}, seed(rng)),
        Case("hidden 3: z is a number", {"shape": [rows, columns], "z": []}, seed(rng)),
    ]


def graphs(rng: np.random.Generator) -> list[Case]:
    """Random graphs in which nodes are shared, used twice, and not all needed."""
    cases = []
    for number, size in enumerate([6, 9, 12, 20], 1):
        inputs: list[list[int]] = [[], [], []]
        for node in range(3, size):
            taken = rng.integers(0, node, size=int(rng.integers(1, 4))).tolist()
            inputs.append(taken)
        inputs.append([size - 1, size - 1, 0])
        targets = [size, int(rng.integers(3, size))]
        cases.append(
            Case(f"hidden {number}: {size + 1} nodes", {"inputs": inputs, "targets": targets})
        )
    unneeded = Case(
        "hidden 5: most nodes are not needed",
        {"inputs": [[], [0], [], [1, 2], [3], [4, 4], [0, 1]], "targets": [6]},
    )
    return [*cases, unneeded]


def long_chains(rng: np.random.Generator) -> list[Case]:
    """A chain that recursion cannot follow."""
    return [Case("hidden 1: a long chain", {"length": int(rng.integers(2500, 3500))})]


def cycles(rng: np.random.Generator) -> list[Case]:
    """Cycles of several lengths with nodes before and after them."""
    before, after = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    cycle = int(rng.integers(4, 7))
    return [
        Case(
            f"hidden {number}: a cycle of {length}",
            {"cycle": length, "before": before, "after": after, "needed": needed},
        )
        for number, (length, needed) in enumerate(
            [(1, True), (2, True), (cycle, True), (cycle, False)], 1
        )
    ]


def random_runs(rng: np.random.Generator) -> list[Case]:
    """Random graphs with several targets, among them a placeholder, a constant, one twice."""
    return [
        Case("hidden 1: one target", {"steps": 8, "targets": [10]}, seed(rng)),
        Case("hidden 2: many targets", {"steps": 10, "targets": [12, 4, 4, 9, 7]}, seed(rng)),
        Case("hidden 3: sources are targets", {"steps": 5, "targets": [7, 0, 2, 1]}, seed(rng)),
        Case("hidden 4: every node", {"steps": 6, "targets": list(range(9))}, seed(rng)),
    ]


def lifetimes(rng: np.random.Generator) -> list[Case]:
    """Graphs of one possible order, with values used late, used twice, and kept as targets."""
    cases = []
    for number, length in enumerate([5, 6, 7, 8], 1):
        inputs: list[list[int]] = [[]]
        for node in range(1, length):
            early = rng.integers(0, node, size=int(rng.integers(0, 3))).tolist()
            inputs.append([node - 1, *early])
        inputs[-1].append(0)
        sizes = rng.integers(1, 30, size=length).tolist()
        targets = [length - 1] if number % 2 else [length - 1, int(rng.integers(1, length - 1))]
        drawn = {"inputs": inputs, "sizes": sizes, "targets": targets}
        cases.append(Case(f"hidden {number}: {length} nodes, {len(targets)} targets", drawn))
    chain = {"inputs": [[], [0], [1], [2], [3]], "sizes": [3, 9, 4, 1, 2], "targets": [4]}
    return [*cases, Case("hidden 5: a chain", chain)]


def feeds(rng: np.random.Generator) -> list[Case]:
    """Missing, wrong and superfluous feeds."""
    wrong = int(rng.integers(3, 9))
    return [
        Case("hidden 1: nothing fed", {"fed": [], "shape": [2], "targets": [0]}),
        Case("hidden 2: y missing", {"fed": ["x"], "shape": [2], "targets": [1]}),
        Case("hidden 3: y too long", {"fed": ["x", "y"], "shape": [wrong], "targets": [0, 1]}),
        Case("hidden 4: y would broadcast", {"fed": ["x", "y"], "shape": [], "targets": [1]}),
        Case("hidden 5: y not needed", {"fed": ["x", "y"], "shape": [wrong], "targets": [0]}),
    ]


def conditions(rng: np.random.Generator) -> list[Case]:
    """Predicates of several types, directly and through run."""
    size = int(rng.integers(2, 6))
    return [
        Case(
            f"hidden {number}: {predicate} as {given}",
            {"predicate": predicate, "given": given, "size": size},
            seed(rng),
        )
        for number, (predicate, given) in enumerate(
            [
                (True, "a bool"),
                (False, "a bool"),
                (True, "an array"),
                (False, "an array"),
                (True, "a node"),
            ],
            1,
        )
    ]


CASES = {
    "add_nodes": elementwise,
    "multiply_nodes": elementwise,
    "matmul_nodes": products,
    "reduce_sum_nodes": sums,
    "slides_graph": slides,
    "order_of_graph": graphs,
    "order_of_long_chain": long_chains,
    "cycle_found": cycles,
    "run_values": random_runs,
    "values_alive": lifetimes,
    "feeds_checked": feeds,
    "cond_taken": conditions,
}

NUMBERS_TOO = "The other operand may be a number or an array: `as_node` makes a node of it."
STAYS_A_NUMBER = (
    "A Python number takes the type of the array that it meets; a NumPy float64 turns float32 "
    "into float64. Leave the number as it is: `as_node` does."
)

MISTAKES = [
    Mistake(
        "1.4 Node.__add__",
        "numbers and arrays not made into nodes",
        hint=NUMBERS_TOO,
        replace={"as_node(other))": "other)"},
    ),
    Mistake(
        "1.4 Node.__add__",
        "numbers made into arrays of float64",
        hint=STAYS_A_NUMBER,
        source="""
class Node:
    def __add__(self, other):
        other = other if hasattr(other, "operation") else as_node(np.asarray(other, np.float64))
        return apply("add", self, other)
""",
    ),
    Mistake(
        "1.4 Node.__add__",
        "inputs in the wrong order",
        hint="The inputs of a node have the order in which they are written: self, then other.",
        replace={'apply("add", self, as_node(other))': 'apply("add", as_node(other), self)'},
    ),
    Mistake(
        "1.4 Node.__mul__",
        "numbers and arrays not made into nodes",
        hint=NUMBERS_TOO,
        replace={"as_node(other))": "other)"},
    ),
    Mistake(
        "1.4 Node.__mul__",
        "makes a matrix product",
        hint="`*` is elementwise with broadcasting; the matrix product is `@`.",
        replace={'apply("multiply",': 'apply("matmul",'},
    ),
    Mistake(
        "1.4 Node.__mul__",
        "copied from __add__",
        hint='The node that came back adds. Which operation of the table stands for "*"?',
        replace={'apply("multiply",': 'apply("add",'},
    ),
    Mistake(
        "1.4 Node.__matmul__",
        "inputs in the wrong order",
        hint="A matrix product is not commutative: the first input is the matrix on the left.",
        replace={'apply("matmul", self, as_node(other))': 'apply("matmul", as_node(other), self)'},
    ),
    Mistake(
        "1.4 Node.__matmul__",
        "makes an elementwise product",
        hint="`@` is the matrix product; the elementwise product is `*`.",
        replace={'apply("matmul", self': 'apply("multiply", self'},
    ),
    Mistake(
        "1.4 Node.__matmul__",
        "arrays not made into nodes",
        hint="The other operand may be an array: `as_node` makes a node of it.",
        replace={"as_node(other))": "other)"},
    ),
    Mistake(
        "1.4 reduce_sum",
        "the axis stored as the caller wrote it",
        hint="The gradient of this operation will read `axis`. It must be a sorted tuple of "
        "non-negative numbers, whatever the caller wrote.",
        source="""
def reduce_sum(node, axis=None, keepdims=False):
    if axis is None:
        axis = tuple(range(len(node.shape)))
    elif isinstance(axis, int):
        axis = (axis,)
    return apply("reduce_sum", node, axis=tuple(axis), keepdims=keepdims)
""",
    ),
    Mistake(
        "1.4 reduce_sum",
        "not sorted",
        hint="Several axes may come in any order; the attribute is sorted.",
        replace={
            "tuple(sorted(each + rank if each < 0 else each for each in axes))": (
                "tuple(each + rank if each < 0 else each for each in axes)"
            )
        },
    ),
    Mistake(
        "1.4 reduce_sum",
        "keepdims dropped",
        hint="`keepdims` belongs into the attributes: with it the summed axes stay, with size 1.",
        replace={"keepdims=keepdims)": "keepdims=False)"},
    ),
    Mistake(
        "1.4 reduce_sum",
        "an axis too large wraps around",
        hint="Only a negative axis counts from the end. An axis that does not exist is an error, "
        "which `apply` raises if it sees the number.",
        replace={
            "each + rank if each < 0 else each for each in axes": "each % rank for each in axes"
        },
    ),
    Mistake(
        "1.4 ready_order",
        "depth first, by recursion",
        hint="Python allows about 1,000 nested calls, and a graph may be deeper. "
        "The ready queue needs no recursion.",
        source="""
def ready_order(targets):
    order, done, open_nodes = [], set(), []

    def visit(node):
        if node in open_nodes:
            raise CycleError(open_nodes[open_nodes.index(node) :][::-1])
        if node in done:
            return
        open_nodes.append(node)
        for each in node.inputs:
            visit(each)
        open_nodes.pop()
        done.add(node)
        order.append(node)

    for target in targets:
        visit(target)
    return order
""",
    ),
    Mistake(
        "1.4 ready_order",
        "an input that is used twice counted once",
        hint="In x * x the node x is two inputs. If you count the missing inputs with repetition, "
        "take them off with repetition too, or do both without.",
        replace={"waiting = {node: len(node.inputs)": "waiting = {node: len(set(node.inputs))"},
    ),
    Mistake(
        "1.4 ready_order",
        "every waiting node reported as the cycle",
        hint="Nodes behind a cycle wait as well, but are not on it. From any node that waits, "
        "follow inputs that wait until you meet a node again: what lies between is the cycle.",
        source="""
def ready_order(targets):
    consumers, found = {}, list(targets)
    while found:
        node = found.pop()
        if node not in consumers:
            consumers[node] = []
            found.extend(node.inputs)
    for node in consumers:
        for each in node.inputs:
            consumers[each].append(node)
    waiting = {node: len(node.inputs) for node in consumers}
    ready = deque(node for node, missing in waiting.items() if missing == 0)
    order = []
    while ready:
        order.append(ready.popleft())
        for consumer in consumers[order[-1]]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                ready.append(consumer)
    if len(order) < len(consumers):
        raise CycleError([node for node, missing in waiting.items() if missing])
    return order
""",
    ),
    Mistake(
        "1.4 ready_order",
        "cycle reported against the direction of the edges",
        hint="CycleError wants each node to be an input of the next one. "
        "Going from a node to its inputs walks the other way.",
        replace={"cycle[::-1]": "cycle"},
    ),
    Mistake(
        "1.4 run",
        "nothing freed",
        hint="Count the consumers that a value still has. When the last of them is computed, "
        "take the value out of your dictionary.",
        replace={
            "                memory.release(values[each])\n                del values[each]": (
                "                pass"
            )
        },
    ),
    Mistake(
        "1.4 run",
        "released from the count, value kept",
        hint="The count goes down, but the arrays stay alive: something still refers to them. "
        "`del` the entry.",
        replace={"                del values[each]\n": ""},
    ),
    Mistake(
        "1.4 run",
        "a name left over from the loop keeps the value alive",
        hint="The entry is gone, but a local name still refers to the value while the next "
        "operation computes. Release and delete the entry without giving the value a name.",
        replace={
            "memory.release(values[each])\n                del values[each]": (
                "value = values.pop(each)\n                memory.release(value)"
            )
        },
    ),
    Mistake(
        "1.4 run",
        "freed after the first consumer",
        hint="A value may have several consumers, or one that takes it twice. "
        "Only after the last use may it go.",
        replace={"if uses[each] == 0:": "if each in values and each not in targets:"},
    ),
    Mistake(
        "1.4 run",
        "targets freed",
        hint="The caller wants the targets' values after the run, "
        "even where another node has used them last.",
        replace={
            "    for node in targets:\n"
            "        uses[node] += 1  # the caller is a consumer that never finishes\n": "",
            "[values[node] for node in targets]": "[values.get(node) for node in targets]",
        },
    ),
    Mistake(
        "1.4 run",
        "counted after freeing",
        hint="While an operation computes, its inputs and its result exist together. "
        "Note the live bytes before you free the inputs.",
        source="""
def run(targets, feeds):
    order = ready_order(targets)
    uses = dict.fromkeys(order, 0)
    for node in order:
        if node.operation == "placeholder":
            if node not in feeds:
                raise MissingFeedError(node)
            if np.shape(feeds[node]) != node.shape:
                raise FeedShapeError(node, feeds[node])
        for each in node.inputs:
            uses[each] += 1
    for node in targets:
        uses[node] += 1
    memory = LiveBytes(order, feeds)
    values, live_bytes = {}, []
    for node in order:
        if node.operation == "placeholder":
            values[node] = feeds[node]
        else:
            arguments = [values[each] for each in node.inputs]
            values[node] = OPERATIONS[node.operation].compute(*arguments, **node.attributes)
        memory.hold(values[node])
        for each in node.inputs:
            uses[each] -= 1
            if uses[each] == 0:
                memory.release(values[each])
                del values[each]
        live_bytes.append(memory.now)
    return Execution([values[node] for node in targets], order, live_bytes)
""",
    ),
    Mistake(
        "1.4 run",
        "shape of a feed not checked",
        hint="A value of another shape may broadcast and give a wrong result without an error. "
        "Compare its shape with the placeholder's.",
        replace={
            "            if np.shape(feeds[node]) != node.shape:\n"
            "                raise FeedShapeError(node, feeds[node])\n": ""
        },
    ),
    Mistake(
        "1.4 run",
        "missing feed not checked",
        hint="A KeyError says nothing about the placeholder. "
        "MissingFeedError(node) names it and its shape.",
        replace={
            "            if node not in feeds:\n                raise MissingFeedError(node)\n": "",
        },
    ),
    Mistake(
        "1.4 run_cond",
        "both branches computed",
        hint="A conditional node computes one branch. What is not taken must not run: "
        "it costs time, and it may fail.",
        source="""
def run_cond(predicate, *operands, then, otherwise):
    results = [
        run([branch.result], dict(zip(branch.parameters, operands))).values[0]
        for branch in (then, otherwise)
    ]
    return results[0] if predicate else results[1]
""",
    ),
    Mistake(
        "1.4 run_cond",
        "compared with `is True`",
        hint="The predicate may be a NumPy array of shape (), which is never the object True. "
        "Ask for its truth value.",
        replace={"then if predicate else otherwise": "then if predicate is True else otherwise"},
    ),
    Mistake(
        "1.4 run_cond",
        "branches exchanged",
        hint="A true predicate takes `then`.",
        replace={"then if predicate else otherwise": "otherwise if predicate else then"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.4 Node.__add__",
        """
class Node:
    def __add__(self, other):
        inputs = (self, as_node(other))
        return apply("add", *inputs)
""",
    ),
    Alternative(
        "1.4 Node.__mul__",
        """
class Node:
    def __mul__(self, other):
        other = as_node(other)
        shape = np.broadcast_shapes(self.shape, other.shape)
        return type(self)("multiply", (self, other), shape)
""",
        "the node made directly",
    ),
    Alternative(
        "1.4 Node.__matmul__",
        """
class Node:
    def __matmul__(self, other):
        left, right = self, as_node(other)
        return apply("matmul", left, right)
""",
    ),
    Alternative(
        "1.4 reduce_sum",
        """
def reduce_sum(node, axis=None, keepdims=False):
    rank = len(node.shape)
    wanted = range(rank) if axis is None else np.atleast_1d(axis).tolist()
    positive = set()
    for each in wanted:
        positive.add(each if each >= 0 else rank + each)
    return apply("reduce_sum", node, axis=tuple(sorted(positive)), keepdims=keepdims)
""",
        "through a set",
    ),
    Alternative(
        "1.4 ready_order",
        """
def ready_order(targets):
    needed, stack = set(), list(targets)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack += [each for each in node.inputs if each not in needed]
    missing = {node: set(node.inputs) for node in needed}
    users = {}
    for node in needed:
        for each in missing[node]:
            users.setdefault(each, []).append(node)
    ready = [node for node in needed if not missing[node]]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for user in users.get(node, ()):
            missing[user].discard(node)
            if not missing[user]:
                ready.append(user)
    left = {node for node in needed if missing[node]}
    if left:
        seen, node = [], next(iter(left))
        while node not in seen:
            seen.append(node)
            node = next(each for each in node.inputs if each in left)
        raise CycleError(list(reversed(seen[seen.index(node) :])))
    return order
""",
        "sets of missing inputs, a stack for the ready nodes",
    ),
    Alternative(
        "1.4 run",
        """
def run(targets, feeds):
    order = ready_order(targets)
    last_use = {}
    for step, node in enumerate(order):
        if node.operation == "placeholder" and node not in feeds:
            raise MissingFeedError(node)
        if node.operation == "placeholder" and np.shape(feeds[node]) != tuple(node.shape):
            raise FeedShapeError(node, feeds[node])
        for each in node.inputs:
            last_use[each] = step
    for node in targets:
        last_use.pop(node, None)
    to_free = [[] for _ in order]
    for node, step in last_use.items():
        to_free[step].append(node)
    memory, values, live_bytes = LiveBytes(order, feeds), {}, []
    for node, finished in zip(order, to_free):
        if node.operation == "placeholder":
            values[node] = feeds[node]
        else:
            compute = OPERATIONS[node.operation].compute
            values[node] = compute(*[values[each] for each in node.inputs], **node.attributes)
            memory.hold(values[node])
        live_bytes.append(memory.now)
        for each in finished:
            value = values.pop(each)
            memory.release(value)
            del value
    return Execution([values[node] for node in targets], order, live_bytes)
""",
        "last uses found beforehand",
    ),
    Alternative(
        "1.4 run_cond",
        """
def run_cond(predicate, *operands, then, otherwise):
    branch = otherwise
    if bool(predicate):
        branch = then
    feeds = {}
    for parameter, value in zip(branch.parameters, operands):
        feeds[parameter] = value
    (value,) = run([branch.result], feeds).values
    return value
""",
    ),
]
