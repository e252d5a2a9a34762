"""Measuring a roofline and what lies below it: one thread, the shortest of several times."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Roofs:
    """The limits of one thread: operations a second, and bytes a second.

    Attributes:
        peak: What a product of two 384x384 matrices of float32 reaches, in FLOP/s. It takes a
            millisecond, so that another program seldom interrupts it.
        memory: What a copy of 64 MB reads and writes, in bytes/s.
        cache: What a copy of 128 kB reads and writes, which stays in a cache, in bytes/s.
    """

    peak: float
    memory: float
    cache: float


def measure_roofs(rounds: int = 5, before: Roofs = Roofs(0, 0, 0)) -> Roofs:
    """Measure the roofs, taking turns, and keep the best.

    Args:
        rounds: How often each is measured.
        before: An earlier measurement, which counts if it was better: what slows a machine down
            for a while, such as another program, is no property of the machine.
    """
    size = 384
    with one_thread(), torch.no_grad():
        a, b = torch.rand(size, size), torch.rand(size, size)
        large, small = torch.zeros(1 << 26).byte(), torch.zeros(1 << 17).byte()
        large_copy, small_copy = torch.zeros_like(large), torch.zeros_like(small)

        def copy_small() -> None:
            for _ in range(200):  # one copy is too short for the clock
                small_copy.copy_(small)

        peak, memory, cache = before.peak, before.memory, before.cache
        for _ in range(rounds):
            peak = max(peak, 2 * size**3 / best_seconds(lambda: torch.mm(a, b), 20))
            seconds = best_seconds(lambda: large_copy.copy_(large), 3)
            memory = max(memory, 2 * large.numel() / seconds)
            cache = max(cache, 200 * 2 * small.numel() / best_seconds(copy_small, 2))
    return Roofs(peak, memory, cache)


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


def roofline_axes(roofs: Roofs, intensities: Sequence[float]) -> Axes:
    """A plot with the roofs drawn in: the peak, and a slope for memory and for cache.

    Args:
        roofs: As measured.
        intensities: The range of the x axis at least, in FLOP/byte.
    """
    axes = figure(7.2, 4.2)
    x = np.geomspace(min(intensities) / 2, 2 * max(*intensities, roofs.peak / roofs.memory), 200)
    for name, bandwidth, line in (("memory", roofs.memory, "-"), ("cache", roofs.cache, "--")):
        label = f"copy in {name}: {bandwidth / 1e9:.0f} GB/s"
        roof = np.minimum(roofs.peak, bandwidth * x) / 1e9
        axes.plot(x, roof, line, color="black", marker="", label=label)
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
