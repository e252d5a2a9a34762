"""Probes of 4.4: folding, windows, exchanges and the all-reduces made of them."""

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS, counted
from aisys.allreduce.checks.trees import (
    ALLREDUCE_CASES,
    array_case,
    arrays_alike,
    arrays_and_counts,
    called,
    shares,
    tried_and_counted,
)
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
from aisys.course import Case, Plain, probe


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
    return array_case(name, seed, 1 + max(members), n, dtype, members=members, waits=waits)


FOLD_CASES = [
    array_case("6 ranks", 1, 6, 4),
    array_case("4 ranks, nothing to fold", 2, 4, 3),
    array_case("3 ranks, whole numbers", 3, 3, 5, "int32"),
    array_case("7 ranks, nothing in the arrays", 4, 7, 0),
]


@probe(
    "4.4 fold",
    cases=FOLD_CASES,
    verdict=counted(same=False, judge=arrays_alike),
    witness=WITNESS,
)
def fold_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The ranks that go on, as every rank sees it, and the arrays that they go on with."""

    def program(transport: Transport, data: np.ndarray) -> list[Plain]:
        members = [int(member) for member in fold(transport, data)]
        return [members, data if transport.rank in members else None]

    return tried_and_counted(case, program, shares(case, rng))


@probe(
    "4.4 unfold",
    cases=FOLD_CASES,
    verdict=counted(same=False, judge=arrays_alike),
    witness=WITNESS,
)
def unfold_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Each rank's array in the end; before, they all differ."""

    def program(transport: Transport, data: np.ndarray) -> Plain:
        unfold(transport, data)
        return data

    return tried_and_counted(case, program, shares(case, rng))


SUM_CASES = [
    *ALLREDUCE_CASES,
    array_case("8 ranks, 1,000 elements", 5, 8, 1000, "float32"),
    array_case("6 ranks, a send waits for its receiver", 6, 6, 9, waits=True),
]


@probe(
    "4.4 recursive_doubling_allreduce",
    cases=SUM_CASES,
    verdict=arrays_and_counts(),
    witness=WITNESS,
)
def recursive_doubling_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, called(recursive_doubling_allreduce), shares(case, rng))


@probe(
    "4.4 halving_window",
    cases=[
        window_case("4 members, 8 elements", 4, 8),
        window_case("8 members, 21 elements", 8, 21),
        window_case("4 members, 3 elements", 4, 3),
        window_case("one member", 1, 5),
    ],
)
def halving_window_values(case: dict, rng: np.random.Generator) -> Plain:
    """Start and stop of every member's window after every step."""
    members, n = case["members"], case["n"]
    return [
        [
            [int(end) for end in halving_window(number, members, n, step).indices(n)[:2]]
            for step in range(members.bit_length())
        ]
        for number in range(members)
    ]


MEMBER_CASES = [
    member_case("4 members, 8 elements", 1, [0, 1, 2, 3], 8),
    member_case("8 members, 21 elements", 2, list(range(8)), 21, "int64"),
    member_case("ranks 1, 3, 4 and 5 of 6", 3, [1, 3, 4, 5], 7),
    member_case("4 members, 2 elements", 4, [0, 1, 2, 3], 2),
    member_case("ranks 2, 3, 0 and 4, sends wait", 5, [2, 3, 0, 4], 9, waits=True),
]
"""Visible cases of both halves of the algorithm."""


@probe(
    "4.4 halving_reduce_scatter",
    cases=MEMBER_CASES,
    verdict=counted(same=False, judge=arrays_alike),
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

    return tried_and_counted(case, program, shares(case, rng))


@probe(
    "4.4 doubling_all_gather",
    cases=MEMBER_CASES,
    verdict=counted(same=False, judge=arrays_alike),
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

    return tried_and_counted(case, program, shares(case, rng))


@probe(
    "4.4 halving_doubling_allreduce",
    cases=SUM_CASES,
    verdict=arrays_and_counts(),
    witness=WITNESS,
)
def halving_doubling_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns."""
    return tried_and_counted(case, called(halving_doubling_allreduce), shares(case, rng))


def _own_chunk(rank: int, members: list[int], n: int) -> slice:
    """Where a member finds its part of the sum."""
    number = members.index(rank)
    return slice(number * n // len(members), (number + 1) * n // len(members))
