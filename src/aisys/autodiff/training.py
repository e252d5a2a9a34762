"""Training a classifier in PyTorch so that it can be watched: by a log, and by the profiler."""

import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from aisys.autodiff.profiling import OperatorRow
from aisys.autodiff.training_log import note

# Before the profiler starts for the first time: it announces itself on the standard error.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

PHASES = ("load", "forward", "backward", "update")


@dataclass(frozen=True)
class Stall:
    """A fault to plant: one phase of one step waits for so many seconds."""

    step: int
    phase: str
    seconds: float


def draw_stall(steps: int, seconds: float = 0.2) -> Stall:
    """A stall in a phase and a step that nobody knows beforehand; never in the first steps."""
    return Stall(random.randrange(5, steps), random.choice(PHASES), seconds)


def train(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    batches: Iterable[np.ndarray],
    *,
    rate: float = 0.05,
    log: logging.Logger | None = None,
    stall: Stall | None = None,
) -> list[float]:
    """Train a classifier by gradient descent with momentum 0.9.

    Args:
        model: Changed in place.
        images: [count, 1, 28, 28], of the model's dtype.
        labels: [count].
        batches: Index arrays, one a step.
        rate: The learning rate.
        log: Receives an event "phase" for each phase of each step, and an event "loss" a step.
        stall: A fault to plant.

    Returns:
        The loss of every step.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    losses = []
    for step, batch in enumerate(batches):
        with phase("load", step, log, stall):
            x, y = torch.from_numpy(images[batch]), torch.from_numpy(labels[batch])
        with phase("forward", step, log, stall):
            loss = F.cross_entropy(model(x), y)
        with phase("backward", step, log, stall):
            optimizer.zero_grad()
            loss.backward()
        with phase("update", step, log, stall):
            optimizer.step()
        losses.append(loss.item())
        if log is not None:
            note(log, "loss", step=step, loss=losses[-1])
    optimizer.zero_grad()  # a profile of a later run does not see this one's memory being freed
    return losses


@contextmanager
def phase(
    name: str, step: int, log: logging.Logger | None, stall: Stall | None = None
) -> Iterator[None]:
    """Time a part of a step for the log, and name it for the profiler."""
    start = time.perf_counter()
    with record_function(name):
        if stall is not None and (stall.step, stall.phase) == (step, name):
            time.sleep(stall.seconds)
        yield
    if log is not None:
        seconds = round(time.perf_counter() - start, 6)
        note(log, "phase", step=step, phase=name, seconds=seconds)


def profiled(
    function: Callable[[], object], path: str | os.PathLike[str]
) -> dict[str, OperatorRow]:
    """Run a function under `torch.profiler` and write its Chrome trace.

    Args:
        function: What to run.
        path: Receives the trace, a JSON file.

    Returns:
        PyTorch's own operator table, `key_averages()`.
    """
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        function()
    profiler.export_chrome_trace(str(path))
    return {
        row.key: OperatorRow(
            row.count,
            round(1000 * row.cpu_time_total),
            round(1000 * row.self_cpu_time_total),
            row.cpu_memory_usage,
            row.self_cpu_memory_usage,
        )
        for row in profiler.key_averages()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread, so that measurements do not depend on the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
