"""Probes of 4.8: tensors of all kinds, and DDP's training with the hook and on the back end.

Ranks are threads. What the attempt moves goes through the broker, which counts it, also what DDP
asks the back end for; only DDP's own messages under the hook go over Gloo.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aisys.allreduce.back_end import CheckedGroup
from aisys.allreduce.checks.ranks import WITNESS, counted, on_ranks
from aisys.allreduce.ddp_hook import HookState, allreduce_hook, allreduce_tensor
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, compare, probe

RTOL = {"float64": 1e-9, "float32": 2e-5, "float16": 1e-2, "bfloat16": 3e-2}
"""Relative tolerances by dtype; integers have none."""

GLOO_SECONDS = 10.0

_kept: list[dist.ProcessGroup] = []
"""Gloo's groups of the last run. Whoever drops one right after use, as DDP does, holds Python's
lock and waits for Gloo's thread, which needs that lock to drop its work: neither goes on."""

COLD_SECONDS = 10.0
"""DDP's first use in a process imports the compiler, a second or two of CPU time."""


def tensor_case(name: str, seed: int, ranks: int, shape: Sequence[int], **inputs: object) -> Case:
    """A case of tensors; what is left out is as here."""
    default = {"dtype": "float64", "form": "contiguous"}
    return Case(name, {"ranks": ranks, "shape": list(shape), **default, **inputs}, seed)


def training_case(name: str, seed: int, ranks: int, **inputs: object) -> Case:
    """A case of a small network that DDP trains; what is left out is as here."""
    default = {"widths": [5, 7, 3], "steps": 3, "batch": 4, "dtype": "float64", "bucket_kb": 1000.0}
    return Case(name, {"ranks": ranks, **default, **inputs}, seed, weight=2)


def warm_up() -> None:
    """Import what DDP's first use imports, which takes a second; threads must not do it at once."""
    import torch._dynamo  # noqa: F401 – DDP imports it when it is first used


@contextlib.contextmanager
def no_active_ddp() -> Iterator[None]:
    """Have PyTorch forget, at the end, which of several threads' DDP models is in a forward pass.

    DDP notes it in one place for all threads and puts back what was there before; when threads take
    turns, that is another one's model, and `torch.compile` then believes that it is inside of it.
    """
    _kept.clear()
    try:
        yield
    finally:
        DistributedDataParallel._active_ddp_module = None


def close(got: Plain, expected: Plain) -> Difference | None:
    """Compare what ranks returned, each with the tolerance of its dtype."""
    if not isinstance(got, list) or len(got) != len(expected):
        return compare(got, expected)
    for rank, (mine, wanted) in enumerate(zip(got, expected, strict=True)):
        tolerance = RTOL.get(wanted["dtype"], 0.0) if isinstance(wanted, dict) else 0.0
        found = compare(mine, wanted, tolerance, tolerance, f"[{rank}]")
        if found is not None:
            return found
    return None


CLOSE = counted(judge=close, least_bytes=0.9)
"""Sums within rounding, the same on all ranks, and no more on the way than the reference's."""


@probe(
    "4.8 allreduce_tensor",
    cases=[
        tensor_case("3 ranks, 7 numbers", 1, 3, [7]),
        tensor_case("a matrix of float32", 2, 2, [3, 4], dtype="float32"),
        tensor_case("a transposed matrix", 3, 3, [4, 3], form="transposed"),
        tensor_case("a parameter", 4, 2, [5], form="parameter"),
        tensor_case("whole numbers", 5, 4, [6], dtype="int64"),
        tensor_case("bfloat16", 6, 2, [9], dtype="bfloat16"),
        tensor_case("empty", 7, 2, [0, 3]),
        tensor_case("one number, no axis", 8, 2, []),
    ],
    verdict=CLOSE,
    witness=WITNESS,
)
def tensor_sums(case: dict, rng: np.random.Generator) -> Plain:
    """The sum on each rank, and whether what was given is unchanged."""

    def program(transport: Transport, mine: Tensor) -> Plain:
        before = mine.detach().clone()
        total = allreduce_tensor(transport, mine)
        unchanged = bool(torch.equal(mine.detach(), before)) and total is not mine
        return {**_told(total), "given is unchanged": unchanged}

    return on_ranks(case, program, _tensors(case, rng))


