"""Cases, programs and verdicts of every stage in which each rank has an array and sums come back.

A result of another form than asked for is passed on as it is, so that the verdict says what was
expected in place of an error inside the probe.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.allreduce.checks.ranks import counted, on_ranks
from aisys.allreduce.in_process import run
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain
from aisys.course.compare import compare
from aisys.course.probes import Verdict

MANY_EPS = 200.0
"""What sums in another order may differ by, in units of the last place of numbers about 1."""

MOST_INTEGER = {8: 2**58}
"""Whole numbers of 64 bits get more digits than a float has; smaller ones wrap round."""

_OTHERWISE = {
    "contiguous": ("layout", "rank {} returns an array that is not C-contiguous."),
    "new": ("memory", "rank {} returns memory of its input; expected a new array."),
    "input unchanged": ("input", "rank {}'s input was changed; expected that it stays as it is."),
}


def array_case(name: str, seed: int, ranks: int, *shape: int, **inputs: object) -> Case:
    """A case with an array for each rank.

    Args:
        name: Its name.
        seed: Of what is drawn.
        ranks: How many.
        shape: Of the arrays; nothing for arrays without axes.
        inputs: `"dtype"`, by default float64; `"layout"`, by default `"contiguous"`, else
            `"every second"` (element of the last axis of a longer array) or `"transposed"`;
            `"turns"`, the seed of the order in which ranks take turns; what else the probe takes.
    """
    default = {"dtype": "float64", "layout": "contiguous", "turns": 0}
    return Case(name, {"ranks": ranks, "shape": list(shape), **default, **inputs}, seed)


def rank_arrays(case: dict[str, Any], rng: np.random.Generator) -> list[np.ndarray]:
    """An array for each rank, in the layout that the case asks for."""
    layout, dtype = case["layout"], np.dtype(case["dtype"])
    shape = list(case["shape"])
    if layout == "every second":
        shape[-1] *= 2
    if layout == "transposed":
        shape.reverse()
    most = MOST_INTEGER.get(dtype.itemsize, 1000)
    arrays = []
    for _ in range(case["ranks"]):
        drawn = rng.integers(0, most, shape) if dtype.kind in "iu" else rng.standard_normal(shape)
        array = np.asarray(drawn).astype(dtype)
        views = {"every second": array[..., ::2], "transposed": array.T} if shape else {}
        arrays.append(views.get(layout, array))
    return arrays


def reduced_by(allreduce: Any, *arguments: Any) -> Any:
    """A program that all-reduces an array, and says what it returns and whether the input stays."""

    def program(transport: Transport, mine: np.ndarray) -> dict[str, Plain]:
        before = mine.copy()
        total = allreduce(transport, mine, *arguments)
        is_array = isinstance(total, np.ndarray)
        return {
            "total": plainly(total),
            "dtype": str(total.dtype) if is_array else "",
            "contiguous": not is_array or bool(total.flags.c_contiguous),
            "new": not is_array or not np.may_share_memory(total, mine),
            "input unchanged": bool((mine == before).all()),
        }

    return program


def plainly(value: Any) -> Plain:
    """What an attempt returned, where it may be anything: plain data, or what kind it is of."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plainly(item) for item in value]
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "biufc" else f"an array of {value.dtype}"
    return value if isinstance(value, (int, float, str, type(None))) else f"a {_kind(value)}"


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
    given = data if waits else [array.copy(order="K") for array in data]

    def take(transport: Transport) -> Plain:
        return program(transport, given[transport.rank])

    tried = run(case["ranks"], take, synchronous=waits).results
    return tried if waits else on_ranks(case, program, data)


def within_rounding(got: Plain, expected: Plain) -> Difference | None:
    """A judge: equal within the rounding of the numbers' own precision; whole numbers exactly."""
    eps = _precision(expected)
    return compare(got, expected, MANY_EPS * eps, MANY_EPS * eps)


def right_sums(got: Plain, expected: Plain) -> Difference | None:
    """A judge of what `reduced_by` says on each rank, which names the rank and what is wrong."""
    if not isinstance(got, list) or len(got) != len(expected):
        return Difference("length", f"expected the results of {len(expected)} ranks.")
    for rank, (mine, right) in enumerate(zip(got, expected, strict=True)):
        where = f"[{rank}]"
        found = within_rounding(mine["total"], right["total"])
        if found is not None:
            return Difference(found.kind, f"on rank {rank}: {found.message}", where + found.where)
        if mine["dtype"] != right["dtype"]:
            said = f"rank {rank} returns an array of {mine['dtype']}, expected {right['dtype']}."
            return Difference("dtype", said, where)
        for what, (kind, said) in _OTHERWISE.items():
            if mine[what] != right[what]:
                return Difference(kind, said.format(rank), where)
    return None


def sums_and_counts(same: bool = True) -> Verdict:
    """A verdict on `reduced_by` programs: the sums, new arrays, inputs untouched, no dearer.

    Args:
        same: Whether all ranks must return the same, bit for bit.
    """
    return counted(same=same, judge=right_sums)


def _precision(value: Plain) -> float:
    """The largest unit in the last place of the numbers in a value; of whole numbers none."""
    if isinstance(value, dict):
        return _precision(list(value.values()))
    if isinstance(value, list):
        return max(map(_precision, value), default=0.0)
    is_float = isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    return float(np.finfo(value.dtype).eps) if is_float else 0.0


def _kind(value: Any) -> str:
    return type(value).__name__
