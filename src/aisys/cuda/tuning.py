"""Stage 3.8, tuning: how long a tile takes by what it needs of each resource, and the best tile.

Read `gpus` first, and `emulator.occupancy`.
"""

from collections.abc import Sequence

from aisys.course import exercise
from aisys.course.errors import CourseError

from .emulator import occupancy
from .gpus import GPU
from .matmul import FLOAT_BYTES, VECTOR, Tile, predicted_bytes

LATENCY = 500e-9
"""Seconds from a load to its data, under load. An assumption: a round figure for all machines."""

TILES = (
    Tile(32, 32, 16, 4),
    Tile(32, 64, 16, 4),
    Tile(64, 64, 16, 4),
    Tile(64, 64, 16, 8),
    Tile(64, 128, 16, 8),
    Tile(128, 128, 16, 8),
    Tile(128, 128, 16, 16),
    Tile(256, 128, 16, 16),
)
"""What `choose_tile` may choose from in the experiments."""


@exercise("3.8", points=3)
def predicted_seconds(
    machine: GPU, tile: Tile, rows: int, inner: int, columns: int
) -> dict[str, float]:
    """How long `matmul_registers` takes with a tile, by what it needs of each resource.

    The blocks, one for each tile of c, [rows, columns], are dealt out evenly, so the busiest
    multiprocessor gets ceil(blocks / multiprocessors) of them. A tile at the edge takes as long
    as a whole one, and so does the last step of `tile.depth` along inner. Of what the whole
    machine can do, `machine.flops` and `machine.shared_bandwidth`, each multiprocessor has an
    equal share.

    - "compute": the floating-point operations of the busiest multiprocessor, two for each
      multiply-add, at its share of the flops.
    - "shared": the bytes that its threads read from shared memory, at its share of that bandwidth.
      For each k, a thread reads VECTOR + tile.high floats for its VECTOR x tile.high sums.
    - "memory": `predicted_bytes` of the product, at the bandwidth that is reached. In flight are
      the tiles of one step, `tile.shared_bytes`, of each block that is resident. A multiprocessor
      has room for `occupancy(...).blocks` (with tile.threads, tile.shared_bytes and
      tile.registers), the machine for that many on each, and more than there are cannot be
      resident. The full bandwidth needs bandwidth x LATENCY bytes in flight (Little's law); with
      fewer, the same share of it is reached.
    - "seconds": where two or more blocks are together on the busiest multiprocessor, one computes
      while another one waits for memory, and the largest of the three counts. A block that is
      alone waits and computes in turn: "memory" plus the larger of the other two.

    Args:
        machine: The GPU.
        tile: The tile of a block.
        rows: Of a and c.
        inner: Columns of a, rows of b.
        columns: Of b and c.

    Returns:
        The four times by name, in seconds. All of them are infinite where a multiprocessor has no
        room for a block: `occupancy` raises CourseError then, or says 0 blocks.
    """
    try:
        fits = occupancy(machine.architecture, tile.threads, tile.shared_bytes, tile.registers)
        room = fits.blocks
    except CourseError:
        room = 0
    if room == 0:
        return dict.fromkeys(("compute", "shared", "memory", "seconds"), float("inf"))
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    busiest = -(-blocks // machine.multiprocessors)
    steps = -(-inner // tile.depth) * tile.depth

    sums = busiest * tile.rows * tile.columns * steps
    compute = 2 * sums / (machine.flops / machine.multiprocessors)
    reads = sums / (VECTOR * tile.high) * (VECTOR + tile.high) * FLOAT_BYTES
    shared = reads / (machine.shared_bandwidth / machine.multiprocessors)

    in_flight = min(blocks, room * machine.multiprocessors) * tile.shared_bytes
    reached = machine.bandwidth * min(1.0, in_flight / (machine.bandwidth * LATENCY))
    memory = predicted_bytes(rows, inner, columns, tile.rows, tile.columns) / reached

    if min(room, busiest) >= 2:
        seconds = max(memory, compute, shared)
    else:
        seconds = memory + max(compute, shared)
    return {"compute": compute, "shared": shared, "memory": memory, "seconds": seconds}


@exercise("3.8", points=2)
def choose_tile(machine: GPU, tiles: Sequence[Tile], rows: int, inner: int, columns: int) -> Tile:
    """The tile with which a product takes the least time, by `predicted_seconds`.

    Args:
        machine: The GPU.
        tiles: What there is to choose from.
        rows: Of a and c.
        inner: Columns of a, rows of b.
        columns: Of b and c.

    Returns:
        One of the tiles; where several take the same time, the first of them.

    Raises:
        CourseError: Each of the tiles takes infinitely long.
    """
    best, least = None, float("inf")
    for tile in tiles:
        seconds = predicted_seconds(machine, tile, rows, inner, columns)["seconds"]
        if seconds < least:
            best, least = tile, seconds
    if best is None:
        raise CourseError(f"None of {len(tiles)} tiles fits on {machine.name}.")
    return best
