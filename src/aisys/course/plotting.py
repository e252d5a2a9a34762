"""The one style of all plots: small, a title that states the finding, readable in black and white.

A plot is made, filled and finished:

    axes = figure()
    axes.plot(batch_sizes, milliseconds, label="im2col")
    finish(axes, title=f"im2col is {ratio:.0f} times as fast", x="batch size", y="time (ms)")
"""

from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes

COLOURS = ("#000000", "#0072b2", "#d55e00", "#56b4e9", "#404040")
"""In this order, told apart by lightness as well as by hue (after Okabe and Ito)."""

HATCHES = ("", "///", "...", "xxx", "---")
"""For bars and areas, in the order of the colours."""

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(
        color=COLOURS,
        linestyle=("-", "--", "-.", ":", (0, (5, 1))),
        marker=("o", "s", "^", "D", "v"),
    ),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


def figure(width: float = 6.4, height: float = 3.4) -> Axes:
    """A new figure's axes in the course's style.

    Args:
        width: Of the figure, in inches.
        height: Of the figure, in inches.
    """
    return figures(1, width, height)[0]


def figures(columns: int, width: float = 6.4, height: float = 3.4) -> list[Axes]:
    """The axes of a new figure with several plots side by side, in the course's style."""
    # Outside the context: the first figure loads the back end, whose settings have to stay.
    made = plt.figure(figsize=(width, height), dpi=110, layout="constrained")
    with plt.rc_context(STYLE):
        axes = made.subplots(1, columns, squeeze=False)
    return list(axes[0])


def finish(axes: Axes, *, title: str, x: str = "", y: str = "") -> None:
    """Put the title and the labels on a plot, and a legend if it has labelled lines or bars.

    Args:
        axes: The plot.
        title: What the plot shows: a sentence with the measured number in it.
        x: What the x axis is, with its unit.
        y: What the y axis is, with its unit.
    """
    with plt.rc_context(STYLE):
        axes.set_title(title, wrap=True)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if axes.get_legend_handles_labels()[1]:
            axes.legend()
