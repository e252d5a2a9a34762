"""What runs on Horovod's ranks; `running.run` names one of these functions.

    python -m aisys.allreduce.horovod.programs FOLDER NAME ARGUMENTS

Each rank writes what its function returned to `FOLDER/RANK`, as JSON.
"""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import numpy as np
import torch
from horovod.torch import mpi_ops
from torch import Tensor

from aisys.allreduce.compression import CHUNK, Compressor, Float16, Int8, OneBit, TopK
from aisys.allreduce.compression_experiments import DEVIATION, MEAN
from aisys.allreduce.error_feedback import ErrorFeedback
from aisys.allreduce.three_lc import ThreeLC
from aisys.autodiff.lenet_torch import LeNet
from aisys.data import batches, digits

GATHERED: dict[str, Callable[[], Compressor]] = {
    "int8": Int8,
    "top-k 1 %": lambda: TopK(0.01),
    "1-bit": OneBit,
    "3LC": lambda: ThreeLC(1.0),
}
"""Compressors whose payloads no sum makes sense of, by name."""


class HalfPrecision:
    """The lab's `Float16` as a compressor of Horovod: what it makes of a gradient is added up."""

    @staticmethod
    def compress(tensor: Tensor) -> tuple[Tensor, torch.Size]:
        """Half of the bytes, and what is needed to undo it."""
        payload = Float16().compress(tensor.detach().numpy().reshape(-1))
        return torch.from_numpy(payload.view(np.float16)), tensor.shape

    @staticmethod
    def decompress(tensor: Tensor, shape: torch.Size) -> Tensor:
        """The gradient, from the sum of what the ranks' `compress` gave."""
        payload = tensor.numpy().view(np.uint8)
        return torch.from_numpy(Float16().decompress(payload, shape.numel())).reshape(shape)


def seconds(ways: list[str], sizes: list[int], repeats: int) -> dict[str, Any]:
    """What all-reduces of float32 take on this rank, in seconds of time and of processor.

    Args:
        ways: How, by the names of `_ways`.
        sizes: Bytes of the array.
        repeats: How many count, of each way and size, taking turns; one more comes before.

    Returns:
        `{way: {size: {"seconds": [...], "processor": [...]}}}`.
    """
    found: dict[str, Any] = {way: {} for way in ways}
    for nbytes in sizes:
        for way in ways:
            found[way][str(nbytes)] = {"seconds": [], "processor": []}
        calls = _ways(nbytes)
        for number in range(1 + repeats):
            for way in ways:
                hvd.barrier()
                used, start = _processor_seconds(), time.perf_counter()
                calls[way]()
                ended = time.perf_counter()
                if number > 0:
                    found[way][str(nbytes)]["seconds"].append(ended - start)
                    found[way][str(nbytes)]["processor"].append(_processor_seconds() - used)
    return found


