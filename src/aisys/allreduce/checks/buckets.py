"""Probes of 4.7: what goes into a bucket, and when a step with such buckets will end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisys.allreduce.buckets import assign_buckets, flatten, unflatten
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.overlap import best_bucket_bytes, predict_step, predict_timeline
from aisys.course import Case, Plain, probe

CLOSE = 1e-9


def bucket_case(name: str, sizes: Sequence[int], capacity: int) -> Case:
    """A case of parameters of these sizes."""
    return Case(name, {"sizes": list(sizes), "capacity": capacity})


def shapes_case(name: str, seed: int, shapes: Sequence[Sequence[int]], **inputs: object) -> Case:
    """A case of tensors of these shapes."""
    default = {"dtype": "float64", "transposed": False}
    return Case(name, {"shapes": [list(s) for s in shapes], **default, **inputs}, seed)


def timeline_case(name: str, ready: Sequence[float], seconds: Sequence[float]) -> Case:
    """A case of buckets that are ready at these times."""
    return Case(name, {"ready": list(ready), "seconds": list(seconds)})


def step_case(name: str, seed: int, capacities: Sequence[int], **inputs: object) -> Case:
    """A case of random parameters whose backward pass takes about 10 ms.

    `"late"` says how many gradients come after all others; what is left out is as here. With
    `"sizes"` and `"ready"` given nothing is drawn.
    """
    default = {"ranks": 4, "parameters": 12, "alpha": 2e-4, "beta": 2e-8, "late": 0}
    return Case(name, {"capacities": list(capacities), **default, **inputs}, seed)


@probe(
    "4.7 assign_buckets",
    cases=[
        bucket_case("five parameters, two buckets", [40, 30, 20, 10, 30], 80),
        bucket_case("exactly full", [10, 20, 30, 40, 20], 60),
        bucket_case("one is larger than a bucket", [8, 100, 8, 8], 32),
        bucket_case("each its own", [5, 5, 5], 1),
        bucket_case("all in one", [5, 5, 5], 1000),
        bucket_case("no parameter", [], 10),
    ],
)
def buckets_assigned(case: dict, rng: np.random.Generator) -> Plain:
    """The buckets."""
    return [list(bucket) for bucket in assign_buckets(case["sizes"], case["capacity"])]


SHAPES = [[3, 2], [3], [], [2, 1, 2]]


@probe(
    "4.7 flatten",
    cases=[
        shapes_case("a weight and a bias", 1, [[3, 2], [3]]),
        shapes_case("four shapes", 2, SHAPES, dtype="float32"),
        shapes_case("transposed matrices", 3, [[3, 2], [4, 5]], transposed=True),
        shapes_case("one of them is empty", 4, [[2], [0, 3], [1]]),
    ],
)
def flat_tensors(case: dict, rng: np.random.Generator) -> Plain:
    """The flat tensor, and whether it is a new one."""
    tensors = _tensors(case, rng)
    flat = flatten(tensors)
    values = flat.numpy().copy()
    flat.zero_()
    unchanged = all(bool(t.any()) for t in tensors if t.numel())
    return {"flat": values, "given is unchanged": unchanged}


@probe(
    "4.7 unflatten",
    cases=[
        shapes_case("a weight and a bias", 1, [[3, 2], [3]]),
        shapes_case("four shapes", 2, SHAPES, dtype="float32"),
        shapes_case("one of them is empty", 3, [[2], [0, 3], [1]]),
    ],
)
def unflat_parts(case: dict, rng: np.random.Generator) -> Plain:
    """The parts, and what they are after the flat tensor has changed."""
    like = _tensors(case, rng)
    n = sum(tensor.numel() for tensor in like)
    flat = torch.from_numpy(rng.standard_normal(n)).to(getattr(torch, case["dtype"]))
    parts = list(unflatten(flat, like))
    first = [part.numpy().copy() for part in parts]
    flat.mul_(2)
    return {"parts": first, "after flat was doubled": [part.numpy().copy() for part in parts]}


@probe(
    "4.7 predict_timeline",
    cases=[
        timeline_case("each is done before the next is ready", [1, 3, 5], [1, 1, 1]),
        timeline_case("the first is late", [4, 1, 2], [1, 2, 1]),
        timeline_case("they queue up", [1, 2, 3], [3, 3, 3]),
        timeline_case("no bucket", [], []),
    ],
    rtol=CLOSE,
    atol=0,
)
def timeline(case: dict, rng: np.random.Generator) -> Plain:
    """The spans."""
    spans: Any = predict_timeline(case["ready"], case["seconds"])
    return [[float(begin), float(end)] for begin, end in spans]


CAPACITIES = [1, 4000, 16000, 64000, 256000, 1 << 30]


@probe(
    "4.7 predict_step",
    cases=[
        step_case("12 parameters, 4 ranks", 1, CAPACITIES),
        step_case("2 ranks, a fast link", 2, CAPACITIES, ranks=2, beta=1e-9),
        step_case("a single parameter", 3, [1, 100], parameters=1),
        # Buckets [3, 2] and [1, 0], of 2 ms each: the first is ready at 9 ms and done at 11.
        step_case(
            "two a bucket; gradient 3 comes at 9 ms, after the others",
            4,
            [8],
            ranks=2,
            alpha=1e-3,
            beta=0.0,
            sizes=[4, 4, 4, 4],
            ready=[4e-3, 3e-3, 1e-3, 9e-3],
        ),
    ],
    rtol=CLOSE,
    atol=0,
)
def steps_predicted(case: dict, rng: np.random.Generator) -> Plain:
    """The predicted step for each capacity."""
    model, sizes, ready = _step_of(case, rng)
    return [
        float(predict_step(model, case["ranks"], sizes, ready, capacity))
        for capacity in case["capacities"]
    ]


@probe(
    "4.7 best_bucket_bytes",
    cases=[
        step_case("12 parameters, 4 ranks", 1, CAPACITIES),
        step_case("messages cost next to nothing", 2, CAPACITIES, alpha=1e-7),
        step_case("messages are dear", 3, CAPACITIES[::-1], alpha=2e-3),
        step_case("two are the same", 4, [2 << 30, 1 << 30], parameters=5),
    ],
)
def capacity_chosen(case: dict, rng: np.random.Generator) -> Plain:
    """The chosen capacity."""
    model, sizes, ready = _step_of(case, rng)
    return int(best_bucket_bytes(model, case["ranks"], sizes, ready, case["capacities"]))


def _tensors(case: dict, rng: np.random.Generator) -> list[Tensor]:
    tensors = []
    for shape in case["shapes"]:
        values = torch.from_numpy(np.asarray(rng.uniform(1, 2, shape)))
        values = values.to(getattr(torch, case["dtype"]))
        tensors.append(values.T.contiguous().T if case["transposed"] else values)
    return tensors


def _step_of(case: dict, rng: np.random.Generator) -> tuple[CostModel, list[int], list[float]]:
    """A link, the sizes of parameters, and when their gradients are there."""
    model = CostModel(case["alpha"], case["beta"])
    if "sizes" in case:
        return model, case["sizes"], case["ready"]
    count = case["parameters"]
    sizes = [4 * int(size) for size in np.exp(rng.uniform(3, 10, count))]
    ready = np.cumsum(rng.exponential(10e-3 / count, count))[::-1]
    late = rng.choice(count, case["late"], replace=False)
    ready[late] += ready[0]
    return model, sizes, [float(at) for at in ready]
