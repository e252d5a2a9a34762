"""Measuring a roofline and what lies below it: one thread, the shortest of several times."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from aisys.autodiff.experiments import best_seconds
from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.operator_mix import operator_mix
from aisys.autodiff.profiling import operator_table, read_trace
from aisys.autodiff.training import one_thread, profiled, train
from aisys.course.plotting import figure
from aisys.data import Digits


def peak_flops(size: int = 1024, repeats: int = 8) -> float:
    """The most floating-point operations a second that a matrix product of float32 reaches."""
    with one_thread(), torch.no_grad():
        a, b = torch.rand(size, size), torch.rand(size, size)
        return 2 * size**3 / best_seconds(lambda: torch.mm(a, b), repeats)


def copy_bandwidth(size: int, repeats: int = 8) -> float:
    """The bytes a second that a copy reads and writes.

    Args:
        size: Bytes to copy. If source and copy fit into a cache, it is the cache's bandwidth.
        repeats: How often it is measured.
    """
    with one_thread():
        source = torch.zeros(size, dtype=torch.uint8)
        target = torch.empty_like(source)
        inner = max(1, (1 << 24) // size)  # a short copy is too short for the clock

        def copy() -> None:
            for _ in range(inner):
                target.copy_(source)

        copy()
        return 2 * size * inner / best_seconds(copy, repeats)


def layer_seconds(batch: int, repeats: int = 8) -> dict[str, float]:
    """How long the forward pass of each of LeNet's layers takes on random float32 images.

    Args:
        batch: Images.
        repeats: How often each is measured.

    Returns:
        Seconds by the names of `lenet_costs`.
    """
    model = LeNet()
    value = torch.rand(batch, 1, 28, 28)
    layers: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "conv1": model.conv1,
        "pool1": lambda x: F.max_pool2d(x, 2),
        "conv2": model.conv2,
        "pool2": lambda x: F.max_pool2d(x, 2),
        "fc1": model.fc1,
        "fc2": model.fc2,
        "fc3": model.fc3,
    }
    seconds = {}
    with one_thread(), torch.no_grad():
        for name, layer in layers.items():
            x = value.flatten(1) if name == "fc1" else value
            value = layer(x)
            inner = max(1, 256 // batch)

            def several(layer: Callable = layer, x: torch.Tensor = x, inner: int = inner) -> None:
                for _ in range(inner):
                    layer(x)

            seconds[name] = best_seconds(several, repeats) / inner
    return seconds


def roofline_axes(
    peak: float, bandwidths: Mapping[str, float], intensities: Sequence[float]
) -> Axes:
    """A plot with the roofs drawn in: the peak, and a slope for each bandwidth.

    Args:
        peak: FLOP/s.
        bandwidths: Bytes/s by name.
        intensities: The range of the x axis at least, FLOP/byte.
    """
    axes = figure(7.2, 4.2)
    low, high = min(intensities) / 2, max(max(intensities), peak / min(bandwidths.values())) * 2
    x = np.geomspace(low, high, 200)
    for (name, bandwidth), line in zip(bandwidths.items(), ("-", "--"), strict=False):
        y = np.minimum(peak, bandwidth * x) / 1e9
        axes.plot(x, y, line, color="black", marker="", label=f"{name}: {bandwidth / 1e9:.0f} GB/s")
    axes.set(xscale="log", yscale="log")
    return axes


def step_throughput(data: Digits, batch: int, images: int = 1024) -> tuple[float, dict[str, int]]:
    """Train LeNet for some steps: images a second, and where the time goes.

    Args:
        data: Digits.
        batch: Images in a batch.
        images: About how many images to go through, at least eight batches.

    Returns:
        Images a second (without the profiler), and the `operator_mix` of a profile.
    """
    steps = max(8, images // batch)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, len(data.train_labels), batch) for _ in range(steps)]
    model = LeNet()

    def run(chosen: list[np.ndarray]) -> None:
        train(model, data.train_images, data.train_labels, chosen, rate=0.01)

    with one_thread(), tempfile.TemporaryDirectory() as folder:
        run(batches[:2])
        seconds = best_seconds(lambda: run(batches), 3)
        trace = Path(folder, "trace.json")
        profiled(lambda: run(batches[:8]), trace)
        return steps * batch / seconds, operator_mix(operator_table(*read_trace(trace)))
