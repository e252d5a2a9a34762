"""Ways to run a program of `rank_programs` on some ranks: one a transport, all called alike."""

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist

from aisys.allreduce import in_process
from aisys.allreduce.broker import Broker, BrokerRun
from aisys.allreduce.broker_transport import BrokerTransport
from aisys.allreduce.running import Ranks
from aisys.allreduce.torch_transport import TorchTransport
from aisys.course.plain import pack, unpack
from tests.support.rank_programs import Outcome, outcome

Runner = Callable[..., list[Outcome]]
"""`runner(ranks, program, *args, timeout=30.0)`: each rank's outcome."""


def as_threads(**options: Any) -> Runner:
    """Over the in-process transport."""

    def runner(ranks: int, program: Any, *args: Any, timeout: float = 30.0) -> list[Outcome]:
        return in_process.run(ranks, outcome, program, *args, **options).results

    return runner


def as_processes(transport: str, start: str = "fork") -> Runner:
    """Over a transport between processes of this machine."""

    def runner(ranks: int, program: Any, *args: Any, timeout: float = 30.0) -> list[Outcome]:
        with Ranks(
            ranks, outcome, program, *args, transport=transport, timeout=timeout, start=start
        ) as running:
            ended = running.wait()
        return [one.value or {"error": one.message, "rank": one.at_fault} for one in ended]

    return runner


def over_a_broker(ranks: int, program: Any, *args: Any, timeout: float = 30.0) -> list[Outcome]:
    """Over a broker; the ranks are threads, because what is tried is how they pass messages."""
    return over_a_broker_run(broker().open(ranks, timeout), program, *args)


def over_a_broker_run(run: BrokerRun, program: Any, *args: Any) -> list[Outcome]:
    """Over a broker's run that is open."""

    def be(address: str) -> Outcome:
        with BrokerTransport(address) as transport:
            return outcome(transport, program, *args)

    with ThreadPoolExecutor(len(run.addresses)) as pool:
        return list(pool.map(be, run.addresses))


@functools.cache
def broker() -> Broker:
    """The broker of this process's tests: what one run does to it, the next would see."""
    return Broker()


def over_torch(ranks: int, program: Any, *args: Any, timeout: float = 30.0) -> list[Outcome]:
    """Over Gloo's process groups, one a thread."""
    store = dist.HashStore()

    def be(rank: int) -> Outcome:
        with TorchTransport.connect(store, rank, ranks, timeout) as transport:
            return outcome(transport, program, *args)

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(be, range(ranks)))


def over_mpi(ranks: int, program: Any, *args: Any, timeout: float = 30.0) -> list[Outcome]:
    """Over MPI, under `mpirun`."""
    with tempfile.TemporaryDirectory() as folder:
        job = {"program": program.__name__, "arguments": args, "timeout": timeout}
        Path(folder, "job").write_bytes(pack(job))
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks)]
        command += [sys.executable, "-m", "tests.support.mpi_program", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout + 60)
        assert done.returncode == 0, done.stderr
        return [unpack(Path(folder, f"{rank}").read_bytes()) for rank in range(ranks)]


RUNNERS: dict[str, Runner] = {
    "in process": as_threads(),
    "in process, random turns": as_threads(seed=1),
    "in process, synchronous": as_threads(synchronous=True),
    "broker": over_a_broker,
    "torch": over_torch,
    "mpi": over_mpi,
    "tcp": as_processes("tcp"),
    "shared memory": as_processes("shared"),
}
