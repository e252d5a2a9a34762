"""Probes of 1.7: what the passes make of graphs, as programs that the verdict runs by itself.

A case is a program (see `programs`) with the shapes of its placeholders, and, where special
values matter, their values. The verdict needs no expected graph: the one that came back must
compute what the original does, with at most as many operations as the reference's. The last bits
of a value may differ, since a constant may have been folded on another processor.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisys.autodiff.checks.programs import read, values_of, write
from aisys.autodiff.common_subexpressions import merge_common_subexpressions
from aisys.autodiff.conditional import Branch
from aisys.autodiff.dead_code import eliminate_dead_code
from aisys.autodiff.folding import fold_constants
from aisys.autodiff.graph import Node
from aisys.autodiff.simplify import simplify_arithmetic, simplify_shapes
from aisys.course import Case, Difference, Plain, compare, probe

SQUARE = {"x": [2, 2], "y": [2, 2]}


def passed(
    change: Callable[[Sequence[Node]], list[Node]], case: dict, rng: np.random.Generator
) -> Plain:
    """The original graph and the one that a pass returns, and values to run them with."""
    targets, placeholders = read(case["program"], case["shapes"])
    result = change(targets)
    written = write(result, placeholders)
    original = write(targets, placeholders)
    given = case.get("values", {})
    feeds = {
        name: np.asarray(given.get(name, rng.standard_normal(shape)), case.get("dtype", "float64"))
        for name, shape in case["shapes"].items()
    }
    return {
        "new graph": written["program"],
        "new arrays": written["stored"],
        "old graph": original["program"],
        "old arrays": original["stored"],
        "operations": operations(result),
        "feeds": feeds,
    }


def operations(targets: Sequence[Node]) -> int:
    """How many nodes compute something, in branches too."""
    return len(_computing(targets))


def same_in_less(got: Plain, expected: Plain) -> Difference | None:
    """Run both programs here: the same values and dtypes, no more operations than expected."""
    if not isinstance(got, dict) or got.get("old graph") != expected["old graph"]:
        return Difference("changed", "the pass changed the graph that it was given.")
    shapes = {name: value.shape for name, value in expected["feeds"].items()}
    feeds = expected["feeds"]
    wanted, _ = _run(expected["old graph"], expected["old arrays"], shapes, feeds)
    try:
        made, count = _run(got["new graph"], got["new arrays"], shapes, feeds)
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        return Difference("graph", f"the new graph cannot be run: {error}.")
    if len(made) != len(wanted):
        message = f"{len(made)} targets came back for {len(wanted)}."
        return Difference("length", message)
    for i, (value, right) in enumerate(zip(made, wanted, strict=True)):
        where = f"target {i}"
        if value.dtype != right.dtype:
            message = f"the dtype of {where} is {value.dtype} now; it was {right.dtype}."
            return Difference("dtype", message)
        rtol = 8 * float(np.finfo(right.dtype).eps) if right.dtype.kind == "f" else 0.0
        difference = compare(value, right, rtol, 0, where)
        if difference is not None:
            return difference
    if count > expected["operations"]:
        message = f"{count} operations are left; {expected['operations']} would do."
        return Difference("operations", message)
    return None


@probe(
    "1.7 fold_constants",
    verdict=same_in_less,
    cases=[
        Case("a product of constants", {"program": "x * (2.0 * 3.0)", "shapes": {"x": [3]}}, 1),
        Case(
            "arrays, three deep",
            {
                "program": "x + exp(array([[1.0, 2.0]]) * array([[3.0], [-1.0]]) - 0.5)",
                "shapes": {"x": [2, 2]},
            },
            2,
        ),
        Case(
            "float32 stays float32",
            {"program": "x * (1.0 / 3.0), ones_like(x)", "shapes": {"x": [3]}, "dtype": "float32"},
            3,
        ),
        Case(
            "in a branch",
            {
                "program": 'cond(x > 0.0, "a0 * (1.0 + 1.0)", "a0 - exp(0.0)", x)',
                "shapes": {"x": []},
            },
            4,
        ),
    ],
)
def folded(case: dict, rng: np.random.Generator) -> Plain:
    """A graph with its constants folded."""
    return passed(fold_constants, case, rng)


@probe(
    "1.7 merge_common_subexpressions",
    verdict=same_in_less,
    cases=[
        Case("the same product twice", {"program": "x * y + x * y", "shapes": SQUARE}, 1),
        Case(
            "y + x and x + y, two deep",
            {"program": "exp(x + y) - relu(y + x), exp(y + x)", "shapes": SQUARE},
            2,
        ),
        Case(
            "x - y and y - x", {"program": "(x - y) * (y - x), x @ y, y @ x", "shapes": SQUARE}, 3
        ),
        Case(
            "other attributes",
            {
                "program": "reduce_sum(x, axis=(0,), keepdims=False)"
                " - reduce_sum(x, axis=(1,), keepdims=False),"
                " reduce_sum(x, axis=(0,), keepdims=False)",
                "shapes": SQUARE,
            },
            4,
        ),
        Case(
            "constants of other types",
            {
                "program": "t = x > 0.0; t * 1, t * 1.0, t * 1, y / 0.0 - y / (-0.0)",
                "shapes": SQUARE,
            },
            5,
        ),
        Case(
            "arrays",
            {
                "program": "x + array([1.0, 2.0]), x + array([1.0, 2.0]), x + array([1.0, 3.0])",
                "shapes": SQUARE,
            },
            6,
        ),
    ],
)
def merged(case: dict, rng: np.random.Generator) -> Plain:
    """A graph with its common subexpressions merged."""
    return passed(merge_common_subexpressions, case, rng)


@probe(
    "1.7 merge_common_subexpressions",
    verdict=same_in_less,
    cases=[
        Case(
            "large arrays",
            {"size": 3000, "places": [1500, 1500, 1400]},
        )
    ],
)
def large_arrays_merged(case: dict, rng: np.random.Generator) -> Plain:
    """Sums with large arrays that are zero but for one place."""
    text: list[str] = []
    stored: list[np.ndarray] = []
    for place in case["places"]:
        array = np.zeros(case["size"])
        array[place] = 1.0
        text.append(f"x + stored({len(stored)})")
        stored.append(array)
    targets, placeholders = read(", ".join(text), {"x": [1]}, stored)
    result = merge_common_subexpressions(targets)
    written = write(result, placeholders)
    return {
        "new graph": written["program"],
        "new arrays": written["stored"],
        "old graph": ", ".join(text),
        "old arrays": stored,
        "operations": operations(result),
        "feeds": {"x": rng.standard_normal(1)},
    }


@probe(
    "1.7 eliminate_dead_code",
    verdict=same_in_less,
    cases=[
        Case(
            "an operand that no branch uses",
            {
                "program": 'cond(p > 0.0, "a0 + a2", "a0 * 2.0", x, exp(x * y), y)',
                "shapes": {"p": [], **SQUARE},
            },
            1,
        ),
        Case(
            "an operand that one branch uses",
            {
                "program": 'cond(p > 0.0, "a0", "exp(a1)", x * y, x - y, relu(y))',
                "shapes": {"p": [], **SQUARE},
                "values": {"p": -1.0},
            },
            2,
        ),
        Case(
            "a constant predicate",
            {"program": 'cond(False, "exp(a0)", "a0 * a1", x, y)', "shapes": SQUARE},
            3,
        ),
        Case(
            "a conditional in a branch",
            {
                "program": "cond(p > 0.0, \"cond(a2 > 0.0, 'a0', 'a0 + a0', a0, a1, a2)\","
                ' "a0", x, exp(y), p + 1.0)',
                "shapes": {"p": [], **SQUARE},
                "values": {"p": 0.5},
            },
            4,
        ),
    ],
)
def cleaned(case: dict, rng: np.random.Generator) -> Plain:
    """A graph with dead branches and operands dropped."""
    return passed(eliminate_dead_code, case, rng)


@probe(
    "1.7 simplify_arithmetic",
    verdict=same_in_less,
    cases=[
        Case(
            "ones and zeros on the right",
            {"program": "((x * 1 / 1.0) ** 1 + 0.0) - 0", "shapes": {"x": [3]}},
            1,
        ),
        Case(
            "on the left",
            {"program": "1.0 * x, 0 + x, 1.0 / x, 0.0 - x", "shapes": {"x": [3]}},
            2,
        ),
        Case(
            "x * 0 with infinity and nan",
            {
                "program": "x * 0.0, x - x, x / x, x * 1.0",
                "shapes": {"x": [4]},
                "values": {"x": [1.0, float("inf"), float("nan"), 0.0]},
            },
            3,
        ),
        Case(
            "arrays of ones",
            {
                "program": "x * array([[1.0], [1.0]]), x + array([0.0], 'float64'), x * 1.0",
                "shapes": {"x": [3]},
                "dtype": "float32",
            },
            4,
        ),
        Case("a comparison", {"program": "(x > y) * 1.0, (x > y) + 0", "shapes": SQUARE}, 5),
        Case("signs", {"program": "-(-x) + (-y), x - (-y), (-x) + y", "shapes": SQUARE}, 6),
    ],
)
def arithmetic_simplified(case: dict, rng: np.random.Generator) -> Plain:
    """A graph without arithmetic that changes nothing."""
    return passed(simplify_arithmetic, case, rng)


@probe(
    "1.7 simplify_shapes",
    verdict=same_in_less,
    cases=[
        Case(
            "nothing changes",
            {
                "program": "reshape(x, shape=(2, 3)) * 2.0, transpose(x, axes=(0, 1)),"
                " broadcast_to(x, shape=(2, 3)), reshape(x, shape=(3, 2))",
                "shapes": {"x": [2, 3]},
            },
            1,
        ),
        Case(
            "two in a row",
            {
                "program": "reshape(reshape(x, shape=(6,)), shape=(3, 2)),"
                " reshape(reshape(x, shape=(3, 2)), shape=(2, 3)) + 1.0,"
                " broadcast_to(broadcast_to(x, shape=(1, 2, 3)), shape=(4, 2, 3))",
                "shapes": {"x": [2, 3]},
            },
            2,
        ),
        Case(
            "three axes transposed twice",
            {
                "program": "transpose(transpose(x, axes=(1, 2, 0)), axes=(0, 2, 1)),"
                " transpose(transpose(x, axes=(1, 2, 0)), axes=(2, 0, 1))",
                "shapes": {"x": [2, 2, 2]},
            },
            3,
        ),
        Case(
            "a broadcast that is not needed",
            {
                "program": "broadcast_to(x, shape=(2, 3)) * y",
                "shapes": {"x": [3], "y": [2, 3]},
            },
            4,
        ),
        Case(
            "a broadcast that is needed",
            {
                "program": "broadcast_to(x, shape=(2, 3)) + z,"
                " broadcast_to(x, shape=(2, 3)) * broadcast_to(z, shape=(2, 3))",
                "shapes": {"x": [3], "z": [1, 3]},
            },
            5,
        ),
        Case(
            "a broadcast number",
            {
                "program": "broadcast_to(2.0, shape=(3,)) * x",
                "shapes": {"x": [3]},
                "dtype": "float32",
            },
            6,
        ),
    ],
)
def shapes_simplified(case: dict, rng: np.random.Generator) -> Plain:
    """A graph without superfluous changes of shape."""
    return passed(simplify_shapes, case, rng)


def _computing(targets: Sequence[Node]) -> list[Node]:
    seen: set[Node] = set()
    found = list(targets)
    while found:
        node = found.pop()
        if node in seen:
            continue
        seen.add(node)
        found.extend(node.inputs)
        for each in node.attributes.values():
            if isinstance(each, Branch):
                found.append(each.result)
    return [node for node in seen if node.operation not in ("placeholder", "constant")]


def _run(program: Any, stored: Any, shapes: dict, feeds: dict) -> tuple[list[np.ndarray], int]:
    """The values of a program's targets, and its number of operations."""
    targets, placeholders = read(program, shapes, stored)
    with np.errstate(all="ignore"):
        values = values_of(targets, {placeholders[name]: feeds[name] for name in feeds})
    return values, operations(targets)
