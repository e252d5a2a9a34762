"""Probes of 3.5: the products, and what the kernels moved for them."""

from collections.abc import Callable

import numpy as np

from aisys.course import Case, Difference, Plain, TextSlot, probe
from aisys.cuda import matmul
from aisys.cuda.matmul import Tile, multiply

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 1e-5
"""Tolerance, relative and absolute, of float32 sums of a few dozen products of size 1 / inner."""
JUDGED = Tile(32, 64, 8, 4)
"""Of `matmul_registers`: not square, so that rows and columns cannot be mixed up."""
SLACK = 1.1
"""So many times the reference's traffic is enough."""

Counts = dict[str, int]


def product_case(name: str, seed: int, rows: int, inner: int, columns: int) -> Case:
    """A case of a product: a [rows, inner], b [inner, columns]."""
    return Case(name, {"rows": rows, "inner": inner, "columns": columns}, seed)


def count_case(name: str, rows: int, inner: int, columns: int, weight: float = 1.0) -> Case:
    """A case whose traffic is counted; all sizes are multiples of the tiles'."""
    return Case(name, {"rows": rows, "inner": inner, "columns": columns}, weight=weight)


def bytes_case(name: str, *sizes: int) -> Case:
    """A case of the prediction: rows, inner, columns, tile_rows, tile_columns."""
    names = ("rows", "inner", "columns", "tile_rows", "tile_columns")
    return Case(name, dict(zip(names, sizes, strict=True)))


def enough(*judges: Callable[[Counts, Counts], str | None]) -> Callable[..., Difference | None]:
    """The verdict that asks each judge for a sentence, given what was counted and what for us."""

    def verdict(got: Plain, expected: Plain) -> Difference | None:
        sentences = (judge(_counts(got), _counts(expected)) for judge in judges)
        return next((Difference("traffic", each) for each in sentences if each), None)

    return verdict


def few_sectors(got: Counts, ours: Counts) -> str | None:
    """Whether the global reads move about as few sectors as ours."""
    limit = int(SLACK * ours["sectors"])
    if got["sectors"] <= limit:
        return None
    a_request = got["sectors"] / max(1, got["requests"])
    return (
        f"The reads of a and b move {got['sectors']} sectors of 32 bytes, {a_request:.2f} for each "
        f"request of a warp; {ours['sectors']} are enough."
    )


def few_requests(got: Counts, ours: Counts) -> str | None:
    """Whether the global reads go in vectors."""
    if got["requests"] <= 1.25 * ours["requests"]:
        return None
    return (
        f"The warps read a and b in {got['requests']} requests; in vectors of four floats, "
        f"{ours['requests']} are enough."
    )


def few_shared_bytes(got: Counts, ours: Counts) -> str | None:
    """Whether what was read from shared memory is used for as many sums as ours."""
    if got["shared_bytes"] <= SLACK * ours["shared_bytes"]:
        return None
    return (
        f"The threads read {got['shared_bytes']} bytes from shared memory; with every value used "
        f"for all sums of a thread that it belongs to, {ours['shared_bytes']} are enough."
    )


def few_conflicts(share: float) -> Callable[[Counts, Counts], str | None]:
    """Whether bank conflicts add at most this share to the passes of shared memory."""

    def judge(got: Counts, ours: Counts) -> str | None:
        if got["conflicts"] <= share * got["passes"]:
            return None
        return (
            f"Shared memory needs {got['passes']} passes and {got['conflicts']} more because of "
            f"bank conflicts; {ours['conflicts']} are enough, and up to {share:.0%} more passes "
            "are accepted."
        )

    return judge


def values_of(slot: TextSlot, case: dict, rng: np.random.Generator) -> Plain:
    """The product of random matrices with elements of size 1 / inner together."""
    a = rng.standard_normal((case["rows"], case["inner"])).astype(np.float32)
    b = rng.standard_normal((case["inner"], case["columns"])) / max(1.0, np.sqrt(case["inner"]))
    return multiply(slot, a, b.astype(np.float32), JUDGED)[0]


