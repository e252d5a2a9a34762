"""What the rows of an operator table are for, and a picture of the calls inside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from aisys.autodiff.profiling import Event, OperatorRow, parents
from aisys.course.plotting import COLOURS, HATCHES, figure

CONVOLUTION, LINEAR, POOLING = "convolution", "linear", "pooling"
OTHER, BETWEEN = "other operators", "between operators"
GROUPS = (CONVOLUTION, LINEAR, POOLING, OTHER, BETWEEN)

FACES = ("#404040", "#0072b2", "#d55e00", "#8cc8ee", "#ffffff")
"""A face for each group; with the hatches they differ in a black-and-white print too."""


def group_of(name: str) -> str:
    """What an operator is for, by its name.

    "Between operators" is the self time of phases, of the optimizer and of the engine that walks
    the graph backwards: Python, and PyTorch's own bookkeeping.
    """
    if not name.startswith("aten::"):
        return BETWEEN
    if "conv" in name:
        return CONVOLUTION
    if "pool" in name:
        return POOLING
    if name in ("aten::mm", "aten::addmm", "aten::linear", "aten::t", "aten::matmul"):
        return LINEAR
    return OTHER


def operator_mix(table: Mapping[str, OperatorRow]) -> dict[str, int]:
    """The self time of each group, in nanoseconds; together they are the time that was traced."""
    mix = dict.fromkeys(GROUPS, 0)
    for name, row in table.items():
        mix[group_of(name)] += row.self_time
    return mix


def face(group: str) -> dict[str, Any]:
    """How an area of a group is drawn."""
    place = GROUPS.index(group)
    hatch = HATCHES[place] if place < len(GROUPS) - 1 else ""
    return {"facecolor": FACES[place], "hatch": hatch, "edgecolor": COLOURS[0], "linewidth": 0.5}


def draw_timeline(events: Sequence[Event], axes: Axes | None = None) -> Axes:
    """Draw events as bars over time, each below the one that called it.

    Args:
        events: Of one thread, such as those of one training step.
        axes: Where to draw; a new figure if left out.

    Returns:
        The axes; time is in milliseconds from the first event.
    """
    axes = figure(8.0, 3.4) if axes is None else axes
    begin = min(each.start for each in events)
    length = max(each.end for each in events) - begin
    parent_of = parents(events)
    depth: dict[int, int] = {}
    for index in sorted(range(len(events)), key=lambda i: (events[i].start, -events[i].end)):
        above = parent_of[index]
        depth[index] = 0 if above is None else depth[above] + 1
    for group in GROUPS:
        axes.broken_barh([], (0, 0), label=group, **face(group))
    for index, event in enumerate(events):
        span = ((event.start - begin) / 1e6, (event.end - event.start) / 1e6)
        axes.broken_barh([span], (depth[index] - 0.45, 0.9), **face(group_of(event.name)))
        name = event.name.removeprefix("aten::")
        if span[1] > 0.009 * len(name) * length / 1e6:
            axes.text(
                span[0] + span[1] / 2,
                depth[index],
                name,
                ha="center",
                va="center",
                fontsize=6,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )
    axes.set_xlim(-0.01 * length / 1e6, 1.01 * length / 1e6)
    axes.set_ylim(max(depth.values()) + 0.6, -0.6)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    return axes
