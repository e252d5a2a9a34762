"""Stage 3.5, a matrix product three times: an element, a tile, a tile in registers.

The texts stand beside this module; `multiply` launches any of them with the grid that it wants.
"""

from dataclasses import dataclass

import numpy as np

from aisys.course import TextSlot, exercise, text_exercise
from aisys.course.errors import CourseError

from . import devices
from .emulator import Launch

matmul_naive = text_exercise("3.5", "matmul_naive", "matmul_naive.cu", points=1, language="cuda")
matmul_tiled = text_exercise("3.5", "matmul_tiled", "matmul_tiled.cu", points=2, language="cuda")
matmul_registers = text_exercise(
    "3.5", "matmul_registers", "matmul_registers.cu", points=3, language="cuda"
)

FLOAT_BYTES, VECTOR = 4, 4
NAIVE_BLOCK, TILE = (32, 8), 16
REGISTERS = {1: 56, 2: 64, 4: 88, 8: 128, 16: 184}
"""Of a thread of `matmul_registers`, by its rows: the most that ptxas 13.0 takes for sm_80."""


@dataclass(frozen=True)
class Tile:
    """What a block of `matmul_registers` computes, and in which steps.

    Attributes:
        rows: Rows of c.
        columns: Columns of c, a multiple of 4.
        depth: Steps along the inner dimension, a multiple of 4.
        high: Rows that each thread computes, a divisor of `rows`: 1, 2, 4, 8 or 16.
    """

    rows: int = 64
    columns: int = 64
    depth: int = 16
    high: int = 4

    @property
    def block(self) -> tuple[int, int]:
        """Threads of the block in x and y."""
        return self.columns // VECTOR, self.rows // self.high

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return self.block[0] * self.block[1]

    @property
    def shared_bytes(self) -> int:
        """Shared memory of the block for a tile of a and one of b, in bytes."""
        return (self.rows + self.columns) * self.depth * FLOAT_BYTES

    @property
    def registers(self) -> int:
        """Registers of a thread: its sums, what they are made of, and addresses."""
        return REGISTERS[self.high]

    @property
    def kernel(self) -> str:
        """The kernel with its template arguments."""
        return f"matmul_registers<{self.rows}, {self.columns}, {self.depth}, {self.high}>"

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.depth}, {self.high} x {VECTOR} a thread"


@exercise("3.5", points=1)
def predicted_bytes(rows: int, inner: int, columns: int, tile_rows: int, tile_columns: int) -> int:
    """The bytes that a tiled product of float32 matrices moves to and from global memory.

    A block computes a tile of c, [tile_rows, tile_columns]. It reads the tile's rows of a,
    [rows, inner], and its columns of b, [inner, columns], from global memory once, and writes the
    tile of c, [rows, columns], once. Tiles at the edge read and write only what there is.

    Returns:
        Bytes read and written, by all blocks together.
    """
    tiles_down = -(-rows // tile_rows)
    tiles_across = -(-columns // tile_columns)
    # All tiles side by side read the same rows of a, all tiles above each other the same columns.
    from_a = rows * inner * tiles_across
    from_b = inner * columns * tiles_down
    return FLOAT_BYTES * (from_a + from_b + rows * columns)


def multiply(
    slot: TextSlot, a: np.ndarray, b: np.ndarray, tile: Tile | None = None,
    device: str = "emulator", checks: str = "all",
) -> tuple[np.ndarray, Launch]:  # fmt: skip
    """The product a b by one of the three texts.

    Args:
        slot: `matmul_naive`, `matmul_tiled` or `matmul_registers`.
        a: [rows, inner], float32.
        b: [inner, columns], float32.
        tile: Of `matmul_registers`; by default `Tile()`.
        device: `"emulator"` or `"gpu"`.
        checks: See `devices.load`.

    Returns:
        The product [rows, columns], NaN where nothing was written, and what was seen of the launch.

    Raises:
        CourseError: The sizes do not fit the kernel.
        KernelFault: The kernel went wrong.
    """
    (rows, inner), (below, columns) = a.shape, b.shape
    tile = tile or Tile()
    if inner != below:
        raise CourseError(f"a has {inner} columns and b {below} rows; a product needs as many.")
    if slot is matmul_registers and (inner % VECTOR or columns % VECTOR):
        raise CourseError(
            f"matmul_registers takes multiples of {VECTOR} as inner size and columns; "
            f"{inner} and {columns} came."
        )
    block, kernel = {
        "matmul_naive": (NAIVE_BLOCK, None),
        "matmul_tiled": ((TILE, TILE), None),
        "matmul_registers": (tile.block, tile.kernel),
    }[slot.name]
    across, down = (tile.columns, tile.rows) if slot is matmul_registers else block
    c = np.full((rows, columns), np.nan, np.float32)
    grid = (max(1, -(-columns // across)), max(1, -(-rows // down)))
    seen = devices.launch(
        slot, grid, block, a, b, c, rows, inner, columns,
        device=device, checks=checks, kernel=kernel,
    )  # fmt: skip
    return c, seen
