"""Probes of 4.2: the tree, what ranks return over it, and what the broker counts of it."""

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS
from aisys.allreduce.checks.sums import (
    array_case,
    plainly,
    rank_arrays,
    reduced_by,
    sums_and_counts,
    tried_and_counted,
)
from aisys.allreduce.trees import broadcast, reduce, tree_allreduce, tree_cost, tree_neighbours
from aisys.course import Case, Plain, probe


def tree_case(name: str, world_size: int, root: int = 0) -> Case:
    """A case of a tree's neighbours."""
    return Case(name, {"world_size": world_size, "root": root})


def cost_case(name: str, world_sizes: list[int], nbytes: int) -> Case:
    """A case of the closed form."""
    return Case(name, {"world_sizes": world_sizes, "nbytes": nbytes})


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
    size, root = case["world_size"], case["root"]
    return [plainly(tree_neighbours(rank, size, root)) for rank in range(size)]


@probe(
    "4.2 broadcast",
    cases=[
        array_case("4 ranks", 1, 4, 5, root=0),
        array_case("7 ranks, rank 2 is the root", 2, 7, 3, dtype="int64", root=2),
        array_case("2 ranks, nothing to send", 3, 2, 0, root=0),
        array_case(
            "3 ranks, not contiguous", 4, 3, 2, 3, dtype="float32", layout="transposed", root=1
        ),
    ],
    verdict=sums_and_counts(),
    witness=WITNESS,
)
def broadcast_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank has in the end, of arrays that differ from rank to rank."""
    return tried_and_counted(case, reduced_by(broadcast, case["root"]), rank_arrays(case, rng))


@probe(
    "4.2 reduce",
    cases=[
        array_case("4 ranks", 1, 4, 5, root=0),
        array_case("6 ranks, rank 5 is the root", 2, 6, 3, dtype="int32", root=5),
        array_case("2 ranks, nothing to add up", 3, 2, 0, root=0),
        array_case(
            "3 ranks, not contiguous", 4, 3, 6, dtype="float32", layout="every second", root=1
        ),
    ],
    verdict=sums_and_counts(same=False),
    witness=WITNESS,
)
def reduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, reduced_by(reduce, case["root"]), rank_arrays(case, rng))


ALLREDUCE_CASES = [
    array_case("4 ranks", 1, 4, 6),
    array_case("7 ranks, whole numbers", 2, 7, 5, dtype="int16"),
    array_case("3 ranks, not contiguous", 3, 3, 2, 3, dtype="float32", layout="transposed"),
    array_case("one rank", 4, 1, 4),
]
"""Visible cases of every all-reduce of these stages."""


@probe(
    "4.2 tree_allreduce",
    cases=ALLREDUCE_CASES,
    verdict=sums_and_counts(),
    witness=WITNESS,
)
def tree_allreduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, reduced_by(tree_allreduce), rank_arrays(case, rng))


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
    return [plainly(tree_cost(size, case["nbytes"])) for size in case["world_sizes"]]