@probe(
    "4.8 allreduce_hook",
    cases=[
        training_case("2 ranks, one bucket", 1, 2),
        training_case("3 ranks, float32, several buckets", 2, 3, dtype="float32", bucket_kb=0.05),
    ],
    verdict=CLOSE,
    witness=WITNESS,
    seconds=COLD_SECONDS,
)
def hook_weights(case: dict, rng: np.random.Generator) -> Plain:
    """The weights after some steps of DDP with the hook."""
    warm_up()
    store = dist.HashStore()

    def program(transport: Transport, weights: list, batches: np.ndarray) -> Plain:
        group = gloo_group(store, transport.rank, transport.world_size)

        def prepare(model: DistributedDataParallel) -> None:
            model.register_comm_hook(HookState(transport), allreduce_hook)

        return _trained(case, group, weights, batches, prepare)

    with no_active_ddp():
        return on_ranks(case, program, *_network(case, rng))


@probe(
    "4.8 AisysGroup.allreduce",
    cases=[
        tensor_case("3 ranks, 7 numbers", 1, 3, [7], op="SUM", count=1),
        tensor_case("two tensors at once", 2, 2, [5], op="SUM", count=2),
        tensor_case("the average", 3, 4, [6], op="AVG", count=1),
        tensor_case("every second number", 4, 3, [5], op="SUM", count=1, form="strided"),
        tensor_case("int32", 5, 3, [4], op="SUM", count=1, dtype="int32"),
        tensor_case("the largest, which there is not", 6, 2, [4], op="MAX", count=1),
    ],
    verdict=CLOSE,
    witness=WITNESS,
)
def group_sums(case: dict, rng: np.random.Generator) -> Plain:
    """The tensors after an all-reduce of the group."""
    options = dist.AllreduceOptions()
    options.reduceOp = getattr(dist.ReduceOp, case["op"])

    def program(transport: Transport, *mine: Tensor) -> Plain:
        try:
            work = CheckedGroup(transport).allreduce(list(mine), options)
        except NotImplementedError as error:
            if str(error).endswith("is not written yet"):
                raise
            return {"refused": case["op"], "dtype": ""}
        return _filled(work, mine)

    return on_ranks(case, program, *(_tensors(case, rng) for _ in range(case["count"])))


@probe(
    "4.8 AisysGroup.broadcast",
    cases=[
        tensor_case("from rank 0 of 4", 1, 4, [7], root=0),
        tensor_case("from rank 2 of 5", 2, 5, [3, 2], root=2, dtype="int64"),
        tensor_case("a transposed matrix", 3, 3, [4, 3], root=1, form="transposed"),
        tensor_case("bfloat16", 4, 2, [6], root=1, dtype="bfloat16"),
    ],
    verdict=CLOSE,
    witness=WITNESS,
)
def group_broadcasts(case: dict, rng: np.random.Generator) -> Plain:
    """The tensors after a broadcast of the group."""
    options = dist.BroadcastOptions()
    options.rootRank, options.rootTensor = case["root"], 0

    def program(transport: Transport, mine: Tensor) -> Plain:
        return _filled(CheckedGroup(transport).broadcast([mine], options), [mine])

    return on_ranks(case, program, _tensors(case, rng))


@probe(
    "4.8 AisysGroup.allgather",
    cases=[
        tensor_case("3 ranks, 4 numbers", 1, 3, [4]),
        tensor_case("5 ranks, matrices", 2, 5, [2, 3], dtype="int64"),
        tensor_case("a transposed matrix", 3, 4, [4, 2], form="transposed"),
        tensor_case("empty", 4, 2, [0]),
        tensor_case("one number each", 5, 3, [], dtype="bfloat16"),
    ],
    verdict=CLOSE,
    witness=WITNESS,
)
def group_gathers(case: dict, rng: np.random.Generator) -> Plain:
    """What every rank has of all ranks after an all-gather of the group."""

    def program(transport: Transport, mine: Tensor) -> Plain:
        outputs = [torch.zeros_like(mine) for _ in range(transport.world_size)]
        given = list(outputs)
        return _filled(CheckedGroup(transport).allgather([outputs], [mine]), given)

    return on_ranks(case, program, _tensors(case, rng))


