"""What the experiments of 4.8 need: DDP on three ways, a table of systems, and what is sent."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from aisys.allreduce import back_end
from aisys.allreduce.compression import Int8
from aisys.allreduce.ddp_hook import HookState, allreduce_hook
from aisys.allreduce.error_feedback import allreduce_compressed, allreduce_float16
from aisys.allreduce.horovod import experiments as horovod
from aisys.allreduce.in_process import InProcessTransport, run
from aisys.allreduce.launcher import launch
from aisys.allreduce.mpi_program import OURS, THEIRS, mpi_seconds
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.torch_transport import TorchTransport
from aisys.allreduce.transport import Transport
from aisys.autodiff.lenet_torch import LeNet
from aisys.course.errors import CourseError
from aisys.data import digits

GLOO, HOOK, BACK_END = "Gloo", "our hook", "our back end"
WAYS = (GLOO, HOOK, BACK_END)

MEAN, DEVIATION = np.float32(0.1307), np.float32(0.3081)
"""Of MNIST's pixels; images are standardised by them."""

REPEATS = {1 << 10: 31, 1 << 20: 11, 64 << 20: 5}
"""How often an array of so many bytes is all-reduced."""

NAMES = {1 << 10: "1 KB", 1 << 20: "1 MB", 64 << 20: "64 MB"}

SYSTEMS = (
    "ours, shared memory",
    "ours, TCP",
    "ours, Gloo's messages",
    "Gloo",
    "ours, MPI's messages",
    "Open MPI",
    "Horovod",
)


@dataclass(frozen=True)
class Trained:
    """DDP's training in one way.

    Attributes:
        losses: Rank 0's, at each step.
        weights: All of them at the end, [n].
        seconds: The median step.
    """

    losses: list[float]
    weights: np.ndarray
    seconds: float


