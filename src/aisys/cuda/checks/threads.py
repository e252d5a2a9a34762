"""Probes of 3.1: what the kernels compute, and what their threads touch for it."""

import math

import numpy as np

from aisys.course import Case, Difference, Plain, probe
from aisys.cuda import threads
from aisys.cuda.devices import launch
from aisys.cuda.emulator import Launch

from .limits import first_of, moved, part, too_many_sectors

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 1e-5
"""Tolerance, relative and absolute, of float32 numbers of size 1: two or three operations."""
SECTOR_SLACK = 1.3
"""So many times the reference's sectors are enough: one that begins in mid-sector moves five."""
MOST_SHARE = 1.5
"""So many times its part of the work the first block may have."""


def vector_case(name: str, seed: int, n: int, block: int) -> Case:
    """A case of `vector_add`: n elements in blocks of this many threads."""
    return Case(name, {"n": n, "block": block}, seed)


def grid_case(name: str, seed: int, n: int, grid: int, block: int, weight: float = 1.0) -> Case:
    """A case of a kernel that takes any grid."""
    return Case(name, {"n": n, "grid": grid, "block": block}, seed, weight)


def image_case(name: str, seed: int, rows: int, columns: int, block: list[int]) -> Case:
    """A case of `greyscale`: an image of this size in blocks of [threads in x, threads in y]."""
    return Case(name, {"rows": rows, "columns": columns, "block": block}, seed)


def shape_case(name: str, elements: int, block: int, multiprocessors: int, each: int) -> Case:
    """A case of `launch_shape`."""
    inputs = {"elements": elements, "block": block, "multiprocessors": multiprocessors}
    return Case(name, {**inputs, "blocks_each": each})


def traffic(seen: Launch) -> Plain:
    """What a launch moves between global memory and its threads."""
    return {"reads": moved(seen, "read"), "writes": moved(seen, "write")}


def few_sectors(got: Plain, expected: Plain) -> Difference | None:
    """A verdict on `traffic`: at most `SECTOR_SLACK` times the reference's."""
    return first_of(
        *(
            ("sectors", too_many_sectors(what, part(got, what), part(expected, what), SECTOR_SLACK))
            for what in ("reads", "writes")
        )
    )


@probe(
    "3.1 launch_shape",
    cases=[
        shape_case("1,000 elements in blocks of 256", 1000, 256, 108, 8),
        shape_case("a multiple of the block", 1024, 256, 108, 8),
        shape_case("more than are resident at once", 10_000_000, 256, 108, 8),
        shape_case("one element", 1, 128, 20, 16),
        shape_case("no elements", 0, 128, 20, 16),
        shape_case("a block of 2,048 threads", 5000, 2048, 108, 1),
        shape_case("-1 elements", -1, 256, 108, 8),
    ],
)
def launch_shape_values(case: dict, rng: np.random.Generator) -> Plain:
    """The number of blocks, or the error's type."""
    try:
        return threads.launch_shape(**case)
    except ValueError as error:
        return {"error": type(error).__name__}


