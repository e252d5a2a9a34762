"""Probes of 3.4: the sums, and what is counted on the way: conflicts, barriers, launches.

The numbers are whole and small, so that every order of additions gives the same sum.
"""

from typing import Any

import numpy as np

from aisys.course import Case, Difference, Plain, TextSlot, probe
from aisys.cuda import devices, reduction
from aisys.cuda.checks.limits import (
    counts_of,
    first_of,
    moved,
    part,
    shared,
    too_many_conflicts,
    too_many_sectors,
)
from aisys.cuda.emulator import Launch
from aisys.cuda.reduction import sum_two_pass

SECONDS = 10.0
"""Compiling is among it."""
SECTORS_SLACK, BUSY_SLACK = 1.25, 1.5
MOST_SHARED = 32 * 4


def sum_case(name: str, seed: int, n: int, grid: int, block: int, weight: float = 1.0) -> Case:
    """A case of a kernel: the length of the array, blocks, and threads of a block."""
    return Case(name, {"n": n, "grid": grid, "block": block}, seed, weight)


def pass_case(name: str, seed: int, n: int, block: int = 64, most_blocks: int = 8) -> Case:
    """A case of the host's code."""
    return Case(name, {"n": n, "block": block, "most_blocks": most_blocks}, seed)


VALUES = [
    sum_case("64 numbers, one warp", 1, 64, 1, 32),
    sum_case("1,000 numbers, 3 blocks of 128", 2, 1000, 3, 128),
    sum_case("fewer numbers than threads", 3, 70, 2, 64),
    sum_case("no numbers", 4, 0, 2, 64),
]
COUNTED = [sum_case("4,096 numbers, 2 blocks of 256, counted", 5, 4096, 2, 256)]


@probe("3.4 sum_tree", cases=VALUES, seconds=SECONDS)
def sum_tree_values(case: dict, rng: np.random.Generator) -> Plain:
    """The sum of the blocks' sums, and how many blocks wrote one."""
    return _sums(_run(reduction.sum_tree, case, rng)[0])


@probe("3.4 sum_shuffle", cases=VALUES, seconds=SECONDS)
def sum_shuffle_values(case: dict, rng: np.random.Generator) -> Plain:
    """As of the tree, and what the kernel with the atomic addition adds to 1000."""
    partial, _ = _run(reduction.sum_shuffle, case, rng)
    return {**_sums(partial), "sum_atomic": _atomic(case, rng)}


