"""Probes of 4.7: the reducer on gradients that come in any order.

Overlap is judged by the order of events: how many all-reduces have begun after each gradient. What
the ranks send is counted by the broker.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aisys.allreduce.buckets import BucketedReducer
from aisys.allreduce.checks.faults import on_ranks_alike
from aisys.allreduce.checks.ranks import WITNESS, counted
from aisys.allreduce.communication_thread import CommunicationThread
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, compare, probe
from aisys.course.errors import CourseError

CLOSE = 1e-9


def reducer_case(
    name: str,
    seed: int,
    shapes: Sequence[Sequence[int]],
    buckets: Sequence[Sequence[int]],
    **inputs: object,
) -> Case:
    """A case of a reducer; what is left out is as here.

    `"swaps"` is how far the order of gradients is from that of the buckets, `"unused"` the share
    of gradients that never come.
    """
    default = {"ranks": 2, "steps": 2, "swaps": 0, "unused": 0.0}
    layout = {"shapes": [list(s) for s in shapes], "buckets": [list(b) for b in buckets]}
    return Case(name, {**layout, **default, **inputs}, seed)


def network_case(name: str, seed: int, ranks: int, capacity: int, **inputs: object) -> Case:
    """A case of a network with branches, of which each rank may leave one out."""
    default = {"width": 4, "steps": 2, "skipped": [-1] * ranks, "turned": [False] * ranks}
    return Case(name, {"ranks": ranks, "capacity": capacity, **default, **inputs}, seed, weight=2)


THREE = [[4], [2, 3], [2], [3, 2], [3]]


@probe(
    "4.7 BucketedReducer.begin_next",
    cases=[
        reducer_case("two buckets", 1, THREE, [[4, 3], [2, 1, 0]]),
        reducer_case("a gradient is missing", 2, THREE, [[4, 3], [2, 1, 0]], unused=0.4),
        reducer_case("each its own", 3, THREE, [[4], [3], [2], [1], [0]], unused=0.3),
        reducer_case("no gradient at all", 4, THREE, [[4, 3], [2, 1, 0]], unused=1.0),
    ],
)
def data_begun(case: dict, rng: np.random.Generator) -> Plain:
    """What the thread is asked for, of which dtype, and how many have begun after each call."""
    thread = _Recorder()
    reducer = _reducer(case, thread)
    for parameter in reducer.parameters:
        if rng.random() >= case["unused"]:
            parameter.grad = torch.from_numpy(np.asarray(rng.standard_normal(parameter.shape)))
    begun = []
    for _ in case["buckets"]:
        reducer.begin_next()
        begun.append(len(reducer.begun))
    return {
        "data": thread.asked,
        "dtypes": [str(data.dtype) for data in thread.asked],
        "begun": begun,
    }


@probe(
    "4.7 BucketedReducer.on_gradient",
    cases=[
        reducer_case("in order", 1, THREE, [[4, 3], [2, 1, 0]]),
        reducer_case("a little out of order", 2, THREE, [[4, 3], [2], [1, 0]], swaps=2),
        reducer_case("in any order", 3, THREE, [[4], [3], [2], [1], [0]], swaps=20),
        reducer_case("some never come", 4, THREE, [[4], [3, 2], [1, 0]], swaps=3, unused=0.3),
    ],
)
def starts_by_gradient(case: dict, rng: np.random.Generator) -> Plain:
    """How many all-reduces have begun after each gradient, and with which data."""
    thread = _Recorder()
    reducer = _reducer(case, thread)
    begun = []
    for _ in range(case["steps"]):
        asked_before = len(thread.asked)
        order, gradients = _step(case, rng)
        _forget(reducer)
        for index in order:
            reducer.parameters[index].grad = gradients[index]
            reducer.on_gradient(index)
            begun.append(len(thread.asked) - asked_before)
        reducer.reset()
    return {"begun after each gradient": begun, "data": thread.asked}


def averaged(got: Plain, expected: Plain) -> Difference | None:
    """Judge what ranks returned: the same gradients on all, and all-reduces begun in time."""
    for rank, (mine, wanted) in enumerate(zip(got, expected, strict=True)):
        found = compare(mine["gradients"], wanted["gradients"], CLOSE, CLOSE, f"[{rank}]")
        if found is not None:
            return found
        if mine["gradients"].tobytes() != got[0]["gradients"].tobytes():
            said = f"rank {rank} has other gradients than rank 0, in their last digits."
            return Difference("not the same", said, f"[{rank}]")
        if mine["begun"] != wanted["begun"]:
            said = (
                f"on rank {rank} {mine['begun']} all-reduces have begun when the backward pass of "
                f"each step ends, expected {wanted['begun']}."
            )
            return Difference("begun", said, f"[{rank}]")
    return None


AVERAGED = counted(judge=averaged, same=False, least_bytes=0.9)


@probe(
    "4.7 BucketedReducer.finish",
    cases=[
        reducer_case(
            "2 ranks, in order, after a step without gradients", 1, THREE, [[4, 3], [2, 1, 0]]
        ),
        reducer_case(
            "3 ranks, each in its order", 2, THREE, [[4], [3, 2], [1, 0]], ranks=3, swaps=9
        ),
        reducer_case("unused on some ranks", 3, THREE, [[4, 3], [2, 1], [0]], ranks=3, unused=0.4),
    ],  # fmt: skip
    verdict=AVERAGED,
    witness=WITNESS,
)
def averages_of_ranks(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of all steps after `finish`, and how many all-reduces began before it.

    In the first step no gradient comes at all.
    """
    steps = [
        [([], []), *(_step(case, rng) for _ in range(case["steps"]))] for _ in range(case["ranks"])
    ]

    def program(transport: Transport, mine: list) -> Plain:
        with CommunicationThread(transport) as thread:
            reducer = _reducer(case, thread)
            begun, found = [], []
            for order, gradients in mine:
                _forget(reducer)
                for index in order:
                    reducer.parameters[index].grad = gradients[index]
                    reducer.on_gradient(index)
                begun.append(len(reducer.begun))
                reducer.finish()
                found.append(_gradients(reducer))
        return {"gradients": np.concatenate(found), "begun": begun}

    return on_ranks_alike(case, program, steps)


