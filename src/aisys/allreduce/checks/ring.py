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
from aisys.allreduce.in_process import run
from aisys.allreduce.ring import all_gather, chunk_bounds, reduce_scatter, ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.compare import compare

MANY_EPS = 200.0
"""What sums in another order may differ by, in units of the last place of numbers about 1."""

UNEVEN = 1.5
"""With uneven chunks it depends on their order who sends how many of the larger ones."""


def bounds_case(name: str, n: int, world_size: int) -> Case:
    """A case of `chunk_bounds`."""
    return Case(name, {"n": n, "ranks": world_size})


def ring_case(name: str, seed: int, ranks: int, *shape: int, **inputs: object) -> Case:
    """A case with an array for each rank.

    Args:
        name: Its name.
        seed: Of what is drawn.
        ranks: How many.
        shape: Of the arrays.
        inputs: `"dtype"`, by default float64; `"layout"`, by default `"contiguous"`; `"turns"`, the
            seed of the order in which ranks take turns.
    """
    default = {"dtype": "float64", "layout": "contiguous", "turns": 0}
    return Case(name, {"ranks": ranks, "shape": list(shape), **default, **inputs}, seed)


def gather_case(name: str, seed: int, ranks: int, n: int, first: int, **inputs: object) -> Case:
    """A case of `all_gather`: `first` is the number of the chunk that rank 0 has."""
    return ring_case(name, seed, ranks, n, first=first, **inputs)


def rank_arrays(case: dict[str, Any], rng: np.random.Generator) -> list[np.ndarray]:
    """An array for each rank; whole numbers of 64 bits have more digits than a float has."""
    layout, dtype = case["layout"], np.dtype(case["dtype"])
    shape = list(case["shape"])
    if layout == "every second":
        shape[-1] *= 2
    if layout == "transposed":
        shape.reverse()
    most = 2**58 if dtype.itemsize == 8 else 10
    arrays = []
    for _ in range(case["ranks"]):
        drawn = rng.integers(0, most, shape) if dtype.kind in "iu" else rng.standard_normal(shape)
        array = np.asarray(drawn).astype(dtype)
        views = {"every second": array[..., ::2], "transposed": array.T}
        arrays.append(views.get(layout, array))
    return arrays


def within_rounding(got: Plain, expected: Plain) -> Difference | None:
    """A judge: equal within the rounding of the numbers' own precision; whole numbers exactly."""
    eps = _precision(expected)
    return compare(got, expected, MANY_EPS * eps, MANY_EPS * eps)


def exactly_counted(got: Plain, expected: Plain, *, same: bool = True) -> Difference | None:
    """A verdict: within rounding, and not dearer; with even chunks not by a single byte.

    Args:
        got: What came back.
        expected: From the reference.
        same: Whether all ranks must return the same.
    """
    limits = {"nbytes": slack(expected), "least_bytes": 1.0}
    judged = counted(judge=within_rounding, same=same, **limits)
    return judged(got, expected)


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
    """The bounds, as whole numbers."""
    return [int(bound) for bound in chunk_bounds(case["n"], case["ranks"])]


SCATTERED = [
    ring_case("4 ranks, 12 elements", 1, 4, 12),
    ring_case("3 ranks, whole numbers", 2, 3, 9, dtype="int64"),
    ring_case("one rank", 3, 1, 4),
]
GATHERED = [
    gather_case("4 ranks, 12 elements", 1, 4, 12, 1),
    gather_case("3 ranks, another start", 2, 3, 9, 0, dtype="int32"),
]
REDUCED = [
    ring_case("4 ranks, 12 elements", 1, 4, 12),
    ring_case("3 ranks, a matrix, float32", 2, 3, 5, 7, dtype="float32"),
    ring_case("6 ranks, 4 elements", 3, 6, 4),
    ring_case("2 ranks, whole numbers of 60 bits", 4, 2, 9, dtype="int64"),
    ring_case("3 ranks, a transposed matrix", 5, 3, 4, 6, layout="transposed"),
    ring_case("2 ranks, no elements", 6, 2, 0),
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
    return on_ranks(case, _scatter, rank_arrays(case, rng))


@probe(
    "4.3 reduce_scatter",
    cases=waiting(
        ring_case("4 ranks, 12 elements", 1, 4, 12),
        ring_case("3 ranks, 10 elements: uneven chunks", 4, 3, 10),
        ring_case("5 ranks, 3 elements: empty chunks", 5, 5, 3),
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
        gather_case("4 ranks, 12 elements", 1, 4, 12, 1),
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
    verdict=exactly_counted,
    witness=WITNESS,
)
def ring_allreduce_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The sum on each rank, and what became of the input."""
    return on_ranks(case, reduced_by(ring_allreduce), rank_arrays(case, rng))


@probe("4.3 ring_allreduce", cases=waiting(REDUCED[0], REDUCED[4]), verdict=within_rounding)
def ring_allreduce_waits(case: dict, rng: np.random.Generator) -> Plain:
    """The same on a transport that keeps nothing for a receiver."""
    return _carefully(case, reduced_by(ring_allreduce), rank_arrays(case, rng))


def reduced_by(allreduce: Any, *arguments: Any) -> Any:
    """A program that all-reduces an array, and says what it returns and whether the input stays."""

    def program(transport: Transport, mine: np.ndarray) -> dict[str, Plain]:
        before = mine.copy()
        total = allreduce(transport, mine, *arguments)
        if not isinstance(total, np.ndarray):
            return {"total": f"a {type(total).__name__}"}
        return {
            "total": total,
            "dtype": str(total.dtype),
            "contiguous": bool(total.flags.c_contiguous),
            "new": not np.may_share_memory(total, mine),
            "input unchanged": bool((mine == before).all()),
        }

    return program


def _scatter(transport: Transport, mine: np.ndarray) -> dict[str, Plain]:
    data = mine.copy()
    complete = reduce_scatter(transport, data)
    chunks = np.array_split(data, transport.world_size)
    return {"complete": int(complete), "chunk": chunks[complete % transport.world_size]}


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


def _precision(value: Plain) -> float:
    """The largest unit in the last place of the numbers in a value; of whole numbers none."""
    if isinstance(value, dict):
        return _precision(list(value.values()))
    if isinstance(value, list):
        return max(map(_precision, value), default=0.0)
    is_float = isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    return float(np.finfo(value.dtype).eps) if is_float else 0.0
