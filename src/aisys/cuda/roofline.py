"""The roofline: what a kernel's arithmetic intensity lets a machine reach.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aisys.course.plotting import COLOURS, figure, finish

from .gpus import GPU

MARKERS = ("o", "s", "^", "D", "v")


def attainable(machine: GPU, intensity: float) -> float:
    """Operations a second that the memory, or else the arithmetic, allows at most.

    Args:
        machine: The GPU.
        intensity: Floating-point operations for each byte of memory moved.
    """
    return min(machine.flops, machine.bandwidth * intensity)


def ridge(machine: GPU) -> float:
    """The intensity, in FLOP a byte, from which on the memory is no limit."""
    return machine.flops / machine.bandwidth


def draw_roofline(
    machine: GPU,
    intensities: Mapping[str, float],
    measured: Mapping[str, float] | None = None,
    axes: Any = None,
) -> Any:
    """The roof of a machine, and where kernels stand under it.

    Args:
        machine: The GPU.
        intensities: FLOP a byte by the kernel's name.
        measured: FLOP a second by the kernel's name, where they were measured; without, the roof
            over each kernel is marked.
        axes: Where to draw; by default a new figure.
    """
    axes = axes if axes is not None else figure()
    least, most = min(intensities.values()), max(intensities.values())
    x = np.geomspace(min(0.25, least / 2), max(4 * ridge(machine), 2 * most), 200)
    roof = [attainable(machine, each) / 1e12 for each in x]
    axes.plot(x, roof, color="black", marker="", label=f"roof of the {machine.name}")
    for number, (name, intensity) in enumerate(intensities.items()):
        colour = COLOURS[1 + number % (len(COLOURS) - 1)]
        top = attainable(machine, intensity) / 1e12
        at = measured[name] / 1e12 if measured else top
        axes.plot([intensity] * 2, [roof[0] / 4, top], color=colour, linestyle=":", marker="")
        axes.plot(
            intensity, at, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=8,
            linestyle="", fillstyle="full" if measured else "none",
            label=f"{name}: {intensity:.3g} FLOP/byte, "
            f"{'measured' if measured else 'at most'} {at:.3g} TFLOP/s",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(roof[0] / 4, 60 * roof[-1]))
    shown = ", ".join(f"{each:.3g}" for each in intensities.values())
    finish(
        axes,
        title=f"Counted intensities {shown} FLOP/byte;\n"
        f"from {ridge(machine):.1f} on, the {machine.name}'s memory is fast enough",
        x="arithmetic intensity (FLOP/byte)",
        y="TFLOP/s",
    )
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return axes