@probe(
    "4.7 BucketedReducer.finish",
    cases=[
        network_case("a network on 2 ranks", 1, 2, 200),
        network_case("rank 1 leaves a branch out", 2, 2, 100, skipped=[-1, 1]),
        network_case("rank 2 goes the other way round", 3, 3, 100, turned=[False, False, True]),
    ],
    verdict=AVERAGED,
    witness=WITNESS,
)
def averages_of_backward(case: dict, rng: np.random.Generator) -> Plain:
    """The same for a network's backward pass, which calls `on_gradient` by PyTorch's hooks.

    Before the first one a step ends without a gradient.
    """
    width = case["width"]
    weights = [rng.standard_normal((width, width)) for _ in range(5)]
    batches = [rng.standard_normal((case["steps"], 3, width)) for _ in range(case["ranks"])]

    def program(transport: Transport, mine: np.ndarray) -> Plain:
        rank = transport.rank
        parameters = [nn.Parameter(torch.from_numpy(weight.copy())) for weight in weights]
        sizes = [8 * parameter.numel() for parameter in parameters]
        with CommunicationThread(transport) as thread:
            reducer = BucketedReducer(parameters, _plain_buckets(sizes, case["capacity"]), thread)
            reducer.finish()
            begun, found = [], []
            for batch in torch.from_numpy(mine):
                _forget(reducer)
                _branches(parameters, batch, case["skipped"][rank], case["turned"][rank]).backward()
                begun.append(len(reducer.begun))
                reducer.finish()
                found.append(_gradients(reducer))
        return {"gradients": np.concatenate(found), "begun": begun}

    return on_ranks_alike(case, program, batches)


class _Recorder:
    """In the place of a communication thread: keeps what it is asked for."""

    world_size = 1

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def start(self, data: np.ndarray) -> "Future[np.ndarray]":
        if not isinstance(data, np.ndarray):
            raise CourseError(
                f"`self.thread.start` takes a NumPy array, and was given a {type(data).__name__}; "
                "`.numpy()` makes an array of a tensor."
            )
        self.asked.append(np.array(data))
        future: Future[np.ndarray] = Future()
        future.set_result(np.array(data))
        return future


def _reducer(case: dict, thread: Any) -> BucketedReducer:
    shapes = case["shapes"]
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    return BucketedReducer(parameters, case["buckets"], thread)


def _step(case: dict, rng: np.random.Generator) -> tuple[list[int], list[Tensor]]:
    """The order in which gradients come in a step, and the gradients of all parameters."""
    order = [index for bucket in case["buckets"] for index in bucket]
    for _ in range(case["swaps"]):
        at = int(rng.integers(len(order) - 1))
        order[at], order[at + 1] = order[at + 1], order[at]
    drawn = [rng.standard_normal(shape) for shape in case["shapes"]]
    gradients = [torch.from_numpy(np.asarray(values)) for values in drawn]
    return [index for index in order if rng.random() >= case["unused"]], gradients


def _forget(reducer: BucketedReducer) -> None:
    """What `zero_grad` of an optimizer does."""
    for parameter in reducer.parameters:
        parameter.grad = None


def _gradients(reducer: BucketedReducer) -> np.ndarray:
    """The gradients of all parameters, one after another; NaN where there is none."""
    parts = []
    for parameter in reducer.parameters:
        gradient = parameter.grad
        missing = np.full(parameter.numel(), np.nan)
        parts.append(missing if gradient is None else gradient.reshape(-1).numpy().copy())
    return np.concatenate(parts)


def _plain_buckets(sizes: list[int], capacity: int) -> list[list[int]]:
    """Buckets of equal parameters, so that this check does not depend on `assign_buckets`."""
    each = max(1, capacity // sizes[0])
    backwards = list(reversed(range(len(sizes))))
    return [backwards[at : at + each] for at in range(0, len(sizes), each)]


def _branches(weights: list[nn.Parameter], batch: Tensor, skipped: int, turned: bool) -> Tensor:
    """The loss of a network with two branches in the middle; one of them may be left out."""
    hidden = torch.tanh(batch @ weights[0])
    numbers = [1, 2, 3]
    if turned:
        hidden = torch.tanh(batch @ weights[4])
        numbers.reverse()
    for number in numbers:
        if number != skipped:
            hidden = hidden + torch.tanh(hidden @ weights[number])
    return (hidden @ weights[0 if turned else 4]).square().sum()
