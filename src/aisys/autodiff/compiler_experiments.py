"""What the experiments of 1.7 compile and measure: a network written in small functions."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from aisys.autodiff.compiler import Cost, measure
from aisys.autodiff.execution import run
from aisys.autodiff.experiments import best_seconds
from aisys.autodiff.fusion import fuse
from aisys.autodiff.graph import (
    Node,
    exp,
    log_softmax,
    placeholder,
    reduce_sum,
    sqrt,
)
from aisys.autodiff.operations import Value
from aisys.course.plotting import HATCHES
from aisys.data import one_hot

FACES = ("black", "white", "#56b4e9", "#cccccc")


def mean(z: Node) -> Node:
    """The mean over the batch, [1, features]."""
    return reduce_sum(z, 0, keepdims=True) / z.shape[0]


def variance(z: Node) -> Node:
    """The variance over the batch, [1, features]."""
    return mean((z - mean(z)) ** 2)


def normalise(z: Node) -> Node:
    """Batch normalisation without its gain and bias (Ioffe & Szegedy, ICML 2015)."""
    return (z - mean(z)) / sqrt(variance(z) + 1e-5)


def sigmoid(z: Node) -> Node:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + exp(-z))


def swish(z: Node) -> Node:
    """z * sigmoid(z) (Ramachandran et al., 2017)."""
    return z * sigmoid(z)


def normalised_network(
    images: np.ndarray, labels: np.ndarray, hidden: int = 512
) -> tuple[Node, list[Node], dict[Node, Value]]:
    """A network 784 -> hidden -> 10 on digits as a graph: loss, parameters, all values to feed.

    The hidden layer is normalised over the batch and has the activation swish.

    Args:
        images: [batch, 1, 28, 28].
        labels: [batch].
        hidden: The width of the hidden layer.
    """
    rng = np.random.default_rng(0)
    batch, dtype = len(images), images.dtype
    x, y = placeholder((batch, 784), "x"), placeholder((batch, 10), "y")
    values = {
        "w1": rng.standard_normal((784, hidden)) * np.sqrt(2 / 784),
        "gain": np.ones(hidden),
        "b1": np.zeros(hidden),
        "w2": rng.standard_normal((hidden, 10)) * np.sqrt(2 / hidden),
        "b2": np.zeros(10),
    }
    of = {name: placeholder(value.shape, name) for name, value in values.items()}
    activation = swish(normalise(x @ of["w1"]) * of["gain"] + of["b1"])
    logits = activation @ of["w2"] + of["b2"]
    loss = reduce_sum(y * log_softmax(logits)) * (-1 / batch)
    feeds: dict[Node, Value] = {of[name]: value.astype(dtype) for name, value in values.items()}
    feeds |= {x: images.reshape(batch, 784), y: one_hot(labels, dtype.type)}
    return loss, list(of.values()), feeds


def costs_and_times(
    graphs: Mapping[str, Sequence[Node]], feeds: Mapping[Node, Value], repeats: int = 7
) -> dict[str, tuple[Cost, float]]:
    """What graphs that compute the same cost: counted, and in seconds.

    Args:
        graphs: Targets by name. They take turns in being timed.
        feeds: As for `run`.
        repeats: How often each is timed; the shortest time counts.
    """
    costs = {name: measure(targets, feeds) for name, targets in graphs.items()}
    seconds = dict.fromkeys(graphs, np.inf)
    for _ in range(repeats):
        for name, targets in graphs.items():
            once = best_seconds(partial(run, targets, feeds), 1)
            seconds[name] = min(seconds[name], once)
    return {name: (costs[name], seconds[name]) for name in graphs}


def plot_costs(axes: Axes, measured: Mapping[str, tuple[Cost, float]]) -> None:
    """Bars of operations, passes, peak bytes and time, in per cent of the first graph's.

    Args:
        axes: Where to draw.
        measured: From `costs_and_times`; at most four.
    """
    rows = {
        name: (cost.operations, cost.passes, cost.peak_bytes / 1e6, 1000 * seconds)
        for name, (cost, seconds) in measured.items()
    }
    first = next(iter(rows.values()))
    labels = ("{:.0f}\noperations", "{:.0f} passes\nover memory", "{:.0f} MB\nat peak", "{:.0f} ms")
    width = 0.8 / len(rows)
    for i, (name, row) in enumerate(rows.items()):
        places = np.arange(len(row)) + (i - (len(rows) - 1) / 2) * width
        axes.bar(
            places,
            [100 * value / whole for value, whole in zip(row, first, strict=True)],
            width,
            label=name,
            color=FACES[i],
            hatch=HATCHES[i],
            edgecolor="black",
            linewidth=0.6,
        )
    texts = [label.format(value) for label, value in zip(labels, first, strict=True)]
    axes.set_xticks(range(len(first)), texts)
    axes.grid(False, axis="x")


def chain_times(
    sizes: Sequence[int], columns: int = 256
) -> tuple[list[float], list[float], list[int]]:
    """How long a chain of seven elementwise operations takes, one by one and fused.

    The chain is swish(x * gain + bias) in float32, its rows are [columns].

    Args:
        sizes: About how many elements x has.
        columns: Elements of a row.

    Returns:
        Nanoseconds an element, one by one and fused, and the sizes of x in bytes.
    """
    one_by_one, fused, sizes_in_bytes = [], [], []
    for size in sizes:
        rows = max(1, size // columns)
        x, gain, bias = (placeholder(s, "") for s in ((rows, columns), (columns,), (columns,)))
        graph = [swish(x * gain + bias)]
        rng = np.random.default_rng(0)
        feeds: dict[Node, Value] = {
            node: rng.standard_normal(node.shape, dtype=np.float32) for node in (x, gain, bias)
        }
        inner = max(1, 100_000 // size)
        times = []
        for targets in (graph, fuse(graph)):
            several = partial(_run_often, targets, feeds, inner)
            several()
            times.append(1e9 * best_seconds(several, 8) / inner / (rows * columns))
        one_by_one.append(times[0])
        fused.append(times[1])
        sizes_in_bytes.append(4 * rows * columns)
    return one_by_one, fused, sizes_in_bytes


def _run_often(targets: Sequence[Node], feeds: Mapping[Node, Value], times: int) -> None:
    for _ in range(times):
        run(targets, feeds)
