"""Probes of 4.4: folding, windows, exchanges and the all-reduces made of them."""

from typing import Any

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS, counted
from aisys.allreduce.checks.sums import (
    array_case,
    plainly,
    rank_arrays,
    reduced_by,
    sums_and_counts,
    tried_and_counted,
    within_rounding,
)
from aisys.allreduce.checks.trees import ALLREDUCE_CASES
from aisys.allreduce.doubling import (
    doubling_all_gather,
    fold,
    halving_doubling_allreduce,
    halving_reduce_scatter,
    halving_window,
    recursive_doubling_allreduce,
    unfold,
)
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.compare import compare


def window_case(name: str, members: int, n: int) -> Case:
    """A case of the windows of so many members on n elements."""
    return Case(name, {"members": members, "n": n})


def member_case(
    name: str,
    seed: int,
    members: list[int],
    n: int,
    dtype: str = "float64",
    waits: bool = False,
) -> Case:
    """A case of some ranks that work together, while the others do nothing."""
    ranks = 1 + max(members)
    return array_case(name, seed, ranks, n, dtype=dtype, members=members, waits=waits)


FOLD_CASES = [
    array_case("6 ranks", 1, 6, 4),
    array_case("4 ranks, nothing to fold", 2, 4, 3),
    array_case("3 ranks, whole numbers", 3, 3, 5, dtype="int32"),
]


@probe(
    "4.4 fold",
    cases=FOLD_CASES,
    verdict=counted(same=False, judge=within_rounding),
    witness=WITNESS,
)
def fold_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The ranks that go on, as every rank sees it, and the arrays that they go on with."""

    def program(transport: Transport, data: np.ndarray) -> list[Plain]:
        members = plainly(fold(transport, data))
        goes_on = isinstance(members, list) and transport.rank in members
        return [members, data if goes_on else None]

    return tried_and_counted(case, program, rank_arrays(case, rng))


@probe(
    "4.4 unfold",
    cases=FOLD_CASES,
    verdict=counted(same=False, judge=within_rounding),
    witness=WITNESS,
)
def unfold_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Each rank's array in the end; before, they all differ."""

    def program(transport: Transport, data: np.ndarray) -> Plain:
        unfold(transport, data)
        return data

    return tried_and_counted(case, program, rank_arrays(case, rng))


SUM_CASES = [
    *ALLREDUCE_CASES,
    array_case("8 ranks, 1,000 elements", 5, 8, 1000, dtype="float32"),
    array_case("6 ranks, a send waits for its receiver", 6, 6, 9, waits=True),
]


@probe(
    "4.4 recursive_doubling_allreduce",
    cases=SUM_CASES,
    verdict=sums_and_counts(),
    witness=WITNESS,
)
def recursive_doubling_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, reduced_by(recursive_doubling_allreduce), rank_arrays(case, rng))


def windows_alike(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: slices, and the right ones."""
    for number, steps in enumerate(got if isinstance(got, list) else []):
        for step, ends in enumerate(steps):
            if isinstance(ends, dict):
                said = f"{ends['no slice']} for number {number} after step {step}; expected a slice"
                low, high = expected[number][step]
                return Difference("type", f"{said}, slice({low}, {high}).", f"[{number}][{step}]")
    return compare(got, expected)


@probe(
    "4.4 halving_window",
    cases=[
        window_case("4 members, 8 elements", 4, 8),
        window_case("8 members, 21 elements", 8, 21),
        window_case("4 members, 3 elements", 4, 3),
        window_case("one member", 1, 5),
    ],
    verdict=windows_alike,
)
def halving_window_values(case: dict, rng: np.random.Generator) -> Plain:
    """Start and stop of every member's window after every step."""
    members, n = case["members"], case["n"]
    return [
        [_ends(halving_window(number, members, n, step), n) for step in range(members.bit_length())]
        for number in range(members)
    ]


MEMBER_CASES = [
    member_case("4 members, 8 elements", 1, [0, 1, 2, 3], 8),
    member_case("8 members, 21 elements", 2, list(range(8)), 21, "int64"),
    member_case("ranks 1, 3, 4 and 5 of 6, 3 elements", 3, [1, 3, 4, 5], 3),
    member_case("ranks 2, 3, 0 and 4, sends wait", 5, [2, 3, 0, 4], 9, waits=True),
]
"""Visible cases of both halves of the algorithm."""


@probe(
    "4.4 halving_reduce_scatter",
    cases=MEMBER_CASES,
    verdict=counted(same=False, judge=within_rounding),
    witness=WITNESS,
)
def halving_reduce_scatter_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Each member's part of its array in the end."""

    def program(transport: Transport, data: np.ndarray) -> Plain:
        members = list(case["members"])
        if transport.rank not in members:
            return None
        halving_reduce_scatter(transport, data, members)
        return data[_own_chunk(transport.rank, members, len(data))]

    return tried_and_counted(case, program, rank_arrays(case, rng))


@probe(
    "4.4 doubling_all_gather",
    cases=MEMBER_CASES,
    verdict=counted(same=False, judge=within_rounding),
    witness=WITNESS,
)
def doubling_all_gather_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Each member's array in the end; before, only its own chunk is worth anything."""

    def program(transport: Transport, data: np.ndarray) -> Plain:
        members = list(case["members"])
        if transport.rank not in members:
            return None
        doubling_all_gather(transport, data, members)
        return data

    return tried_and_counted(case, program, rank_arrays(case, rng))


@probe(
    "4.4 halving_doubling_allreduce",
    cases=SUM_CASES,
    verdict=sums_and_counts(),
    witness=WITNESS,
)
def halving_doubling_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, reduced_by(halving_doubling_allreduce), rank_arrays(case, rng))


def _ends(window: Any, n: int) -> Plain:
    """Where a window begins and ends; what is none, as it is, in words."""
    if not isinstance(window, slice):
        return {"no slice": plainly(window)}
    return [int(end) for end in window.indices(n)[:2]]


def _own_chunk(rank: int, members: list[int], n: int) -> slice:
    """Where a member finds its part of the sum."""
    number = members.index(rank)
    return slice(number * n // len(members), (number + 1) * n // len(members))