def counts_of(slot: TextSlot, case: dict) -> Counts:
    """What a product of ones moved."""
    a = np.ones((case["rows"], case["inner"]), np.float32)
    b = np.ones((case["inner"], case["columns"]), np.float32)
    _, seen = multiply(slot, a, b, JUDGED, checks="all")
    read, shared = seen.total("global", "read"), seen.total("shared")
    return {
        "sectors": read.sectors,
        "requests": read.requests,
        "shared_bytes": seen.total("shared", "read").bytes,
        "passes": shared.least_wavefronts,
        "conflicts": shared.bank_conflicts,
    }


@probe(
    "3.5 matmul_naive",
    cases=[
        product_case("8 x 4 times 4 x 32: one block", 1, 8, 4, 32),
        product_case("11 x 5 times 5 x 37", 2, 11, 5, 37),
        product_case("nothing to add up", 3, 3, 0, 5),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def matmul_naive_values(case: dict, rng: np.random.Generator) -> Plain:
    """The product."""
    return values_of(matmul.matmul_naive, case, rng)


@probe(
    "3.5 matmul_naive",
    cases=[count_case("sectors of 32 x 16 times 16 x 32", 32, 16, 32)],
    verdict=enough(few_sectors),
    seconds=SECONDS,
)
def matmul_naive_traffic(case: dict, rng: np.random.Generator) -> Plain:
    """What was moved."""
    return counts_of(matmul.matmul_naive, case)


@probe(
    "3.5 matmul_tiled",
    cases=[
        product_case("16 x 32 times 32 x 16: one tile, two steps", 1, 16, 32, 16),
        product_case("19 x 21 times 21 x 35", 2, 19, 21, 35),
        product_case("one element", 3, 1, 1, 1),
        product_case("nothing to add up", 4, 3, 0, 5),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def matmul_tiled_values(case: dict, rng: np.random.Generator) -> Plain:
    """The product."""
    return values_of(matmul.matmul_tiled, case, rng)


@probe(
    "3.5 matmul_tiled",
    cases=[count_case("traffic of 48 x 32 times 32 x 64", 48, 32, 64)],
    verdict=enough(few_sectors, few_conflicts(0.1)),
    seconds=SECONDS,
)
def matmul_tiled_traffic(case: dict, rng: np.random.Generator) -> Plain:
    """What was moved, and what waited for a bank."""
    return counts_of(matmul.matmul_tiled, case)


@probe(
    "3.5 matmul_registers",
    cases=[
        product_case("32 x 16 times 16 x 64: one tile, two steps", 1, 32, 16, 64),
        product_case("37 x 20 times 20 x 76", 2, 37, 20, 76),
        product_case("one row, four columns", 3, 1, 4, 4),
        product_case("nothing to add up", 4, 3, 0, 8),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def matmul_registers_values(case: dict, rng: np.random.Generator) -> Plain:
    """The product, by blocks of 16 x 8 threads, with tiles of 32 x 64 and steps of 8."""
    return values_of(matmul.matmul_registers, case, rng)


@probe(
    "3.5 matmul_registers",
    cases=[count_case("traffic of 64 x 32 times 32 x 128", 64, 32, 128)],
    verdict=enough(few_requests, few_sectors, few_shared_bytes, few_conflicts(1 / 3)),
    seconds=SECONDS,
)
def matmul_registers_traffic(case: dict, rng: np.random.Generator) -> Plain:
    """What was moved, in how many requests, and what was read from shared memory."""
    return counts_of(matmul.matmul_registers, case)


@probe(
    "3.5 predicted_bytes",
    cases=[
        bytes_case("4 x 4 tiles of 16 x 16", 64, 64, 64, 16, 16),
        bytes_case("tiles of 32 x 64 on 100 x 24 times 24 x 300", 100, 24, 300, 32, 64),
        bytes_case("one tile larger than c", 5, 7, 3, 64, 64),
        bytes_case("nothing to add up", 8, 0, 8, 4, 4),
    ],
)
def predicted_bytes_values(case: dict, rng: np.random.Generator) -> Plain:
    """The prediction."""
    return matmul.predicted_bytes(**case)


def _counts(value: Plain) -> Counts:
    names = ("sectors", "requests", "shared_bytes", "passes", "conflicts")
    if not isinstance(value, dict) or any(type(value.get(name)) is not int for name in names):
        raise TypeError("expected counts")
    return {name: int(value[name]) for name in names}