def _ways(nbytes: int) -> dict[str, Callable[[], Any]]:
    """Ways to all-reduce; each leaves out one more of what the first of them does."""
    data, out = torch.ones(nbytes // 4), torch.ones(nbytes // 4)

    def asleep(name: str, output: Tensor | None, operation: Any = hvd.Sum) -> None:
        """Wait without `synchronize`, which asks again and again whether it is done."""
        result = data.new(data.shape) if output is None else output
        handle = mpi_ops._allreduce_async(
            data, result, name, operation, 1.0, 1.0, hvd.global_process_set
        )
        while not hvd.poll(handle):
            time.sleep(0.0002)  # short beside what is timed, and the core is the ring's meanwhile
        hvd.synchronize(handle)

    return {
        "average": lambda: hvd.allreduce(data, name="average"),
        "sum": lambda: hvd.allreduce(data, name="sum", op=hvd.Sum),
        "in place": lambda: hvd.allreduce_(data, name="in place", op=hvd.Sum),
        "asleep: average": lambda: asleep("a", None, hvd.Average),
        "asleep: average, old output": lambda: asleep("b", out, hvd.Average),
        "asleep: sum, old output": lambda: asleep("c", out),
        "asleep: sum, in place": lambda: asleep("d", data),
    }


def reduced(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All-reduces of arrays drawn from the ranks' numbers, and how far they are from exact.

    Args:
        cases: Each with `"dtype"` and `"n"` (a number, or several for tensors that are fused), and
            maybe `"op"`, `"in_place"`, `"prescale"`, `"compression"`.

    Returns:
        For each case the SHA-256 of the result's bytes, and the largest error relative to the sum
        of the terms' magnitudes.
    """
    return [_reduced(number, case) for number, case in enumerate(cases)]


def _reduced(number: int, case: dict[str, Any]) -> dict[str, Any]:
    dtype, sizes = getattr(torch, case["dtype"]), case["n"]
    sizes = sizes if isinstance(sizes, list) else [sizes]
    of_ranks = [
        [_drawn(np.random.default_rng([number, place, rank]), n, dtype)
         for place, n in enumerate(sizes)]
        for rank in range(hvd.size())
    ]  # fmt: skip
    mine = [tensor.clone() for tensor in of_ranks[hvd.rank()]]
    operation = getattr(hvd, case.get("op", "Sum"))
    prescale = case.get("prescale", 1.0)
    options = {"name": f"case {number}", "op": operation, "prescale_factor": prescale}
    if len(mine) > 1:
        results = hvd.grouped_allreduce(mine, **options)
    elif case.get("in_place"):
        results = [hvd.allreduce_(mine[0], **options)]
    else:
        half = case.get("compression") == "float16"
        compression = HalfPrecision if half else hvd.Compression.none
        results = [hvd.allreduce(mine[0], compression=compression, **options)]
    digest, worst = hashlib.sha256(), 0.0
    for place, result in enumerate(results):
        terms = np.stack([rank[place].double().numpy() for rank in of_ranks]) * prescale
        exact = _EXACT[case.get("op", "Sum")](terms)
        scale = np.maximum(np.abs(terms).sum(axis=0), 1e-30)
        error = np.abs(result.double().numpy() - exact) / scale
        worst = max(worst, float(error.max(initial=0)))
        digest.update(result.numpy().tobytes())
    return {"digest": digest.hexdigest(), "error": worst}


_EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Sum": lambda terms: terms.sum(axis=0),
    "Average": lambda terms: terms.mean(axis=0),
    "Min": lambda terms: terms.min(axis=0),
    "Max": lambda terms: terms.max(axis=0),
    "Product": lambda terms: terms.prod(axis=0),
}


def _drawn(rng: np.random.Generator, n: int, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return torch.from_numpy(rng.standard_normal(n)).to(dtype)
    # A multiple of 12, so that the average of 2, 3 or 4 is whole; small enough for 8 bits.
    return torch.from_numpy(12 * rng.integers(0, 3, n)).to(dtype)


def train(kind: str, steps: int, batch: int = 32, rate: float = 0.1) -> dict[str, Any]:
    """Train LeNet on MNIST, each rank on its share of every batch.

    Args:
        kind: `"float32"` or `"float16"`: added up by Horovod's `DistributedOptimizer`. A name of
            `GATHERED`: the payloads go through Horovod's all-gather; with error feedback.
        steps: How many.
        batch: Images of a rank in a step.
        rate: The learning rate.

    Returns:
        `"losses"` of this rank, `"accuracy"` on held-out digits, `"seconds"` a step (the median),
        `"bits"` an element that this rank hands to Horovod, and `"weights"`, their SHA-256.
    """
    if kind not in ("float32", "float16", *GATHERED):
        raise ValueError(f"There is no {kind!r} among float32, float16, {', '.join(GATHERED)}.")
    data, network = digits(), LeNet(seed=0)
    ranks, rank = hvd.size(), hvd.rank()
    optimiser = torch.optim.SGD(network.parameters(), lr=rate)
    own: list[tuple[Tensor, Compressor]] = []
    if kind in GATHERED:
        weights = list(network.parameters())
        own = [(each, ErrorFeedback(GATHERED[kind](), each.numel())) for each in weights]
    else:
        half = kind == "float16"
        optimiser = hvd.DistributedOptimizer(
            optimiser,
            named_parameters=network.named_parameters(),
            compression=HalfPrecision if half else hvd.Compression.none,
            gradient_predivide_factor=ranks if half else 1.0,  # no sum leaves float16's range
        )
    order = list(batches(len(data.train_labels), ranks * batch, 1 + steps * ranks * batch // 4000))
    losses, times, sent = [], [], 0
    elements = sum(weight.numel() for weight in network.parameters())
    for chosen in order[:steps]:
        start = time.perf_counter()
        mine = chosen[rank::ranks]
        scores = network(_standardised(data.train_images[mine]))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.train_labels[mine]))
        optimiser.zero_grad()
        loss.backward()
        if own:
            sent += sum(_averaged(weight, compressor) for weight, compressor in own)
        else:
            sent += elements * (2 if kind == "float16" else 4)
        optimiser.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    with torch.no_grad():
        guessed = network(_standardised(data.held_out_images)).argmax(dim=1).numpy()
    digest = hashlib.sha256()
    for weight in network.parameters():
        digest.update(weight.detach().numpy().tobytes())
    return {
        "losses": losses,
        "accuracy": float((guessed == data.held_out_labels).mean()),
        "seconds": float(np.median(times)),
        "bits": 8 * sent / (steps * elements),
        "weights": digest.hexdigest(),
    }


def _averaged(weight: Tensor, compressor: Compressor) -> int:
    """Replace a gradient by the mean of what all ranks' payloads tell; how many bytes were sent."""
    assert weight.grad is not None
    gradient = weight.grad.numpy().reshape(-1)
    payload = torch.from_numpy(compressor.compress(gradient))
    lengths = hvd.allgather(torch.tensor([len(payload)])).tolist()
    payloads = hvd.allgather(payload).split(lengths)
    told = [compressor.decompress(each.numpy(), gradient.size) for each in payloads]
    mean = np.sum(told, axis=0, dtype=np.float32) / np.float32(len(told))
    weight.grad.copy_(torch.from_numpy(mean).reshape(weight.shape))
    return len(payload)


def what_a_sum_does() -> dict[str, Any]:
    """Compressed gradients that are handed to Horovod's sum: what comes of them.

    Of int8 the codes are added, as int32, because Horovod adds no shorter integers; what scale the
    sum has nobody knows, and each rank takes its own.

    Returns:
        For float16, bfloat16 and int8 this rank's error of the mean relative to its norm; None with
        the words of Horovod's refusal where it does not take the type.
    """
    gradients = [
        np.float32(1 + rank) * np.random.default_rng(rank).standard_normal(4096, np.float32)
        for rank in range(hvd.size())
    ]
    mine = torch.from_numpy(gradients[hvd.rank()])
    exact = np.mean(gradients, axis=0, dtype=np.float64)

    def error(mean: np.ndarray) -> float:
        return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))

    half, shape = HalfPrecision.compress(mine / hvd.size())
    summed = HalfPrecision.decompress(hvd.allreduce(half, op=hvd.Sum, name="half"), shape)
    found: dict[str, Any] = {"float16": {"error": error(summed.double().numpy())}}
    try:
        brain = hvd.allreduce(mine.bfloat16(), op=hvd.Sum, name="brain").double() / hvd.size()
        found["bfloat16"] = {"error": error(brain.numpy())}
    except (ValueError, TypeError, RuntimeError) as refusal:
        found["bfloat16"] = {"error": None, "refusal": str(refusal)}
    payload = Int8().compress(mine.numpy())
    scales, codes = payload[: -mine.numel()], payload[-mine.numel() :].view(np.int8)
    added = hvd.allreduce(torch.from_numpy(codes.astype(np.int32)), op=hvd.Sum, name="int8").numpy()
    own = np.repeat(scales.view(np.float32), CHUNK)[: mine.numel()]  # whose else?
    found["int8"] = {"error": error(added * own / hvd.size())}
    return found


def _standardised(images: np.ndarray) -> Tensor:
    return torch.from_numpy((images - np.float32(MEAN)) / np.float32(DEVIATION))


def _processor_seconds() -> float:
    """What all threads of this process have used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Be a rank."""
    folder, name, arguments = sys.argv[1:]
    torch.set_num_threads(1)
    hvd.init()
    result = globals()[name](*json.loads(arguments))
    Path(folder, str(hvd.rank())).write_text(json.dumps(result), encoding="utf-8")
    hvd.shutdown()


if __name__ == "__main__":
    main()
