"""What the experiments of 4.5 need: throttled links measured and fitted, all algorithms on them.

Where there can be no throttled links between processes, the simulated clock takes their place; what
comes back says which it was.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from aisys.allreduce.choice import ALGORITHMS, Cluster, allreduce_seconds, choose
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import fit_alpha_beta, one_way_seconds, ping_pong
from aisys.allreduce.doubling import halving_doubling_allreduce, recursive_doubling_allreduce
from aisys.allreduce.group import Group
from aisys.allreduce.hierarchy import hierarchical_allreduce
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.links import Network, why_no_namespaces
from aisys.allreduce.ports import Link, two_levels
from aisys.allreduce.rails import rings_allreduce
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.ring_experiments import timed_rounds
from aisys.allreduce.transport import Transport
from aisys.allreduce.trees import tree_allreduce
from aisys.course.errors import CourseError
from aisys.course.plotting import COLOURS, finish

AllReduce = Callable[[Transport, np.ndarray], np.ndarray]

FIT_SIZES = (64, 256, 1024, 1 << 20, 2 << 20, 4 << 20)
"""Of the messages that links are fitted to, in bytes.

A token bucket lets some 100 KiB pass at full speed when it is full, so messages about as large are
none of a line's: the small ones say alpha, the large ones beta.
"""

SIMULATED = Cluster(2, 2, CostModel(5e-5, 1e-9), CostModel(2e-4, 2e-8), links=2)
"""What takes the place of throttled links where there are none."""

MOST_SIMULATED_BYTES = 1 << 16
"""More than this no rank holds on the simulated clock: its links cost more instead."""


@dataclass(frozen=True)
class Measured:
    """All algorithms on one cluster.

    Attributes:
        where: On what it was measured, in words for a page.
        cluster: With the fitted models of its links.
        fits: The one-way seconds that they were fitted to, by kind of link, [`FIT_SIZES`].
        sizes: In bytes.
        seconds: By algorithm, one for each size.
    """

    where: str
    cluster: Cluster
    fits: dict[str, list[float]]
    sizes: list[int]
    seconds: dict[str, list[float]]


def algorithms(ranks_per_node: int) -> dict[str, AllReduce]:
    """The functions behind the names of `ALGORITHMS`."""
    hierarchy = partial(_hierarchy, ranks_per_node)
    functions = (
        tree_allreduce, recursive_doubling_allreduce, halving_doubling_allreduce, ring_allreduce,
        hierarchy,
    )  # fmt: skip
    return dict(zip(ALGORITHMS, functions, strict=True))


def on_slow_links(
    sizes: Sequence[int], megabits: float = 400.0, nodes: int = 2, each: int = 2, rounds: int = 5
) -> Measured:
    """Fit the links of a cluster, then time every algorithm on it.

    Args:
        sizes: Of the arrays in bytes, multiples of 4.
        megabits: What a node's link to the others carries in each direction, in 10^6 bit/s.
        nodes: How many nodes; a power of two.
        each: How many ranks each of them has; a power of two.
        rounds: How often everything is timed. The algorithms take turns.
    """
    if missing := why_no_namespaces():
        return on_the_clock(sizes, SIMULATED, f"the simulated clock. {missing}")
    ranks = nodes * each
    with Network([each] * nodes, megabits=megabits) as network:
        options: dict[str, Any] = {"transport": "tcp", "timeout": 60.0, "network": network}
        fits = launch(ranks, _ping_pongs, each, rounds, **options)[0]
        given = launch(ranks, _timed, each, list(sizes), rounds, **options)
    models = {
        kind: fit_alpha_beta(np.array(FIT_SIZES), np.array(times)) for kind, times in fits.items()
    }
    cluster = Cluster(nodes, each, models["inside"], models["between"], links=1)
    last = {name: np.max([rank[name] for rank in given], axis=0).tolist() for name in ALGORITHMS}
    seconds = {name: [statistics.median(times) for times in last[name]] for name in ALGORITHMS}
    where = f"real links: {nodes} nodes of {each} ranks, one link of {megabits:g} Mbit/s each"
    return Measured(where, cluster, fits, list(sizes), seconds)


def on_the_clock(sizes: Sequence[int], cluster: Cluster, where: str) -> Measured:
    """The same on the simulated clock, for a cluster with a link for each rank."""
    fits = {
        kind: [model.seconds(1, size) for size in FIT_SIZES]
        for kind, model in (("inside", cluster.inside), ("between", cluster.between))
    }
    seconds = {
        name: [simulated_seconds(name, cluster, size) for size in sizes] for name in ALGORITHMS
    }
    return Measured(where, cluster, fits, list(sizes), seconds)


def simulated_seconds(algorithm: str, cluster: Cluster, nbytes: int) -> float:
    """What an algorithm takes on the simulated clock, in seconds.

    Args:
        algorithm: One of `ALGORITHMS`.
        cluster: With a link for each rank, since on that clock every rank has a port of its own.
        nbytes: Of the array. Of a large one the ranks hold only a part, whose bytes cost as much
            more; then it is rounded so that it divides.

    Raises:
        CourseError: Ranks share links.
    """
    return _on_clock(algorithms(cluster.ranks_per_node)[algorithm], cluster, nbytes)


def rails_seconds(cluster: Cluster, nbytes: int) -> dict[str, float]:
    """What one ring, a ring for each link and the hierarchy take on the simulated clock."""
    each = cluster.ranks_per_node
    ways: dict[str, AllReduce] = {
        "one ring": ring_allreduce,
        f"{each} rings": lambda t, data: rings_allreduce(t, data, each, each),
        "hierarchy": partial(_hierarchy, each),
    }
    return {name: _on_clock(way, cluster, nbytes) for name, way in ways.items()}


def draw_prediction(seen: Measured, axes: Axes, names: Sequence[str], title: str) -> None:
    """Measured times as points, predicted ones as lines.

    Args:
        seen: What was measured.
        axes: Where to draw.
        names: Which algorithms.
        title: What is seen.
    """
    for at, name in enumerate(names):
        predicted = [1000 * allreduce_seconds(name, seen.cluster, size) for size in seen.sizes]
        kib = [size / 1024 for size in seen.sizes]
        style: dict[str, Any] = {"color": COLOURS[at], "marker": "os^Dv"[at]}
        axes.plot(kib, predicted, color=COLOURS[at], linestyle=("-", "--")[at % 2], marker="")
        times = [1000 * value for value in seen.seconds[name]]
        axes.plot(kib, times, linestyle="", label=f"{name}, measured", **style)
    axes.set(xscale="log", yscale="log")
    finish(axes, title=title, x="size of the array (KiB)", y="time (ms); lines: predicted")


def draw_choice(
    clusters: Sequence[Cluster], sizes: Sequence[float], axes: Axes, title: str
) -> dict[str, int]:
    """Which algorithm is chosen, by size and number of ranks, as a map of hatched areas.

    Args:
        clusters: From few ranks to many.
        sizes: In bytes, evenly spaced on a logarithmic scale.
        axes: Where to draw.
        title: What is seen.

    Returns:
        How many of the places on the map each algorithm has.
    """
    chosen = np.array([[ALGORITHMS.index(choose(c, size)) for size in sizes] for c in clusters])
    ranks = [cluster.world_size for cluster in clusters]
    greys = ("#ffffff", "#d9d9d9", "#b3d1e6", "#f2c9a8", "#8fb8a8")
    counts = {}
    for number, name in enumerate(ALGORITHMS):
        here = (chosen == number).astype(float)
        counts[name] = int(here.sum())
        if not here.any():
            continue
        axes.contourf(
            sizes, ranks, here, levels=[0.5, 1.5], colors=[greys[number]],
            hatches=[("..", "///", "\\\\\\", "xxx", "")[number]],
        )  # fmt: skip
        # In its widest row but the outermost; of several in the one nearest to the middle.
        off = np.abs(np.arange(len(ranks)) - (len(ranks) - 1) / 2)
        row = int(np.lexsort((off, -here.sum(axis=1), (off == off[0]) | ~here.any(axis=1)))[0])
        columns = np.nonzero(here[row])[0]
        side = "left" if columns[0] == 0 else "right" if columns[-1] == len(sizes) - 1 else "center"
        column = {"left": columns[0], "right": columns[-1], "center": columns[len(columns) // 2]}
        if len(columns) > len(sizes) // 3:
            side, column = "center", {"center": columns[len(columns) // 2]}
        axes.annotate(
            name.replace(" ", "\n"), (sizes[column[side]], ranks[row]), ha=side, va="center",
            xytext=({"left": 6, "right": -6, "center": 0}[side], 0), textcoords="offset points",
            fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.grid(visible=False)
    finish(axes, title=title, x="size of the array (bytes)", y="ranks")
    return counts


def _hierarchy(ranks_per_node: int, transport: Transport, data: np.ndarray) -> np.ndarray:
    return hierarchical_allreduce(transport, data, ranks_per_node)


def _on_clock(allreduce: AllReduce, cluster: Cluster, nbytes: int) -> float:
    if cluster.links != cluster.ranks_per_node and cluster.nodes > 1:
        raise CourseError("On the simulated clock no link is shared: give every rank one.")
    ranks = cluster.world_size
    unit = ranks * cluster.ranks_per_node  # every part of every algorithm then has whole bytes
    held = max(1, min(nbytes, MOST_SIMULATED_BYTES) // unit) * unit
    factor = nbytes / held
    inside, between = (
        Link(model.alpha, model.beta * factor) for model in (cluster.inside, cluster.between)
    )
    data = np.zeros(held, np.uint8)
    links = two_levels(cluster.ranks_per_node, inside, between)
    return run(ranks, lambda t: allreduce(t, data), links=links).trace.seconds


def _ping_pongs(transport: Transport, each: int, rounds: int) -> dict[str, list[float]]:
    """One-way seconds of each size inside a node and between two, on rank 0."""
    found = {}
    for kind, peer in (("inside", 1), ("between", each)):
        transport.barrier()
        if transport.rank in (0, peer):
            pair = Group(transport, [0, peer])
            trips = [ping_pong(pair, n, rounds if n > 1024 else 50) for n in FIT_SIZES]
            if transport.rank == 0:
                columns = [np.array(times)[:, None] for times in trips]
                found[kind] = [float(one_way_seconds(column)[0]) for column in columns]
    transport.barrier()
    return found


def _timed(
    transport: Transport, each: int, sizes: list[int], rounds: int
) -> dict[str, list[list[float]]]:
    """Seconds by algorithm, [sizes, rounds]."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in ALGORITHMS}
    for size in sizes:
        data = np.full(size // 4, 1, np.float32)
        ways: dict[str, Callable[[], Any]] = {
            name: partial(function, transport, data) for name, function in algorithms(each).items()
        }
        for name, times in timed_rounds(transport, ways, rounds).items():
            seconds[name].append(times)
    return seconds
