"""What the experiments of 4.7 need: LeNet on processes that note when everything happens."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from aisys.allreduce.buckets import BucketedReducer, assign_buckets
from aisys.allreduce.communication_thread import CommunicationThread
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import fit_alpha_beta
from aisys.allreduce.launcher import launch
from aisys.allreduce.links import Network, why_no_namespaces
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.autodiff.lenet_torch import LeNet
from aisys.course.errors import CourseError
from aisys.course.plotting import COLOURS, HATCHES
from aisys.data import digits

WARM_UP = 2
"""Steps of each capacity that come first and are not counted."""

ONE_BUCKET = 1 << 30
"""A capacity into which every network of this lab fits."""

RING_SIZES = (64, 1024, 16_384, 65_536, 262_144)

DRAIN = np.ones(1 << 17, np.float32)
"""Sent before what is measured: a throttled link lets 128 KiB pass at full speed after a pause."""


_latest: list["Traced"] = []
"""At most one: what `trace_lenet` returned last."""


@dataclass(frozen=True)
class Step:
    """When what happened in a step on one rank, in seconds after its backward pass began.

    Attributes:
        gradients: When each parameter's gradient was there.
        backward: When the backward pass ended.
        spans: Beginning and end of each all-reduce, in order.
        end: When all gradients were averaged.
    """

    gradients: list[float]
    backward: float
    spans: list[tuple[float, float]]
    end: float


@dataclass(frozen=True)
class Traced:
    """Steps of all ranks with buckets of several capacities.

    Attributes:
        sizes: Of LeNet's parameters, in bytes.
        steps: For each capacity and rank its steps.
        model: Fitted to ring all-reduces over the same links.
        links: What the links were, in words.
    """

    sizes: list[int]
    steps: dict[int, list[list[Step]]]
    model: CostModel
    links: str

    def middle(self, capacity: int) -> list[Step]:
        """The step of the median length, on all ranks."""
        ends = [max(s.end for s in at) for at in zip(*self.steps[capacity], strict=True)]
        at = sorted(range(len(ends)), key=lambda k: ends[k])[len(ends) // 2]
        return [steps[at] for steps in self.steps[capacity]]

    def seconds(self, capacity: int) -> float:
        """The median time from the beginning of the backward pass to the averages."""
        return median(max(s.end for s in at) for at in zip(*self.steps[capacity], strict=True))

    def ready(self) -> list[float]:
        """When each gradient is there while nothing else is done: with one bucket."""
        steps = self.steps[ONE_BUCKET][0]
        return [median(each) for each in zip(*(s.gradients for s in steps), strict=True)]


def trace_lenet(
    capacities: Sequence[int],
    ranks: int = 2,
    steps: int = 11,
    batch: int = 128,
    megabits: float | None = 100.0,
) -> Traced:
    """Train LeNet on MNIST by processes, for some steps with each capacity.

    Args:
        capacities: Of buckets, in bytes; `ONE_BUCKET` is measured in any case.
        ranks: Processes, each with one thread for backward and one for messages.
        steps: Of each capacity; the capacities take turns.
        batch: Images of a rank in a step.
        megabits: What the links between ranks carry, in 10^6 bit/s, where this machine can have
            such links; None for TCP as it is.

    Raises:
        Hole: A kit's 4.1 or `assign_buckets` has no code yet; told before anything is measured.
    """
    # The fit comes after a minute of training. What is not written yet should not cost that minute.
    fit_alpha_beta(np.array([64, 1024]), np.array([1e-4, 2e-4]))
    assign_buckets([4], 4)
    links, missing = "TCP on this machine", why_no_namespaces() if megabits is not None else ""
    network: Any = contextlib.nullcontext()
    if megabits is not None and not missing:
        network = Network([1] * ranks, megabits)
        links = f"TCP over links of {megabits:g} Mbit/s between network namespaces"
    elif missing:
        links += f", at full speed: {missing}"
    chosen = list(dict.fromkeys([*capacities, ONE_BUCKET]))
    with network as made:
        results = launch(
            ranks, _trace, chosen, steps, batch, network=made, start="spawn", timeout=60.0
        )
    found = {
        capacity: [[Step(**step) for step in result["steps"][str(capacity)]] for result in results]
        for capacity in chosen
    }
    bytes_each, seconds = np.array(results[0]["ring"]).T
    model = fit_alpha_beta(bytes_each / ranks, seconds / (2 * (ranks - 1)))
    _latest[:] = [Traced(results[0]["sizes"], found, model, links)]
    return _latest[0]


def latest_trace() -> Traced:
    """What `trace_lenet` returned last in this process.

    Raises:
        CourseError: It has not run here.
    """
    if not _latest:
        raise CourseError(
            'There is no run to look at yet: run the experiment "the time line of a step" of 4.7 '
            "first."
        )
    return _latest[0]


def draw_steps(axes: Axes, steps: Sequence[Step]) -> None:
    """Draw a step of all ranks: backward pass, all-reduces, and waiting for them.

    Args:
        axes: The plot.
        steps: One a rank.
    """
    labels = []
    for rank, step in enumerate(steps):
        rows = {
            "backward": [(0.0, step.backward)],
            "all-reduce": step.spans,
            "waiting": [(step.backward, step.end)],
        }
        for at, (name, spans) in enumerate(rows.items()):
            axes.barh(
                [3 * rank + at + 0.5 * rank] * len(spans),
                [1e3 * (end - begin) for begin, end in spans],
                left=[1e3 * begin for begin, _ in spans],
                height=0.8,
                color=("#bbbbbb", COLOURS[1], "white")[at],
                hatch=("", "", HATCHES[1])[at],
                edgecolor="black",
                linewidth=0.7,
            )
            labels.append((3 * rank + at + 0.5 * rank, f"rank {rank}: {name}"))
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels])
    axes.invert_yaxis()


def _trace(transport: Transport, capacities: list[int], steps: int, batch: int) -> dict[str, Any]:
    """On each rank: times of rings, and of steps of training."""
    torch.set_num_threads(1)
    return {
        "ring": _ring_times(transport),
        "steps": _steps(transport, capacities, steps, batch),
        "sizes": [each.nbytes for each in LeNet(seed=0).parameters()],
    }


def _ring_times(transport: Transport) -> list[list[float]]:
    """Bytes and median seconds of ring all-reduces."""
    found = []
    for nbytes in RING_SIZES:
        data, times = np.ones(nbytes // 4, np.float32), []
        for _ in range(7):
            ring_allreduce(transport, DRAIN)
            transport.barrier()
            begin = perf_counter()
            ring_allreduce(transport, data)
            times.append(perf_counter() - begin)
        found.append([float(nbytes), median(times[2:])])
    return found


class _Training:
    """LeNet on one rank, with buckets of a capacity."""

    def __init__(self, thread: CommunicationThread, capacity: int, rank: int, batch: int) -> None:
        self.thread, self.batch = thread, batch
        self.network = LeNet(seed=0)
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.05)
        self.rng = np.random.default_rng(rank)
        self.there: dict[int, float] = {}
        for index, parameter in enumerate(self.parameters):
            parameter.register_post_accumulate_grad_hook(_clock(self.there, index))
        buckets = assign_buckets([each.nbytes for each in self.parameters], capacity)
        self.reducer = BucketedReducer(self.parameters, buckets, thread)

    def step(self) -> dict[str, Any]:
        """Train for a step; returns what becomes a `Step`."""
        data = digits()
        chosen = self.rng.integers(0, len(data.train_labels), self.batch)
        images = torch.from_numpy(data.train_images[chosen])
        loss = F.cross_entropy(self.network(images), torch.from_numpy(data.train_labels[chosen]))
        self.optimizer.zero_grad()
        for before in (DRAIN, DRAIN[:1]):  # after the second all ranks begin together
            self.thread.start(before).result()
        self.thread.spans.clear()
        begin = perf_counter()
        loss.backward()
        backward = perf_counter()
        self.reducer.finish()
        end = perf_counter()
        self.optimizer.step()
        return {
            "gradients": [self.there[index] - begin for index in range(len(self.parameters))],
            "backward": backward - begin,
            "spans": [[span.begin - begin, span.end - begin] for span in self.thread.spans],
            "end": end - begin,
        }


def _steps(
    transport: Transport, capacities: list[int], steps: int, batch: int
) -> dict[str, list[dict[str, Any]]]:
    """Steps of training with buckets of several capacities, which take turns."""
    found: dict[str, list[dict[str, Any]]] = {str(capacity): [] for capacity in capacities}
    with CommunicationThread(transport) as thread:
        runs = {each: _Training(thread, each, transport.rank, batch) for each in capacities}
        for _ in range(WARM_UP + steps):
            for capacity, run in runs.items():
                found[str(capacity)].append(run.step())
    return {capacity: each[WARM_UP:] for capacity, each in found.items()}


def _clock(there: dict[int, float], index: int) -> Any:
    def note(parameter: torch.Tensor) -> None:
        there[index] = perf_counter()

    return note


def hidden_share(steps: Sequence[Step]) -> float:
    """The share of the all-reduces' time that lies beside the backward pass.

    Args:
        steps: Of one rank.
    """
    beside = total = 0.0
    for step in steps:
        for begin, end in step.spans:
            total += end - begin
            beside += max(0.0, min(end, step.backward) - begin)
    return beside / total
