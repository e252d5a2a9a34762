"""GPUs by their published figures, and the GPU that is here by what its driver says.

NVIDIA's architecture white papers: Tesla V100 (2017), Turing (2018), A100 (2020), Ada (2022), H100
(2022). Rates are for float32 without tensor cores.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from .emulator import ARCHITECTURES
from .gpu import has_gpu

LANES = {"sm_70": 64, "sm_75": 64, "sm_80": 64, "sm_86": 128, "sm_89": 128, "sm_90": 128}
"""Multiply-adds that a multiprocessor begins in a cycle."""
BANK_BYTES = 32 * 4
"""What a multiprocessor's shared memory delivers in a cycle: 32 banks, a word each."""


@dataclass(frozen=True)
class GPU:
    """What a GPU can do at most.

    Attributes:
        name: Its name.
        architecture: A name in `emulator.ARCHITECTURES`.
        multiprocessors: How many it has.
        clock: Cycles a second.
        bandwidth: Of its memory, in bytes a second.
    """

    name: str
    architecture: str
    multiprocessors: int
    clock: float
    bandwidth: float

    @property
    def flops(self) -> float:
        """Floating-point operations a second, of all multiprocessors; a multiply-add is two."""
        return 2.0 * LANES[self.architecture] * self.multiprocessors * self.clock

    @property
    def shared_bandwidth(self) -> float:
        """Bytes a second out of shared memory, of all multiprocessors."""
        return float(BANK_BYTES) * self.multiprocessors * self.clock


GPUS = {
    machine.name: machine
    for machine in (
        GPU("V100", "sm_70", 80, 1.53e9, 900e9),
        GPU("T4", "sm_75", 40, 1.59e9, 320e9),
        GPU("A100", "sm_80", 108, 1.41e9, 1555e9),
        GPU("RTX 4090", "sm_89", 128, 2.52e9, 1008e9),
        GPU("H100", "sm_90", 132, 1.98e9, 3350e9),
    )
}


def gpu_here() -> GPU | None:
    """The GPU of this computer; None where there is none, or none of a known architecture."""
    if not has_gpu():
        return None
    cupy = importlib.import_module("cupy")
    device = cupy.cuda.Device()
    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"]
    return from_attributes(
        name.decode() if isinstance(name, bytes) else str(name),
        str(device.compute_capability),
        device.attributes,
    )


def from_attributes(name: str, capability: str, attributes: Mapping[str, int]) -> GPU | None:
    """A machine from what the CUDA runtime says of a device.

    Args:
        name: The device's name.
        capability: Its compute capability, such as `"80"`.
        attributes: Its attributes by the runtime's names; clocks in kHz, the bus in bits.

    Returns:
        The machine, or None where its architecture is not in `emulator.ARCHITECTURES` or an
        attribute is missing.
    """
    architecture = f"sm_{capability}"
    if architecture not in ARCHITECTURES:
        return None
    try:
        # Memory moves data at both edges of its clock.
        bandwidth = 2e3 * attributes["MemoryClockRate"] * attributes["GlobalMemoryBusWidth"] / 8
        multiprocessors, clock = attributes["MultiProcessorCount"], 1e3 * attributes["ClockRate"]
    except KeyError:
        return None
    return GPU(name, architecture, int(multiprocessors), clock, bandwidth)
