"""Probes of 3.8: the time that a tile is predicted to take, and the tile that is chosen."""

import numpy as np

from aisys.course import Case, Plain, probe
from aisys.course.errors import CourseError, Hole
from aisys.cuda import tuning
from aisys.cuda.gpus import GPUS
from aisys.cuda.matmul import Tile

Sizes = tuple[int, int, int]
TileSizes = tuple[int, int, int, int]


def time_case(name: str, machine: str, tile: TileSizes, sizes: Sizes) -> Case:
    """A case of the prediction: a machine's name, a tile, and rows, inner, columns."""
    return Case(name, {"machine": machine, "tile": list(tile), "sizes": list(sizes)})


def choice_case(name: str, machine: str, tiles: list[TileSizes], sizes: Sizes) -> Case:
    """A case of the choice."""
    inputs = {"machine": machine, "tiles": [list(tile) for tile in tiles], "sizes": list(sizes)}
    return Case(name, inputs)


@probe(
    "3.8 predicted_seconds",
    cases=[
        time_case("A100, large: 64 x 64 tiles", "A100", (64, 64, 16, 4), (2048, 2048, 2048)),
        time_case("A100, large: 32 x 32 tiles", "A100", (32, 32, 16, 4), (4096, 4096, 4096)),
        time_case("A100: few tiles", "A100", (64, 64, 16, 4), (512, 512, 512)),
        time_case("A100: edges on all sides", "A100", (64, 128, 16, 8), (1000, 1004, 1012)),
        time_case("RTX 4090: one resident block", "RTX 4090", (128, 128, 16, 8), (3000, 512, 4000)),
        time_case("V100: few bytes in flight", "V100", (32, 32, 4, 4), (128, 4096, 128)),
        time_case("T4: too little shared memory", "T4", (128, 64, 96, 8), (64, 64, 64)),
        time_case("A100: too few registers", "A100", (256, 256, 8, 16), (512, 512, 512)),
    ],
    rtol=1e-6,
    atol=1e-15,
)  # fmt: skip
def predicted_seconds_values(case: dict, rng: np.random.Generator) -> Plain:
    """The four times."""
    return tuning.predicted_seconds(GPUS[case["machine"]], Tile(*case["tile"]), *case["sizes"])


@probe(
    "3.8 choose_tile",
    cases=[
        choice_case(
            "A100, small: small tiles for many blocks", "A100",
            [(64, 64, 16, 4), (32, 32, 16, 4), (128, 128, 16, 8)], (300, 512, 400),
        ),
        choice_case(
            "T4, large: large tiles for fewer bytes", "T4",
            [(32, 32, 16, 4), (64, 64, 16, 4), (64, 128, 16, 8)], (4096, 4096, 4096),
        ),
        choice_case(
            "some do not fit", "A100",
            [(256, 256, 8, 16), (256, 256, 16, 4), (32, 64, 16, 4)], (2048, 256, 2048),
        ),
        choice_case("none fits", "A100", [(256, 256, 8, 16)], (512, 512, 512)),
    ],
)  # fmt: skip
def choose_tile_values(case: dict, rng: np.random.Generator) -> Plain:
    """The tile's four numbers."""
    tiles = [Tile(*sizes) for sizes in case["tiles"]]
    try:
        chosen = tuning.choose_tile(GPUS[case["machine"]], tiles, *case["sizes"])
    except Hole:
        raise
    except CourseError:
        return {"error": "CourseError"}
    return [chosen.rows, chosen.columns, chosen.depth, chosen.high]
