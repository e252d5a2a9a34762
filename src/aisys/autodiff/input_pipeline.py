"""An input pipeline to measure: batches of digits from a store that takes its time to answer."""

import bz2
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aisys.autodiff.lenet_torch import LeNet
from aisys.course.plotting import figure
from aisys.data import Digits

Batch = tuple[Tensor, Tensor]
Interval = tuple[float, float]

LOAD: Any = {"facecolor": "white", "hatch": "///"}
COMPUTE: Any = {"facecolor": "#404040"}


class RemoteBatches(Dataset):
    """Batches that are fetched when they are asked for: waited for, then decompressed.

    The waiting is a sleep, in the place of a network or a disk. Both let other threads run Python.

    Args:
        data: Digits.
        batch: Images in a batch.
        count: How many batches.
        latency: How long the store takes to answer, in seconds.

    Attributes:
        loads: When each batch was loaded in this process, in seconds of `time.perf_counter`.
    """

    def __init__(
        self, data: Digits, batch: int = 64, count: int = 30, latency: float = 0.006
    ) -> None:
        self.loads: list[Interval] = []
        self._latency = latency
        chosen = np.arange(batch * count) % len(data.train_labels)
        images = data.train_images[chosen].reshape(count, batch, 1, 28, 28)
        self._images = [bz2.compress(each.tobytes()) for each in images]
        self._shape = images.shape[1:]
        self._labels = data.train_labels[chosen].reshape(count, batch)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Batch:
        start = time.perf_counter()
        time.sleep(self._latency)
        pixels = bytearray(bz2.decompress(self._images[index]))
        images = torch.frombuffer(pixels, dtype=torch.float32).reshape(self._shape)
        self.loads.append((start, time.perf_counter()))
        return images, torch.from_numpy(self._labels[index])

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))


@dataclass
class Run:
    """When a training run loaded and when it computed, in seconds from its start."""

    seconds: float
    loads: list[Interval]
    steps: list[Interval] = field(default_factory=list)


def train_on(batches: Iterable[Batch], source: RemoteBatches) -> Run:
    """Train LeNet on batches as they come, and note what happened when.

    Args:
        batches: What the training loop sees.
        source: Where they come from in the end.
    """
    model = LeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    source.loads.clear()
    steps = []
    begin = time.perf_counter()
    for x, y in batches:
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        steps.append((start, time.perf_counter()))
    seconds = time.perf_counter() - begin

    def from_begin(intervals: list[Interval]) -> list[Interval]:
        return [(start - begin, end - begin) for start, end in intervals]

    return Run(seconds, from_begin(source.loads), from_begin(steps))


def torch_loader(source: RemoteBatches, prefetch: int) -> DataLoader:
    """PyTorch's loader with one worker process that runs so many batches ahead."""
    return DataLoader(source, batch_size=None, num_workers=1, prefetch_factor=prefetch)


def draw_runs(runs: dict[str, Run], milliseconds: float) -> Axes:
    """Draw what runs did in their first milliseconds: loading above, computing below."""
    axes = figure(7.2, 1.2 + 0.9 * len(runs))
    for row, run in enumerate(runs.values()):
        for intervals, place, look in (
            (run.loads, row - 0.2, LOAD),
            (run.steps, row + 0.2, COMPUTE),
        ):
            spans = [(1000 * start, 1000 * (end - start)) for start, end in intervals]
            axes.broken_barh(spans, (place - 0.19, 0.38), edgecolor="black", **look)
    for look, name in ((LOAD, "load"), (COMPUTE, "forward, backward, update")):
        axes.broken_barh([], (0, 0), edgecolor="black", label=name, **look)
    axes.set(xlim=(0, milliseconds), ylim=(len(runs) - 0.5, -0.5))
    axes.set_yticks(range(len(runs)), list(runs))
    axes.grid(axis="y", visible=False)
    return axes
