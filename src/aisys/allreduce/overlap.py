"""When a step will end: all-reduces of buckets beside the backward pass, in the model (4.7)."""

from collections.abc import Sequence

from aisys.allreduce.buckets import assign_buckets
from aisys.allreduce.cost_model import CostModel
from aisys.course import exercise


def ring_seconds(model: CostModel, world_size: int, nbytes: int) -> float:
    """What a ring all-reduce takes in the model.

    Args:
        model: Of the links between neighbours.
        world_size: How many ranks there are.
        nbytes: The size of the array, in bytes.
    """
    steps = 2 * (world_size - 1)
    return model.seconds(steps, steps / world_size * nbytes)


@exercise("4.7", points=0.5)
def predict_timeline(ready: Sequence[float], seconds: Sequence[float]) -> list[tuple[float, float]]:
    """When the all-reduces of the buckets begin and end.

    They are worked off one after another, in the order of the buckets, each as soon as its bucket
    is ready and the one before is done.

    Args:
        ready: When each bucket is ready, in seconds after the backward pass began. A later bucket
            may be ready earlier.
        seconds: How long the all-reduce of each takes.

    Returns:
        For each bucket its beginning and its end.
    """
    spans, free = [], 0.0
    for at, takes in zip(ready, seconds, strict=True):
        begin = max(at, free)
        free = begin + takes
        spans.append((begin, free))
    return spans


@exercise("4.7", points=1)
def predict_step(
    model: CostModel,
    world_size: int,
    sizes: Sequence[int],
    ready: Sequence[float],
    capacity: int,
) -> float:
    """When a step ends: the backward pass and all all-reduces are done.

    Args:
        model: Of the links; `ring_seconds` says what an all-reduce takes.
        world_size: How many ranks there are.
        sizes: Of each parameter, in bytes, in the order of the model; at least one.
        ready: When each parameter's gradient is there, in seconds after the backward pass began.
        capacity: Of a bucket, in bytes; the buckets are those of `assign_buckets`.

    Returns:
        Seconds after the backward pass began.
    """
    buckets = assign_buckets(sizes, capacity)
    complete = [max(ready[index] for index in bucket) for bucket in buckets]
    seconds = [
        ring_seconds(model, world_size, sum(sizes[index] for index in bucket)) for bucket in buckets
    ]
    return predict_timeline(complete, seconds)[-1][1]


@exercise("4.7", points=0.5)
def best_bucket_bytes(
    model: CostModel,
    world_size: int,
    sizes: Sequence[int],
    ready: Sequence[float],
    capacities: Sequence[int],
) -> int:
    """The capacity of buckets with which the step is predicted to end first.

    Args:
        model: Of the links.
        world_size: How many ranks there are.
        sizes: Of each parameter, in bytes, in the order of the model.
        ready: When each parameter's gradient is there, in seconds after the backward pass began.
        capacities: Among which to choose, in bytes, in any order.

    Returns:
        One of them; of several that are equally good the smallest.
    """
    return min(
        sorted(capacities),
        key=lambda capacity: predict_step(model, world_size, sizes, ready, capacity),
    )
