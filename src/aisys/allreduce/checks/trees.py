"""Probes of 4.2: the tree, what ranks return over it, and what the broker counts of it.

`array_case`, `shares`, `called`, `tried_and_counted` and `arrays_and_counts` serve every stage in
which ranks return sums.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS, counted, on_ranks, rank_data
from aisys.allreduce.in_process import run
from aisys.allreduce.transport import Transport
from aisys.allreduce.trees import broadcast, reduce, tree_allreduce, tree_cost, tree_neighbours
from aisys.course import Case, Difference, Plain, probe
from aisys.course.compare import compare
from aisys.course.probes import Verdict

ROUNDING = 256
"""In units of the dtype's epsilon: what another order of a few additions may change."""


def array_case(
    name: str,
    seed: int,
    ranks: int,
    n: int,
    dtype: str = "float64",
    layout: str = "plain",
    **inputs: object,
) -> Case:
    """A case of ranks with an array each.

    Args:
        name: What is special about it.
        seed: Seeds the arrays.
        ranks: How many ranks.
        n: The number of elements of each rank's array.
        dtype: Of the arrays.
        layout: `"plain"`, `"strided"` (every second element of a longer array), `"transposed"` (a
            matrix of 3 columns whose rows are not contiguous; n is a multiple of 3), or `"scalar"`
            (an array without axes; n is 1).
        inputs: What else the probe is given, such as `root`.
    """
    return Case(name, {"ranks": ranks, "n": n, "dtype": dtype, "layout": layout, **inputs}, seed)


def tree_case(name: str, world_size: int, root: int = 0) -> Case:
    """A case of a tree's neighbours."""
    return Case(name, {"world_size": world_size, "root": root})


def cost_case(name: str, world_sizes: list[int], nbytes: int) -> Case:
    """A case of the closed form."""
    return Case(name, {"world_sizes": world_sizes, "nbytes": nbytes})


def shares(case: dict[str, Any], rng: np.random.Generator) -> list[np.ndarray]:
    """An array for each rank, in the layout that the case asks for."""
    arrays = rank_data(case, rng)
    if case["layout"] == "strided":
        return [np.repeat(array, 2)[::2] for array in arrays]
    if case["layout"] == "transposed":
        return [array.reshape(3, -1).T for array in arrays]
    return [array.reshape(()) if case["layout"] == "scalar" else array for array in arrays]


def called(call: Callable[[Transport, np.ndarray], Any]) -> Callable[..., list[Plain]]:
    """A program that calls a function on a rank's array; returns its result, and the array after.

    The result is overwritten before the array is looked at, so that one shows in the other where
    they share memory.
    """

    def program(transport: Transport, data: np.ndarray) -> list[Plain]:
        result = call(transport, data)
        if not isinstance(result, np.ndarray):
            return [result, data.copy()]
        returned = result.copy()
        if result.flags.writeable:
            result[...] = 0
        return [returned, data.copy()]

    return program


def tried_and_counted(
    case: dict[str, Any], program: Callable[..., Plain], data: list[np.ndarray]
) -> list[Any]:
    """What a program returns on every rank over the broker, after a run in this process.

    Here ranks take turns in a fixed order, so what goes wrong is said in the same words every time.

    Args:
        case: A case of a probe with a witness. With `waits` there is only the run in this process,
            in which a send waits for its receiver: two ranks that both send first end there, as
            they do with large messages on real transports.
        program: Called as `program(transport, array)`.
        data: Each rank's array.
    """
    waits = bool(case.get("waits"))
    given = data if waits else [array.copy() for array in data]

    def take(transport: Transport) -> Plain:
        return program(transport, given[transport.rank])

    tried = run(case["ranks"], take, synchronous=waits).results
    return tried if waits else on_ranks(case, program, data)


def arrays_and_counts(same: bool = True) -> Verdict:
    """A verdict on `called` programs: arrays within rounding, inputs untouched, no dearer.

    Args:
        same: Whether all ranks must return the same, bit for bit.
    """
    of_results = counted(same=same, judge=arrays_alike)

    def verdict(got: Plain, expected: Plain) -> Difference | None:
        results, inputs = _apart(got)
        enough, untouched = _apart(expected)
        found = of_results(results, enough)
        if found is not None:
            return found
        for rank, (after, before) in enumerate(zip(inputs, untouched, strict=True)):
            if compare(after, before, 0.0, 0.0) is not None:
                said = f"rank {rank}'s input is not what it was: it was changed, or the result "
                return Difference("input changed", f"{said}shares its memory.", f"[{rank}]")
        return None

    return verdict


