"""Drawing a graph: inputs on top, every node below what it is computed from."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Patch

from aisys.autodiff.execution import ready_order
from aisys.autodiff.graph import Node
from aisys.course.plotting import figure

Place = tuple[float, float]  # column, layer (from the top)
Stop = tuple[object, int]  # a node in its layer, or an edge in a layer that it passes

SWEEPS = 8


def draw(
    targets: Sequence[Node], forward: Sequence[Node] | None = None, axes: Axes | None = None
) -> Axes:
    """Draw the nodes that the targets need, in layers from top to bottom.

    The forward part has white boxes and black arrows; what was added for gradients has grey,
    dashed boxes and dashed arrows, which differ in a black-and-white print too.

    Args:
        targets: As in `ready_order`.
        forward: The targets of the forward part; every node that they need belongs to it. By
            default everything does.
        axes: Where to draw; a new figure of fitting size if left out.

    Returns:
        The axes.
    """
    order = ready_order(targets)
    own = set(order if forward is None else ready_order(forward))
    layers = _layers(order, own)
    chains = _chains(layers)
    columns = _columns(layers, chains)
    depth, width = max(layers.values()) + 1, max(columns.values()) + 1
    if axes is None:
        axes = figure(max(4.0, 1.2 * width), max(2.0, 0.62 * depth))
    boxes = {}
    for node, layer in layers.items():
        boxes[node] = _box(axes, node, (columns[node, layer], layer), node in own)
    for (source, consumer), chain in chains.items():
        places = [(columns[each], each[1]) for each in chain]
        _arrow(axes, places, boxes[source], boxes[consumer], consumer in own)
    axes.set_xlim(-0.7, width - 0.3)
    axes.set_ylim(depth - 0.5, -0.5)
    axes.axis("off")
    return axes


def _layers(order: Sequence[Node], forward: set[Node]) -> dict[Node, int]:
    """Forward nodes as high as their inputs allow, others as low as their consumers allow."""
    layers: dict[Node, int] = {}
    consumers: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        layers[node] = 1 + max((layers[each] for each in node.inputs), default=-1)
        for each in node.inputs:
            consumers[each].append(node)
    for node in reversed(order):
        if consumers[node] and (not node.inputs or node not in forward):
            layers[node] = min(layers[consumer] for consumer in consumers[node]) - 1
    return layers


def _chains(layers: dict[Node, int]) -> dict[tuple[Node, Node], list[Stop]]:
    """Each edge as its stops: one in every layer from the input to the consumer."""
    chains = {}
    for node, layer in layers.items():
        for each in dict.fromkeys(node.inputs):
            between = [((each, node), i) for i in range(layers[each] + 1, layer)]
            chains[each, node] = [(each, layers[each]), *between, (node, layer)]
    return chains


def _columns(
    layers: dict[Node, int], chains: dict[tuple[Node, Node], list[Stop]]
) -> dict[Stop, float]:
    """A column for every node and stop, chosen so that few edges cross (Sugiyama et al., 1981).

    Sweeping down and up, each layer is sorted by the mean column of the neighbours in the layer
    before, and its stops are then pulled towards that mean without overlapping.
    """
    rows: list[list[Stop]] = [[] for _ in range(max(layers.values()) + 1)]
    above: dict[Stop, list[Stop]] = {}
    below: dict[Stop, list[Stop]] = {}
    for chain in chains.values():
        for upper, lower in zip(chain[:-1], chain[1:], strict=True):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    # First come, first placed: the inputs of a node from left to right.
    stops = [stop for chain in chains.values() for stop in chain]
    for stop in dict.fromkeys([*stops, *layers.items()]):
        rows[stop[1]].append(stop)
    columns = {stop: float(i) for row in rows for i, stop in enumerate(row)}
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        near = above if downwards else below
        for row in rows if downwards else rows[::-1]:
            wanted = {
                stop: sum(columns[other] for other in near[stop]) / len(near[stop])
                if stop in near
                else columns[stop]
                for stop in row
            }
            row.sort(key=wanted.__getitem__)
            columns.update(zip(row, _spread([wanted[stop] for stop in row]), strict=True))
    leftmost = min(columns.values())
    return {stop: column - leftmost for stop, column in columns.items()}


def _spread(wanted: Sequence[float]) -> list[float]:
    """The nearest columns in the same order that are at least one apart (least squares)."""
    blocks: list[list[float]] = []  # [sum of (wanted - rank), count], with falling means merged
    for rank, column in enumerate(wanted):
        blocks.append([column - rank, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    shifts = [total / count for total, count in blocks for _ in range(int(count))]
    return [shift + rank for rank, shift in enumerate(shifts)]


def _box(axes: Axes, node: Node, place: Place, forward: bool) -> Patch:
    label = node.operation if node.inputs else str(node)
    if node.operation == "constant" and node.shape == ():
        label = f"{node.attributes['value']:.4g}"
    elif node.name and node.inputs:
        label = f"{node.name}\n{node.operation}"
    text = axes.text(
        *place,
        label,
        ha="center",
        va="center",
        fontsize=8,
        fontweight="normal" if node.inputs else "bold",
        bbox={
            "boxstyle": "round,pad=0.35" if node.inputs else "ellipse,pad=0.3",
            "facecolor": "white" if forward else "#dddddd",
            "edgecolor": "black" if forward else "#555555",
            "linestyle": "-" if forward else "--",
        },
        zorder=3,
    )
    box = text.get_bbox_patch()
    assert box is not None
    return box


def _arrow(
    axes: Axes, places: Sequence[Place], source: Patch, consumer: Patch, forward: bool
) -> None:
    """A line through places; its last part is an arrow that ends at the consumer's box."""
    colour, style = ("black", "-") if forward else ("#555555", "--")
    xs, ys = zip(*places[:-1], strict=True)
    axes.plot(xs, ys, color=colour, linestyle=style, linewidth=0.9, marker="", zorder=2)
    last = FancyArrowPatch(
        places[-2],
        places[-1],
        arrowstyle="-|>",
        mutation_scale=9,
        linewidth=0.9,
        linestyle=style,
        color=colour,
        patchA=source if len(places) == 2 else None,
        patchB=consumer,
        shrinkA=0,
        shrinkB=1,
        zorder=4,  # after the boxes, whose size is known when they are drawn
    )
    axes.add_patch(last)
