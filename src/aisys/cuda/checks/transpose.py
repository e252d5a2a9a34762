"""Probes of 3.3: what the transposes write, and what they move to do it."""

import numpy as np

from aisys.course import Case, Difference, Plain, TextSlot, compare, probe
from aisys.cuda import transpose
from aisys.cuda.checks.limits import (
    counts_of,
    first_of,
    moved,
    part,
    shared,
    too_many_conflicts,
    too_many_sectors,
)
from aisys.cuda.devices import launch
from aisys.cuda.emulator import Launch
from aisys.cuda.transpose import sectors_and_passes

SECONDS = 10.0
"""Compiling is among it."""
MOST_SHARED = 5 << 10
"""Bytes of shared memory of a block that the padded tile may take."""


def matrix_case(name: str, seed: int, rows: int, columns: int, weight: float = 1.0) -> Case:
    """A case of a transpose: a matrix of this size."""
    return Case(name, {"rows": rows, "columns": columns}, seed, weight)


def warp_case(name: str, offsets: list[int | None]) -> Case:
    """A case of the arithmetic: the offset of each lane in bytes."""
    return Case(name, {"offsets": offsets})


def strided(stride: int, lanes: int = 32) -> list[int | None]:
    """Lanes that touch numbers `stride` apart."""
    return [lane * stride * 4 for lane in range(lanes)]


VALUES = [
    matrix_case("8 x 32, one block", 1, 8, 32),
    matrix_case("32 x 96", 2, 32, 96),
    matrix_case("33 x 50, no multiple of a tile", 3, 33, 50),
    matrix_case("1 x 1", 4, 1, 1),
]
COUNTED = [matrix_case("64 x 96, counted", 5, 64, 96)]


@probe("3.3 transpose_naive", cases=VALUES, seconds=SECONDS)
def transpose_naive_values(case: dict, rng: np.random.Generator) -> Plain:
    """The transpose of a random matrix; NaN where nothing was written."""
    return _run(transpose.transpose_naive, case, rng)[0]


@probe("3.3 transpose_tiled", cases=VALUES, seconds=SECONDS)
def transpose_tiled_values(case: dict, rng: np.random.Generator) -> Plain:
    """The transpose of a random matrix; NaN where nothing was written."""
    return _run(transpose.transpose_tiled, case, rng)[0]


@probe("3.3 transpose_padded", cases=VALUES, seconds=SECONDS)
def transpose_padded_values(case: dict, rng: np.random.Generator) -> Plain:
    """The transpose of a random matrix; NaN where nothing was written."""
    return _run(transpose.transpose_padded, case, rng)[0]


def reads_only(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: right, and the reads in as few sectors as the reference's, up to a tenth more."""
    return _same_output(got, expected) or first_of(
        ("sectors", _sectors("reads of input", got, expected, "reads"))
    )


def both_sides(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: right, reads and writes in as few sectors as the reference's, up to a tenth."""
    return reads_only(got, expected) or first_of(
        ("sectors", _sectors("writes of output", got, expected, "writes"))
    )


def no_conflicts(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: as `both_sides`, and hardly a bank conflict, in little shared memory."""
    size = counts_of(part(got, "memory"))["shared bytes"]
    return both_sides(got, expected) or first_of(
        ("bank conflicts", too_many_conflicts(part(got, "shared"))),
        (
            "shared memory",
            f"{size:,} bytes of shared memory a block; at most {MOST_SHARED:,} were expected."
            if size > MOST_SHARED
            else "",
        ),
    )


@probe("3.3 transpose_naive", cases=COUNTED, verdict=reads_only, seconds=SECONDS)
def transpose_naive_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The result, and what the reads move."""
    output, seen = _run(transpose.transpose_naive, case, rng)
    return {"output": output, "reads": moved(seen, "read")}


@probe("3.3 transpose_tiled", cases=COUNTED, verdict=both_sides, seconds=SECONDS)
def transpose_tiled_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The result, and what reads and writes move."""
    output, seen = _run(transpose.transpose_tiled, case, rng)
    return {"output": output, "reads": moved(seen, "read"), "writes": moved(seen, "write")}


@probe("3.3 transpose_padded", cases=COUNTED, verdict=no_conflicts, seconds=SECONDS)
def transpose_padded_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The result, what reads and writes move, and the passes of shared memory."""
    output, seen = _run(transpose.transpose_padded, case, rng)
    return {
        "output": output,
        "reads": moved(seen, "read"),
        "writes": moved(seen, "write"),
        "shared": shared(seen),
        "memory": {"shared bytes": seen.shared_bytes},
    }


@probe(
    "3.3 sectors_and_passes",
    cases=[
        warp_case("neighbours", strided(1)),
        warp_case("a column of 64 columns", strided(64)),
        warp_case("one number for all", [8] * 32),
        warp_case("neighbours, from the middle of a sector", [20 + 4 * n for n in range(32)]),
        warp_case("every second lane", [4 * n if n % 2 else None for n in range(32)]),
        warp_case("no lane", [None] * 32),
    ],
)
def sectors_and_passes_counts(case: dict, rng: np.random.Generator) -> Plain:
    """The two counts of a warp's accesses."""
    counts = sectors_and_passes(case["offsets"])
    return dict(zip(("sectors", "passes"), counts, strict=True))


def _run(slot: TextSlot, case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    rows, columns = case["rows"], case["columns"]
    matrix = rng.standard_normal((rows, columns)).astype(np.float32)
    output = np.full((columns, rows), np.nan, np.float32)
    grid = transpose.grid_of(slot.name, rows, columns)
    seen = launch(slot, grid, transpose.BLOCKS[slot.name], matrix, output, rows, columns)
    return output, seen


def _same_output(got: Plain, expected: Plain) -> Difference | None:
    return compare(part(got, "output"), part(expected, "output"), where="['output']")


def _sectors(what: str, got: Plain, expected: Plain, side: str) -> str:
    return too_many_sectors(what, part(got, side), part(expected, side))