def tree_limits(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: right, coalesced, hardly a bank conflict, and whole warps that work."""
    return _right(got, expected) or first_of(
        ("sectors", _sectors(got, expected)),
        ("bank conflicts", too_many_conflicts(part(got, "shared"))),
        ("idle lanes", _too_busy(part(got, "shared"), part(expected, "shared"))),
    )


def shuffle_limits(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: right, coalesced, one barrier a block, and little shared memory."""
    seen = counts_of(part(got, "block"))
    barriers, size = seen["barriers"], seen["shared bytes"]
    return _right(got, expected) or first_of(
        ("sectors", _sectors(got, expected)),
        ("barriers", f"{barriers} barriers a block; 1 is enough." if barriers > 1 else ""),
        (
            "shared memory",
            f"{size:,} bytes of shared memory a block; {MOST_SHARED} are enough."
            if size > MOST_SHARED
            else "",
        ),
    )


@probe("3.4 sum_tree", cases=COUNTED, verdict=tree_limits, seconds=SECONDS)
def sum_tree_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The sums, the sectors of the reads, and the passes of shared memory."""
    partial, seen = _run(reduction.sum_tree, case, rng)
    return {"sums": _sums(partial), "reads": moved(seen, "read"), "shared": shared(seen)}


@probe("3.4 sum_shuffle", cases=COUNTED, verdict=shuffle_limits, seconds=SECONDS)
def sum_shuffle_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The sums, the sectors of the reads, and barriers and shared memory of a block."""
    partial, seen = _run(reduction.sum_shuffle, case, rng)
    block = {"barriers": -(-seen.barriers // case["grid"]), "shared bytes": seen.shared_bytes}
    return {"sums": _sums(partial), "reads": moved(seen, "read"), "block": block}


def two_launches(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: the right sum, from at most two launches, the last of one block."""
    if not isinstance(got, dict) or not isinstance(got.get("launches"), list):
        raise TypeError("expected a sum and launches")
    if not isinstance(expected, dict):
        raise TypeError("expected a sum and launches")
    grids, enough = got["launches"], expected["launches"]
    if got["sum"] != expected["sum"]:
        return Difference(
            "value", f"the sum is {got['sum']}, expected {expected['sum']}.", "['sum']"
        )
    if len(grids) > 2:
        return Difference("launches", f"{len(grids)} launches; at most 2 were expected.")
    if grids and grids[0] != enough[0]:
        return Difference("blocks", f"{grids[0]} blocks in the first launch; expected {enough[0]}.")
    if enough and (not grids or grids[-1] != 1):
        return Difference(
            "launches", f"launches of {grids} blocks; the last one adds up with 1 block."
        )
    return None


@probe(
    "3.4 sum_two_pass",
    cases=[
        pass_case("500 numbers, 8 blocks of 64", 1, 500),
        pass_case("more numbers than threads", 2, 3000, 32, 6),
        pass_case("one block is enough", 3, 40),
        pass_case("no numbers", 4, 0),
    ],
    verdict=two_launches,
    seconds=SECONDS,
)
def sum_two_pass_launches(case: dict, rng: np.random.Generator) -> Plain:
    """The sum, and the blocks of each launch of `sum_shuffle`."""
    grids: list[int] = []

    def launch(grid: int, block: int, source: Any, partial: Any, n: int) -> None:
        devices.launch(reduction.sum_shuffle, int(grid), int(block), source, partial, int(n))
        grids.append(int(grid))

    numbers = _numbers(case, rng)
    total = float(sum_two_pass(numbers, launch, case["block"], case["most_blocks"]))
    return {"sum": total, "launches": grids}


def _numbers(case: dict, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(-99, 100, case["n"]).astype(np.float32)


def _run(slot: TextSlot, case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    numbers, partial = _numbers(case, rng), np.full(case["grid"], np.nan, np.float32)
    dynamic = 4 * case["block"] if slot is reduction.sum_tree else 0
    seen = devices.launch(
        slot, case["grid"], case["block"], numbers, partial, case["n"], shared_bytes=dynamic
    )
    return partial, seen


def _atomic(case: dict, rng: np.random.Generator) -> float:
    total = np.full(1, 1000, np.float32)
    devices.launch(
        reduction.sum_shuffle, case["grid"], case["block"], _numbers(case, rng), total, case["n"],
        kernel="sum_atomic",
    )  # fmt: skip
    return float(total[0])


def _sums(partial: np.ndarray) -> dict[str, float]:
    return {"sum": float(np.nansum(partial)), "blocks that wrote": int(np.isfinite(partial).sum())}


def _right(got: Plain, expected: Plain) -> Difference | None:
    seen, wanted = part(got, "sums"), part(expected, "sums")
    if seen == wanted:
        return None
    return Difference("value", f"{seen}, expected {wanted}.", "['sums']")


def _sectors(got: Plain, expected: Plain) -> str:
    sides = part(got, "reads"), part(expected, "reads")
    return too_many_sectors("reads of input", *sides, SECTORS_SLACK)


def _too_busy(got: Plain, expected: Plain) -> str:
    seen, enough = counts_of(got), counts_of(expected)
    requests, needed = seen["requests"], enough["requests"]
    if requests <= BUSY_SLACK * needed:
        return ""
    return (
        f"warps touch shared memory {requests:,} times, with {seen['lanes'] / requests:.0f} of 32 "
        f"lanes at a time; {needed:,} times are enough."
    )
