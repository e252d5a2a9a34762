"""Probes of 4.3: what ranks return and send, over the broker and where a send waits.

The broker keeps what is sent, so a program that only works because of that passes there. The
in-process transport with `synchronous=True`, seen through `CarefulTransport`, does not keep it.
Chunks that differ in size are cases of the latter: which of several wrong messages is noticed first
is the same there every time.
"""

from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.checks.careful import CarefulTransport
from aisys.allreduce.checks.ranks import WITNESS, counted, on_ranks
from aisys.allreduce.checks.sums import (
    array_case,
    plainly,
    rank_arrays,
    reduced_by,
    right_sums,
    tried_and_counted,
    within_rounding,
)
from aisys.allreduce.in_process import run
from aisys.allreduce.ring import all_gather, chunk_bounds, reduce_scatter, ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.probes import Verdict

UNEVEN = 1.5
"""With uneven chunks it depends on their order who sends how many of the larger ones."""


def bounds_case(name: str, n: int, world_size: int) -> Case:
    """A case of `chunk_bounds`."""
    return Case(name, {"n": n, "ranks": world_size})


def gather_case(name: str, seed: int, ranks: int, n: int, first: int, **inputs: object) -> Case:
    """A case of `all_gather`: `first` is the number of the chunk that rank 0 has."""
    return array_case(name, seed, ranks, n, first=first, **inputs)


def exactly_counted(
    got: Plain, expected: Plain, *, same: bool = True, judge: Verdict = within_rounding
) -> Difference | None:
    """A verdict: right, and not dearer; with even chunks not by a single byte.

    Args:
        got: What came back.
        expected: From the reference.
        same: Whether all ranks must return the same.
        judge: Of what the ranks returned.
    """
    limits = {"nbytes": slack(expected), "least_bytes": 1.0}
    return counted(judge=judge, same=same, **limits)(got, expected)


def slack(expected: Plain) -> float:
    """How many times the reference's bytes a rank may send: where chunks are uneven, some more."""
    return 1.0 if all(len(set(run["bytes"])) == 1 for run in expected["witnessed"]) else UNEVEN


@probe(
    "4.3 chunk_bounds",
    cases=[
        bounds_case("12 elements for 4 ranks", 12, 4),
        bounds_case("10 elements for 4 ranks", 10, 4),
        bounds_case("fewer elements than ranks", 3, 5),
        bounds_case("no elements", 0, 3),
    ],
)
def chunk_bounds_values(case: dict, rng: np.random.Generator) -> Plain:
    """The bounds."""
    return plainly(chunk_bounds(case["n"], case["ranks"]))


SCATTERED = [
    array_case("4 ranks, 12 elements", 1, 4, 12),
    array_case("3 ranks, whole numbers", 2, 3, 9, dtype="int64"),
    array_case("one rank", 3, 1, 4),
]
GATHERED = [
    gather_case("4 ranks, 12 elements", 1, 4, 12, 1),
    gather_case("3 ranks, another start", 2, 3, 9, 0, dtype="int32"),
]
REDUCED = [
    array_case("4 ranks, 12 elements", 1, 4, 12),
    array_case("3 ranks, a matrix, float32", 2, 3, 5, 7, dtype="float32"),
    array_case("5 ranks, 4 elements", 3, 5, 4),
    array_case("2 ranks, whole numbers of 60 bits", 4, 2, 9, dtype="int64"),
    array_case("3 ranks, a transposed matrix", 5, 3, 4, 6, layout="transposed"),
    array_case("2 ranks, no elements", 6, 2, 0),
]


def waiting(*cases: Case) -> list[Case]:
    """Cases again, where a send waits until its receiver asks; each in another order of turns."""
    return [
        Case(f"{case.name}; a send waits", {**case.inputs, "turns": number}, case.seed)
        for number, case in enumerate(cases)
    ]


@probe(
    "4.3 reduce_scatter",
    cases=SCATTERED,
    verdict=partial(exactly_counted, same=False),
    witness=WITNESS,
)
def reduce_scatter_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """Each rank's chunk and its number."""
    return tried_and_counted(case, _scatter, rank_arrays(case, rng))


@probe(
    "4.3 reduce_scatter",
    cases=waiting(
        array_case("3 ranks, 10 elements: uneven chunks", 4, 3, 10),
        array_case("5 ranks, 3 elements: empty chunks", 5, 5, 3),
    ),
    verdict=within_rounding,
)
def reduce_scatter_waits(case: dict, rng: np.random.Generator) -> Plain:
    """The same on a transport that keeps nothing for a receiver."""
    return _carefully(case, _scatter, rank_arrays(case, rng))


@probe(
    "4.3 all_gather",
    cases=GATHERED,
    verdict=exactly_counted,
    witness=WITNESS,
)
def all_gather_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank has in the end."""
    return on_ranks(case, _gather, *_gathering(case, rng))


@probe(
    "4.3 all_gather",
    cases=waiting(
        gather_case("3 ranks, 10 elements: uneven chunks", 3, 3, 10, 2),
        gather_case("5 ranks, 3 elements: empty chunks", 4, 5, 3, 3),
    ),
    verdict=within_rounding,
)
def all_gather_waits(case: dict, rng: np.random.Generator) -> Plain:
    """The same on a transport that keeps nothing for a receiver."""
    return _carefully(case, _gather, *_gathering(case, rng))


@probe(
    "4.3 ring_allreduce",
    cases=REDUCED,
    verdict=partial(exactly_counted, judge=right_sums),
    witness=WITNESS,
)
def ring_allreduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The sum on each rank, and what became of the input."""
    return on_ranks(case, reduced_by(ring_allreduce), rank_arrays(case, rng))


@probe("4.3 ring_allreduce", cases=waiting(REDUCED[1]), verdict=right_sums)
def ring_allreduce_waits(case: dict, rng: np.random.Generator) -> Plain:
    """The same on a transport that keeps nothing for a receiver."""
    return _carefully(case, reduced_by(ring_allreduce), rank_arrays(case, rng))


def _scatter(transport: Transport, mine: np.ndarray) -> dict[str, Plain]:
    data = mine.copy()
    complete: Any = plainly(reduce_scatter(transport, data))
    chunks = np.array_split(data, transport.world_size)
    number = complete if isinstance(complete, int) else 0
    return {"complete": complete, "chunk": chunks[number % transport.world_size]}


def _gathering(case: dict[str, Any], rng: np.random.Generator) -> tuple[list, list[int]]:
    """Each rank's array, of which one chunk is complete, and the number of that chunk."""
    ranks = case["ranks"]
    whole, *others = rank_arrays({**case, "ranks": ranks + 1}, rng)
    numbers = [(case["first"] + rank) % ranks for rank in range(ranks)]
    for data, number in zip(others, numbers, strict=True):
        np.array_split(data, ranks)[number][:] = np.array_split(whole, ranks)[number]
    return others, numbers


def _gather(transport: Transport, mine: np.ndarray, complete: int) -> Plain:
    data = mine.copy()
    all_gather(transport, data, complete)
    return data


def _carefully(case: dict[str, Any], program: Any, *shares: Any) -> Plain:
    def careful(transport: Transport) -> Plain:
        with CarefulTransport(transport) as outer:
            return program(outer, *(share[transport.rank] for share in shares))

    return run(case["ranks"], careful, seed=case["turns"], synchronous=True).results