@probe(
    "4.8 AisysGroup.allreduce",
    cases=[
        training_case("DDP trains on the back end: 2 ranks", 1, 2),
        training_case("DDP trains on the back end: 3 ranks", 2, 3, bucket_kb=0.1),
    ],
    verdict=CLOSE,
    witness=WITNESS,
    seconds=COLD_SECONDS,
)
def back_end_weights(case: dict, rng: np.random.Generator) -> Plain:
    """The weights after some steps on the back end, from different ones on each rank."""
    warm_up()

    def program(transport: Transport, weights: list, batches: np.ndarray) -> Plain:
        mine = [values + transport.rank for values in weights]  # the broadcast makes them rank 0's
        return _trained(case, CheckedGroup(transport), mine, batches)

    with no_active_ddp():
        return on_ranks(case, program, *_network(case, rng))


def gloo_group(store: dist.Store, rank: int, ranks: int) -> dist.ProcessGroup:
    """A process group of Gloo for one rank, which may be a thread.

    Args:
        store: What the ranks share.
        rank: This rank.
        ranks: How many there are.
    """
    group = dist.ProcessGroup(store, rank, ranks)
    gloo = dist.ProcessGroupGloo(store, rank, ranks, timedelta(seconds=GLOO_SECONDS))
    gloo._set_sequence_number_for_group()
    kind = dist.ProcessGroup.BackendType.GLOO
    group._set_default_backend(kind)
    group._register_backend(torch.device("cpu"), kind, gloo)
    _kept.append(group)
    return group


def _tensors(case: dict, rng: np.random.Generator) -> list[Tensor]:
    """A tensor for each rank, of the case's shape, dtype and form."""
    return [_tensor(case, rng) for _ in range(case["ranks"])]


def _tensor(case: dict, rng: np.random.Generator) -> Tensor:
    shape, dtype = tuple(case["shape"]), getattr(torch, case["dtype"])
    if case["form"] == "transposed":
        shape = shape[::-1]
    if case["form"] == "strided":
        shape = (*shape[:-1], 2 * shape[-1])
    if dtype.is_floating_point:
        values = torch.from_numpy(np.asarray(rng.standard_normal(shape)))
    else:
        values = torch.from_numpy(np.asarray(rng.integers(-999, 1000, shape)))
    values = values.to(dtype)
    if case["form"] == "parameter":
        return nn.Parameter(values)
    if case["form"] == "transposed":
        return values.T
    return values[..., ::2] if case["form"] == "strided" else values


def _told(tensor: Tensor) -> dict[str, Plain]:
    """A tensor as plain data."""
    values = tensor.detach()
    array = values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    return {"values": array.copy(), "dtype": str(values.dtype).removeprefix("torch.")}


def _filled(work: Any, tensors: Sequence[Tensor]) -> Plain:
    """What tensors hold once a group's work is done, as DDP waits for it."""
    work.get_future().wait()
    told = [_told(tensor) for tensor in tensors]
    return {"tensors": [each["values"] for each in told], "dtype": told[0]["dtype"]}


def _network(case: dict, rng: np.random.Generator) -> tuple[list[list], list[np.ndarray]]:
    """For each rank the same weights of a network, and its own batches [step, batch, inputs]."""
    widths, dtype = case["widths"], case["dtype"]
    weights = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        weights.append((rng.standard_normal((outputs, inputs)) / inputs**0.5).astype(dtype))
        weights.append(rng.standard_normal(outputs).astype(dtype))
    shape = case["steps"], case["batch"], widths[0]
    batches = [rng.standard_normal(shape).astype(dtype) for _ in range(case["ranks"])]
    return [weights] * case["ranks"], batches


def _trained(
    case: dict,
    group: dist.ProcessGroup,
    weights: list[np.ndarray],
    batches: np.ndarray,
    prepare: Callable[[DistributedDataParallel], None] = lambda model: None,
) -> Plain:
    """The weights after a step for each batch, with momentum."""
    layers: list[nn.Module] = []
    for matrix, offset in zip(weights[::2], weights[1::2], strict=True):
        layer = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=getattr(torch, case["dtype"]))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(matrix))
            layer.bias.copy_(torch.from_numpy(offset))
        layers += [layer, nn.Tanh()]
    model = DistributedDataParallel(
        nn.Sequential(*layers), process_group=group, bucket_cap_mb=case["bucket_kb"] / 1024
    )
    prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for batch in torch.from_numpy(batches):
        optimizer.zero_grad()
        (model(batch) - 0.3).square().sum(dim=1).mean().backward()
        optimizer.step()
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
    return _told(flat)
