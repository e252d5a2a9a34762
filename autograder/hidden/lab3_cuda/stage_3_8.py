"""Stage 3.8: hidden cases, mistakes and alternatives of the prediction and the choice."""

import numpy as np

from aisys.course import Case
from aisys.cuda.checks.tuning import TileSizes, choice_case, time_case
from aisys.cuda.gpus import GPUS
from aisys.cuda.matmul import Tile
from aisys.cuda.tuning import predicted_seconds
from autograder.catalogue import Alternative, Mistake

CLEAR = 1.001
"""The second best tile of a case takes at least so many times as long as the best."""
SHAPES: tuple[TileSizes, ...] = tuple(
    (rows, columns, depth, high)
    for rows in (16, 32, 64, 128)
    for columns in (32, 64, 128)
    for depth in (8, 16, 32)
    for high in (2, 4, 8)
    if 32 <= rows // high * (columns // 4) <= 1024
)
TOO_LARGE: TileSizes = (256, 256, 8, 16)


def _tile(rng: np.random.Generator) -> TileSizes:
    return SHAPES[int(rng.integers(len(SHAPES)))]


def _sizes(rng: np.random.Generator, least: int, most: int) -> tuple[int, int, int]:
    rows, inner, columns = (4 * int(n) for n in rng.integers(least // 4, most // 4, 3))
    return rows, inner, columns


def times(rng: np.random.Generator) -> list[Case]:
    """Small and large products on every machine, few bytes in flight, and too big a block."""
    cases = []
    for number, machine in enumerate(rng.permutation(sorted(GPUS)).tolist()):
        sizes = _sizes(rng, 100, 700) if number < 2 else _sizes(rng, 1000, 6000)
        name = f"hidden {number + 1}: {machine}, {' x '.join(map(str, sizes))}"
        cases.append(time_case(name, machine, _tile(rng), sizes))
    narrow = (96, 4 * int(rng.integers(500, 900)), 64)
    few = time_case("hidden 6: few bytes in flight", "H100", (32, 32, 4, 4), narrow)
    alone = time_case(
        "hidden 7: one resident block", "A100", (128, 128, 16, 8), _sizes(rng, 2500, 6000)
    )
    return [*cases, few, alone, time_case("hidden 8: no room", "T4", TOO_LARGE, (512, 512, 512))]


def choices(rng: np.random.Generator) -> list[Case]:
    """Five or six tiles, one that does not fit, and a clear best that is not the first."""
    cases: list[Case] = []
    while len(cases) < 5:
        machine = str(rng.choice(sorted(GPUS)))
        tiles = [_tile(rng) for _ in range(5)]
        sizes = _sizes(rng, 200, 600) if len(cases) % 2 else _sizes(rng, 1500, 5000)
        if not _is_clear(machine, tiles, sizes):
            continue
        if len(cases) > 1:
            tiles.insert(int(rng.integers(5)), TOO_LARGE)
        cases.append(choice_case(f"hidden {len(cases) + 1}: {machine}", machine, tiles, sizes))
    return [*cases, choice_case("hidden 6: none fits", "H100", [TOO_LARGE], (512, 512, 512))]


def _is_clear(machine: str, tiles: list[TileSizes], sizes: tuple[int, int, int]) -> bool:
    seconds = []
    for tile in tiles:
        found = predicted_seconds(GPUS[machine], Tile(*tile), *sizes)
        seconds.append(found["seconds"])
    first, second = sorted(seconds)[:2]
    return CLEAR * first < second < float("inf") and seconds[0] != first


CASES = {"predicted_seconds_values": times, "choose_tile_values": choices}

MISTAKES = [
    Mistake(
        "3.8 predicted_seconds",
        "the blocks spread evenly to a fraction",
        hint="A block runs on one multiprocessor. With 109 blocks on 108 of them, "
        "one has two blocks, and the others wait for it.",
        replace={
            "busiest = -(-blocks // machine.multiprocessors)": (
                "busiest = blocks / machine.multiprocessors"
            )
        },
    ),
    Mistake(
        "3.8 predicted_seconds",
        "a tile at the edge takes only what it needs",
        hint="The threads outside of c multiply zeros, and they take as long for it "
        "as the others. The same holds for the last step along inner.",
        replace={"steps = -(-inner // tile.depth) * tile.depth": "steps = inner"},
    ),
    Mistake(
        "3.8 predicted_seconds",
        "full bandwidth, however little is in flight",
        hint='"memory": how many bytes are on their way at a time? '
        "The full bandwidth needs bandwidth x LATENCY of them.",
        replace={
            "reached = machine.bandwidth * min(1.0, in_flight / (machine.bandwidth * LATENCY))": (
                "reached = machine.bandwidth + 0 * in_flight * LATENCY"
            )
        },
    ),
    Mistake(
        "3.8 predicted_seconds",
        "more blocks in flight than there are",
        hint='"memory": a machine has room for many blocks. '
        "How many are resident where the product has only a few?",
        replace={
            "min(blocks, room * machine.multiprocessors) * tile.shared_bytes": (
                "room * machine.multiprocessors * tile.shared_bytes"
            )
        },
    ),
    Mistake(
        "3.8 predicted_seconds",
        "a block that is alone overlaps with itself",
        hint='"seconds": what does a multiprocessor do while its only block waits for memory?',
        replace={
            "seconds = memory + max(compute, shared)": "seconds = max(memory, compute, shared)"
        },
    ),
    Mistake(
        "3.8 predicted_seconds",
        "0 blocks taken for a prediction",
        hint="Where the registers do not suffice for a single block, `occupancy` does not raise "
        "an error but says 0 blocks.",
        replace={"    if room == 0:\n": "    if room < 0:\n"},
    ),
    Mistake(
        "3.8 choose_tile",
        "the largest tile taken",
        hint="A larger tile moves fewer bytes, but there are fewer blocks, and they need more "
        "room. Compare the predicted times.",
        source="""
def choose_tile(machine, tiles, rows, inner, columns):
    fitting = []
    for tile in tiles:
        if predicted_seconds(machine, tile, rows, inner, columns)["seconds"] < float("inf"):
            fitting.append(tile)
    if not fitting:
        raise CourseError("none fits")
    return max(fitting, key=lambda tile: tile.rows * tile.columns)
""",
    ),
    Mistake(
        "3.8 choose_tile",
        "the least traffic taken",
        hint="Memory is one of three resources. Which of the times says how long it takes in all?",
        replace={'columns)["seconds"]': 'columns)["memory"]'},
    ),
    Mistake(
        "3.8 choose_tile",
        "a tile that does not fit is chosen where nothing else is there",
        hint="What should come back where the predicted time of every tile is infinite?",
        replace={'best, least = None, float("inf")': 'best, least = tiles[0], float("inf")'},
    ),
]

ALTERNATIVES = [
    Alternative(
        "3.8 predicted_seconds",
        """
def predicted_seconds(machine, tile, rows, inner, columns):
    import math

    never = {name: math.inf for name in ("seconds", "memory", "shared", "compute")}
    try:
        fits = occupancy(machine.architecture, tile.threads, tile.shared_bytes, tile.registers)
    except CourseError:
        return never
    if not fits.blocks:
        return never
    count = math.ceil(rows / tile.rows) * math.ceil(columns / tile.columns)
    waves = math.ceil(count / machine.multiprocessors)
    k = math.ceil(inner / tile.depth) * tile.depth
    cycles = waves * k * tile.rows * tile.columns * machine.multiprocessors
    times = {
        "compute": cycles * 2 / machine.flops,
        "shared": waves * k * tile.threads * 4 * (tile.high + 4)
        * machine.multiprocessors / machine.shared_bandwidth,
    }
    flying = min(count, fits.blocks * machine.multiprocessors) * tile.shared_bytes
    moved = predicted_bytes(rows, inner, columns, tile.rows, tile.columns)
    times["memory"] = moved / min(machine.bandwidth, flying / LATENCY)
    alone = fits.blocks == 1 or waves == 1
    busy = max(times["compute"], times["shared"])
    times["seconds"] = times["memory"] + busy if alone else max(times["memory"], busy)
    return times
""",
    ),
    Alternative(
        "3.8 choose_tile",
        """
def choose_tile(machine, tiles, rows, inner, columns):
    def seconds(tile):
        return predicted_seconds(machine, tile, rows, inner, columns)["seconds"]

    found = min(tiles, key=seconds)
    if seconds(found) == float("inf"):
        raise CourseError("no tile fits")
    return found
""",
    ),
]