def arrays_alike(got: Plain, expected: Plain) -> Difference | None:
    """A verdict on lists: arrays of the same dtype and shape, equal within rounding."""
    if not isinstance(got, list) or not isinstance(expected, list):
        return compare(got, expected)
    if len(got) != len(expected):
        return Difference("length", f"{len(got)} results, expected {len(expected)}.")
    for rank, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
        slack = 0.0
        if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
            if mine.dtype != theirs.dtype:
                said = f"rank {rank} returns an array of {mine.dtype}, expected {theirs.dtype}."
                return Difference("dtype", said, f"[{rank}]")
            slack = ROUNDING * np.finfo(mine.dtype).eps if mine.dtype.kind in "fc" else 0.0
        found = compare(mine, theirs, slack, slack, f"[{rank}]")
        if found is not None:
            return found
    return None


@probe(
    "4.2 tree_neighbours",
    cases=[
        tree_case("8 ranks", 8),
        tree_case("6 ranks", 6),
        tree_case("5 ranks, rank 3 at the root", 5, 3),
        tree_case("one rank", 1),
    ],
)
def tree_neighbours_values(case: dict, rng: np.random.Generator) -> Plain:
    """Every rank's parent and children."""
    found: list[Plain] = []
    for rank in range(case["world_size"]):
        above, below = tree_neighbours(rank, case["world_size"], case["root"])
        parent: Plain = None if above is None else int(above)
        found.append([parent, [int(child) for child in below]])
    return found


@probe(
    "4.2 broadcast",
    cases=[
        array_case("4 ranks", 1, 4, 5, root=0),
        array_case("7 ranks, rank 2 is the root", 2, 7, 3, "int64", root=2),
        array_case("8 ranks, nothing to send", 3, 8, 0, root=0),
        array_case("3 ranks, not contiguous", 4, 3, 6, "float32", "transposed", root=1),
    ],
    verdict=arrays_and_counts(),
    witness=WITNESS,
)
def broadcast_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank has in the end, of arrays that differ from rank to rank."""
    program = called(lambda transport, data: broadcast(transport, data, case["root"]))
    return tried_and_counted(case, program, shares(case, rng))


@probe(
    "4.2 reduce",
    cases=[
        array_case("4 ranks", 1, 4, 5, root=0),
        array_case("6 ranks, rank 5 is the root", 2, 6, 3, "int32", root=5),
        array_case("5 ranks, nothing to add up", 3, 5, 0, root=0),
        array_case("3 ranks, not contiguous", 4, 3, 6, "float32", "strided", root=1),
    ],
    verdict=arrays_and_counts(same=False),
    witness=WITNESS,
)
def reduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    program = called(lambda transport, data: reduce(transport, data, case["root"]))
    return tried_and_counted(case, program, shares(case, rng))


ALLREDUCE_CASES = [
    array_case("4 ranks", 1, 4, 6),
    array_case("7 ranks, whole numbers", 2, 7, 5, "int16"),
    array_case("3 ranks, not contiguous", 3, 3, 6, "float32", "transposed"),
    array_case("one rank", 4, 1, 4),
]
"""Visible cases of every all-reduce of these stages."""


@probe(
    "4.2 tree_allreduce",
    cases=ALLREDUCE_CASES,
    verdict=arrays_and_counts(),
    witness=WITNESS,
)
def tree_allreduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, called(tree_allreduce), shares(case, rng))


@probe(
    "4.2 tree_cost",
    cases=[
        cost_case("1, 2, 4 and 8 ranks, 1,000 bytes", [1, 2, 4, 8], 1000),
        cost_case("9 ranks, 4 bytes", [9], 4),
    ],
    rtol=0.0,
    atol=0.0,
)
def tree_cost_values(case: dict, rng: np.random.Generator) -> Plain:
    """Steps, bytes on the critical path and bytes of all, for each world size."""
    costs: list[Plain] = []
    for world_size in case["world_sizes"]:
        steps, path, everything = tree_cost(world_size, case["nbytes"])
        costs.append([float(steps), float(path), float(everything)])
    return costs


def _apart(value: Any) -> tuple[Plain, list[Plain]]:
    """What `counted` judges, and the arrays of the ranks after the call."""
    pairs = value["returned"]
    rest: dict[str, Plain] = {**value, "returned": [result for result, _ in pairs]}
    return rest, [after for _, after in pairs]
