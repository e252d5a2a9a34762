"""A picture for 3.7: who has which node of a list, turn after turn."""

from typing import Any

import numpy as np
from matplotlib.patches import Patch

from aisys.course.plotting import COLOURS, figure, finish


def draw_owners(table: np.ndarray, title: str, axes: Any = None) -> Any:
    """Draw the owners of each node after each turn; a node with two owners is hatched.

    Args:
        table: What `debugging.owners` returns, [turns + 1, nodes, 1 + threads].
        title: What the picture is of; how many nodes have two owners in the end is added.
        axes: Where to draw; by default a new figure.
    """
    axes = axes if axes is not None else figure()
    names = ["list", *(f"thread {thread}" for thread in range(table.shape[2] - 1))]
    colours = ["#dddddd", COLOURS[3], COLOURS[1], COLOURS[2]]
    for turn, nodes in enumerate(table):
        for node, owned in enumerate(nodes):
            owners = np.flatnonzero(owned)
            height = 0.8 / max(len(owners), 1)
            for place, owner in enumerate(owners):
                axes.bar(
                    turn,
                    height,
                    bottom=node - 0.4 + place * height,
                    width=1,
                    color=colours[owner % len(colours)],
                    hatch="///" if len(owners) > 1 else "",
                    edgecolor="black",
                    linewidth=0.4,
                )
    shared = int((table[-1].sum(1) > 1).sum())
    axes.set_yticks(range(table.shape[1]))
    axes.set_ylim(table.shape[1] - 0.5, -0.5)
    finish(
        axes,
        title=f"{title}: {shared} of {table.shape[1]} nodes with two owners",
        x="turns that have passed",
        y="node",
    )
    handles = [
        Patch(facecolor=colour, edgecolor="black", label=name)
        for name, colour in zip(names, colours, strict=False)
    ]
    axes.legend(
        handles=handles, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False,
        columnspacing=1.0, handlelength=1.2,
    )  # fmt: skip
    return axes
