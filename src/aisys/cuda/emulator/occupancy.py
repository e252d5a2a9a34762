"""Occupancy: how many warps of a kernel a multiprocessor has room for, and what runs out first.

The limits are those of NVIDIA, CUDA C++ Programming Guide, appendix "Compute capabilities".
"""

from dataclasses import dataclass

from aisys.course.errors import CourseError


@dataclass(frozen=True)
class Architecture:
    """What one multiprocessor has.

    Attributes:
        warps: The most resident warps.
        blocks: The most resident blocks.
        registers: 32-bit registers.
        shared_bytes: Shared memory for all blocks together, in bytes.
        block_shared_bytes: The most shared memory of one block, in bytes.
        reserved_shared_bytes: Shared memory that the system takes of each block, in bytes.
    """

    warps: int
    blocks: int
    registers: int
    shared_bytes: int
    block_shared_bytes: int
    reserved_shared_bytes: int


ARCHITECTURES = {
    "sm_70": Architecture(64, 32, 65536, 96 << 10, 96 << 10, 0),
    "sm_75": Architecture(32, 16, 65536, 64 << 10, 64 << 10, 0),
    "sm_80": Architecture(64, 32, 65536, 164 << 10, 163 << 10, 1024),
    "sm_86": Architecture(48, 16, 65536, 100 << 10, 99 << 10, 1024),
    "sm_89": Architecture(48, 24, 65536, 100 << 10, 99 << 10, 1024),
    "sm_90": Architecture(64, 32, 65536, 228 << 10, 227 << 10, 1024),
}
WARP = 32
REGISTER_UNIT, SHARED_UNIT = 256, 128
"""Registers are given to a warp, and shared memory to a block, in multiples of these."""


@dataclass(frozen=True)
class Occupancy:
    """How full a multiprocessor gets.

    Attributes:
        blocks: Blocks that are resident together.
        warps: Their warps.
        share: Of the most warps that the architecture holds.
        limited_by: `"warps"`, `"blocks"`, `"registers"` or `"shared memory"`.
    """

    blocks: int
    warps: int
    share: float
    limited_by: str


def occupancy(
    architecture: str, threads: int, shared_bytes: int = 0, registers: int = 32
) -> Occupancy:
    """The occupancy of a kernel.

    Args:
        architecture: A name in `ARCHITECTURES`, such as `"sm_80"`.
        threads: Of a block.
        shared_bytes: Of a block, static and dynamic, in bytes.
        registers: Of a thread.

    Raises:
        CourseError: The architecture is unknown, or a block does not fit at all.
    """
    if architecture not in ARCHITECTURES:
        raise CourseError(
            f"The architectures are {', '.join(ARCHITECTURES)}; {architecture!r} is none of them."
        )
    has = ARCHITECTURES[architecture]
    if (
        not 1 <= threads <= 1024
        or not 1 <= registers <= 255
        or not 0 <= shared_bytes <= has.block_shared_bytes
    ):
        raise CourseError(
            f"A block of {threads} threads with {registers} registers each and {shared_bytes} "
            "bytes of shared memory does not fit: at most 1024, 255 and "
            f"{has.block_shared_bytes} on {architecture}."
        )
    warps = -(-threads // WARP)
    warp_registers = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    shared = -(-(shared_bytes + has.reserved_shared_bytes) // SHARED_UNIT) * SHARED_UNIT
    room = {
        "warps": has.warps // warps,
        "blocks": has.blocks,
        # Each of four schedulers has a quarter of the registers, so warps are counted in fours.
        "registers": has.registers // warp_registers // 4 * 4 // warps,
        "shared memory": has.shared_bytes // shared if shared else has.blocks,
    }
    limited_by = min(room, key=lambda name: room[name])
    blocks = room[limited_by]
    return Occupancy(blocks, blocks * warps, blocks * warps / has.warps, limited_by)