@dataclass
class Table:
    """Times of all-reduces by system.

    Attributes:
        seconds: For each system and size in bytes the median; systems that are missing are not in.
        notes: What is missing, and what was recorded instead.
    """

    seconds: dict[str, dict[int, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train_ddp(
    ways: Sequence[str] = WAYS, ranks: int = 2, steps: int = 60, batch: int = 32
) -> dict[str, Trained]:
    """Train LeNet on MNIST with DDP, on processes, each way from the same weights and digits.

    Args:
        ways: Some of `WAYS`.
        ranks: Processes.
        steps: How many.
        batch: Images of a rank in a step.

    Raises:
        AssertionError: The ranks do not end with the same weights, bit for bit.
    """
    with tempfile.TemporaryDirectory(prefix="aisys-ddp-") as folder:
        found = launch(ranks, _train, folder, list(ways), steps, batch, start="spawn", timeout=60.0)
    trained = {}
    for way in ways:
        each = [rank[way] for rank in found]
        assert all(one["weights"].tobytes() == each[0]["weights"].tobytes() for one in each), way
        trained[way] = Trained(**each[0])
    return trained


def table_of_systems(ranks: int = 2, repeats: Mapping[int, int] = REPEATS) -> Table:
    """Measure an all-reduce of float32 in all systems that are here.

    Args:
        ranks: Processes.
        repeats: Sizes in bytes, and how often each is all-reduced.
    """
    table, sizes = Table(), {str(size): each for size, each in repeats.items()}
    for name, transport in (("ours, shared memory", "shared"), ("ours, TCP", "tcp"),
                            ("ours, Gloo's messages", "gloo")):  # fmt: skip
        found = launch(ranks, _ring_times, sizes, transport=transport, timeout=60.0)
        table.seconds[name] = _slowest(found)
    with tempfile.TemporaryDirectory(prefix="aisys-gloo-") as folder:
        by_rank = launch(ranks, _gloo_times, folder, sizes, timeout=60.0)
    table.seconds["Gloo"] = _slowest(by_rank)
    try:
        under_mpi = mpi_seconds(ranks, dict(repeats))
    except CourseError as error:
        table.notes.append(f"Without MPI: {error}")
    else:
        for name, system in (("ours, MPI's messages", OURS), ("Open MPI", THEIRS)):
            table.seconds[name] = _slowest([rank["seconds"][system] for rank in under_mpi])
    _add_horovod(table, ranks, list(repeats))
    return table


def shown(tables: Mapping[int, Table]) -> str:
    """Tables by the number of ranks, as text in milliseconds."""
    sizes = list(next(iter(tables.values())).seconds["Gloo"])
    lines = []
    for ranks, table in tables.items():
        over = "  oversubscribed" if ranks > horovod.cores() else ""
        names = "".join(f"{NAMES.get(size, size):>12}" for size in sizes)
        lines += [f"{ranks} ranks{over}", f"{'time in ms':24}{names}"]
        for system in SYSTEMS:
            if system in table.seconds:
                times = "".join(f"{1e3 * table.seconds[system][size]:12.3g}" for size in sizes)
                lines.append(f"{system:24}{times}")
        lines.append("")
    notes = dict.fromkeys(note for table in tables.values() for note in table.notes)
    return "\n".join([*lines, *notes]).rstrip()


def bytes_by_ranks(ranks: Sequence[int], n: int = 4096) -> dict[str, list[float]]:
    """What a rank sends for each element of a gradient, added up and gathered.

    Args:
        ranks: Numbers of ranks.
        n: Elements.

    Returns:
        Bytes an element, for each number of ranks, by the way in which it travels.
    """
    ways: dict[str, Callable[[Transport, np.ndarray], np.ndarray]] = {
        "float32, ring": ring_allreduce,
        "float16, ring": allreduce_float16,
        "int8, all-gather": lambda transport, data: allreduce_compressed(transport, data, Int8()),
    }
    gradient = np.random.default_rng(0).standard_normal(n).astype(np.float32)

    def sent(way: Callable[[Transport, np.ndarray], np.ndarray], count: int) -> float:
        def program(transport: InProcessTransport) -> None:
            way(transport, gradient)

        return max(run(count, program).trace.bytes_sent) / n

    return {name: [sent(way, count) for count in ranks] for name, way in ways.items()}


def _train(
    transport: Transport, folder: str, ways: list[str], steps: int, batch: int
) -> dict[str, Any]:
    """One rank's training in each way."""
    torch.set_num_threads(1)
    back_end.register()
    found = {}
    for number, way in enumerate(ways):
        path = str(Path(folder, f"store{number}"))
        store = dist.FileStore(path, transport.world_size)
        dist.init_process_group(
            back_end.NAME if way == BACK_END else "gloo",
            store=dist.PrefixStore("ddp", store),
            rank=transport.rank,
            world_size=transport.world_size,
            timeout=timedelta(seconds=60),
        )
        model = DistributedDataParallel(LeNet(seed=transport.rank))
        if way == HOOK:
            hooked = dist.PrefixStore("hook", store)
            with TorchTransport.connect(hooked, transport.rank, transport.world_size) as messages:
                model.register_comm_hook(HookState(messages), allreduce_hook)
                found[way] = _steps(model, transport.rank, steps, batch)
                transport.barrier()
        else:
            found[way] = _steps(model, transport.rank, steps, batch)
        del model
        transport.barrier()
        dist.destroy_process_group()
    return found


def _steps(model: torch.nn.Module, rank: int, steps: int, batch: int) -> dict[str, Any]:
    """Train, on digits that are drawn by the rank's number."""
    data, rng = digits(), np.random.default_rng(rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses, times = [], []
    for _ in range(steps):
        chosen = rng.integers(0, len(data.train_labels), batch)
        begin = perf_counter()
        optimizer.zero_grad()
        images = (data.train_images[chosen] - MEAN) / DEVIATION
        guessed = model(torch.from_numpy(images))
        loss = F.cross_entropy(guessed, torch.from_numpy(data.train_labels[chosen]))
        loss.backward()
        optimizer.step()
        times.append(perf_counter() - begin)
        losses.append(loss.item())
    weights = torch.cat([each.detach().reshape(-1) for each in model.parameters()])
    return {"losses": losses, "weights": weights.numpy(), "seconds": median(times)}


def _ring_times(transport: Transport, sizes: dict[str, int]) -> dict[str, float]:
    """Median seconds of our ring, on one rank."""
    return _times(transport, sizes, lambda data: ring_allreduce(transport, data))


def _gloo_times(transport: Transport, folder: str, sizes: dict[str, int]) -> dict[str, float]:
    """Median seconds of Gloo's own all-reduce, on one rank; in place, as Gloo does it."""
    store = dist.FileStore(str(Path(folder, "store")), transport.world_size)
    timeout = timedelta(seconds=60)
    group: Any = dist.ProcessGroupGloo(store, transport.rank, transport.world_size, timeout)
    found = _times(transport, sizes, lambda data: group.allreduce([torch.from_numpy(data)]).wait())
    transport.barrier()
    return found


def _times(
    transport: Transport, sizes: dict[str, int], allreduce: Callable[[np.ndarray], Any]
) -> dict[str, float]:
    found = {}
    for size, repeats in sizes.items():
        data, times = np.ones(int(size) // 4, np.float32), []
        for _ in range(repeats + 1):
            transport.barrier()
            begin = perf_counter()
            allreduce(data)
            times.append(perf_counter() - begin)
        found[size] = median(times[1:])
    return found


def _slowest(by_rank: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """For each size the time of the rank that takes longest."""
    return {int(size): max(times[size] for times in by_rank) for size in by_rank[0]}


def _add_horovod(table: Table, ranks: int, sizes: list[int]) -> None:
    """Horovod as it comes, measured where it is built; otherwise recorded, for known sizes."""
    missing = horovod.why_not("stock")
    try:
        if missing is None:
            measured = horovod.times(ranks, ["average"], sizes, 1, 5, ["stock"])
        else:
            measured = horovod.recorded("times")[str(ranks)]
            kept = horovod.recorded()
            table.notes.append(f"{missing} Its row was recorded on {kept['date']}.")
        by_size = measured["stock"]["average"]
        table.seconds["Horovod"] = {size: by_size[str(size)]["seconds"] for size in sizes}
    except (CourseError, OSError, KeyError) as error:
        table.seconds.pop("Horovod", None)
        table.notes.append(missing or f"Horovod failed: {error}")