@probe(
    "3.1 vector_add",
    cases=[
        vector_case("128 elements, one block", 1, 128, 128),
        vector_case("1,000 elements in blocks of 256", 2, 1000, 256),
        vector_case("one element", 3, 1, 32),
        vector_case("77 elements in blocks of 48, no multiple of a warp", 4, 77, 48),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def vector_add_values(case: dict, rng: np.random.Generator) -> Plain:
    """The sum of random vectors, with NaN where nothing was written."""
    return _vector_add(case, rng)[0]


@probe(
    "3.1 vector_add",
    cases=[vector_case("2,048 elements in blocks of 128", 5, 2048, 128)],
    verdict=few_sectors,
    seconds=SECONDS,
)
def vector_add_sectors(case: dict, rng: np.random.Generator) -> Plain:
    """Requests and sectors."""
    return traffic(_vector_add(case, rng)[1])


@probe(
    "3.1 saxpy",
    cases=[
        grid_case("a thread for each of 256 elements", 1, 256, 2, 128),
        grid_case("1,000 elements, 64 threads", 2, 1000, 1, 64),
        grid_case("500 elements, 3 blocks of 96 threads", 3, 500, 3, 96),
        grid_case("more threads than elements", 4, 40, 3, 64),
        grid_case("one thread", 5, 7, 1, 1),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def saxpy_values(case: dict, rng: np.random.Generator) -> Plain:
    """y after the kernel."""
    return _saxpy(case, rng)[0]


@probe(
    "3.1 saxpy",
    cases=[grid_case("4,096 elements, 4 blocks of 64 threads", 6, 4096, 4, 64)],
    verdict=few_sectors,
    seconds=SECONDS,
)
def saxpy_sectors(case: dict, rng: np.random.Generator) -> Plain:
    """Requests and sectors."""
    return traffic(_saxpy(case, rng)[1])


def fair_share(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: the first block has its part of the work, or up to `MOST_SHARE` times as much."""
    share, even = _share(got), _share(expected)
    if share <= MOST_SHARE * even:
        return None
    message = f"the first block runs {share:.0%} of the steps; its part would be {even:.0%}."
    return Difference("share", message)


@probe(
    "3.1 saxpy",
    cases=[grid_case("the first of 8 blocks", 7, 4096, 8, 64)],
    verdict=fair_share,
    seconds=SECONDS,
)
def saxpy_share(case: dict, rng: np.random.Generator) -> Plain:
    """The first block's share of what all warps do."""
    seen = _saxpy(case, rng)[1]
    first = sum(sum(stretch) for stretch in seen.timeline)
    return {"share": first / sum(each.steps for each in seen.steps)}


@probe(
    "3.1 greyscale",
    cases=[
        image_case("64 x 32 pixels, whole blocks", 1, 64, 32, [32, 4]),
        image_case("25 x 40 pixels in blocks of 16 x 8", 2, 25, 40, [16, 8]),
        image_case("one row of 70", 3, 1, 70, [32, 2]),
        image_case("one pixel", 4, 1, 1, [8, 8]),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def greyscale_values(case: dict, rng: np.random.Generator) -> Plain:
    """The grey image of random colours, with NaN where nothing was written."""
    return _greyscale(case, rng)[0]


@probe(
    "3.1 greyscale",
    cases=[image_case("32 x 64 pixels in blocks of 32 x 16", 5, 32, 64, [32, 16])],
    verdict=few_sectors,
    seconds=SECONDS,
)
def greyscale_sectors(case: dict, rng: np.random.Generator) -> Plain:
    """Requests and sectors."""
    return traffic(_greyscale(case, rng)[1])


def _vector_add(case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    n, block = case["n"], case["block"]
    a, b = rng.standard_normal((2, n), np.float32)
    result = np.full(n, np.nan, np.float32)
    return result, launch(threads.vector_add, math.ceil(n / block), block, a, b, result, n)


def _saxpy(case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    n = case["n"]
    x, y = rng.standard_normal((2, n), np.float32)
    factor = float(rng.uniform(1, 3))
    return y, launch(threads.saxpy, case["grid"], case["block"], factor, x, y, n)


def _greyscale(case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    rows, columns, (wide, high) = case["rows"], case["columns"], case["block"]
    image = rng.uniform(0, 1, (3, rows, columns)).astype(np.float32)
    grey = np.full((rows, columns), np.nan, np.float32)
    grid = (math.ceil(columns / wide), math.ceil(rows / high))
    return grey, launch(threads.greyscale, grid, (wide, high), image, grey, rows, columns)


def _share(value: Plain) -> float:
    if not isinstance(value, dict) or not isinstance(value.get("share"), float):
        raise TypeError("expected a share")
    return value["share"]
