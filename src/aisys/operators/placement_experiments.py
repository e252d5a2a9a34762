"""Measuring what the operator is worth in a model: its kinds of implementation, taking turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aisys.operators import cpp
from aisys.operators.citizenship import make_operator
from aisys.operators.placement import predict_speedup, traced_with

EAGER, PYTHON, CPP, COMPILED = "eager", "Python operator", "C++ operator", "compiled"


def operators() -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor] | None]:
    """What is put into the model: nothing, the operator of 2.6, that of 2.7."""
    return {EAGER: None, PYTHON: make_operator()._opoverload, CPP: cpp.load_operator().linear_gelu}


def eager_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What the operator replaces."""
    return F.gelu(F.linear(x, weight, bias))


def step_of(model: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass of a model."""

    def step() -> None:
        model(x).sum().backward()

    return step


def layer_step(
    layer: Callable[..., Tensor], rows: int, inner: int, columns: int
) -> Callable[[], None]:
    """A forward and a backward pass of the operator alone, with random arguments of these sizes."""
    shapes = ((rows, inner), (columns, inner), (columns,))
    arguments = [torch.randn(shape, requires_grad=True) for shape in shapes]
    upstream = torch.randn(rows, columns)

    def step() -> None:
        layer(*arguments).backward(upstream)

    return step


def median_seconds(
    systems: Mapping[str, Callable[[], object]], rounds: int = 21
) -> dict[str, float]:
    """The median time of each, measured in turn on one thread after a few calls for warmth."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in range(rounds + 3):
            for name, call in systems.items():
                start = time.perf_counter()
                call()
                if turn >= 3:
                    times[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(values) for name, values in times.items()}


def before_and_after(
    make_model: Callable[[], nn.Module],
    x: Tensor,
    layers: list[tuple[int, int, int]],
    compiled: bool = False,
    rounds: int = 21,
) -> list[dict[str, Any]]:
    """What each implementation makes of a model's step, and what Amdahl's law predicts of it.

    Args:
        make_model: Makes the model, always the same.
        x: Its input, float32.
        layers: Rows, in and out features of each place of the operator in it.
        compiled: Whether to measure `torch.compile` with Inductor, too: half a minute more.
        rounds: Measurements of each.

    Returns:
        For each implementation its name, `seconds` of a step, `factor` of the operator alone, and
        the `predicted` and `measured` speed-up.
    """
    placed = operators()
    steps = {name: step_of(traced_with(make_model(), op), x) for name, op in placed.items()}
    if compiled:
        steps[COMPILED] = step_of(torch.compile(make_model()), x)
    step = median_seconds(steps, rounds)
    alone = dict.fromkeys(placed, 0.0)
    for sizes in layers:
        calls = {name: layer_step(op or eager_layer, *sizes) for name, op in placed.items()}
        for name, seconds in median_seconds(calls, rounds).items():
            alone[name] += seconds
    parts = {"linear + GELU": alone[EAGER], "the rest": max(0.0, step[EAGER] - alone[EAGER])}
    table = []
    for name, seconds in step.items():
        row: dict[str, Any] = {"name": name, "seconds": seconds, "measured": step[EAGER] / seconds}
        if name in alone:
            row["factor"] = alone[EAGER] / alone[name]
            prediction = predict_speedup(parts, ["linear + GELU"], row["factor"])
            row["predicted"], row["limit"] = prediction["speedup"], prediction["limit"]
            row["share"] = prediction["share"]
        table.append(row)
    return table


def profile_table(model: Callable[[Tensor], Tensor], x: Tensor, rows: int = 6) -> list[str]:
    """The kinds of operators that take most of a step: name, milliseconds a step, share."""
    from torch.profiler import ProfilerActivity, profile

    step = step_of(model, x)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(5):
            step()
    events = sorted(profiler.key_averages(), key=lambda e: e.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        f"{event.key[:44]:44} {event.self_cpu_time_total / 5000:7.2f} ms "
        f"{event.self_cpu_time_total / total:5.0%}"
        for event in events[:rows]
    ]
