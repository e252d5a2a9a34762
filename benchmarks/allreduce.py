"""All-reduce of float32: our ring and hierarchy, Gloo, OpenMPI and Horovod; and a model of more.

Systems take turns, round by round; a time is that of the slowest rank. Our two references over TCP
and over shared memory, and Gloo, run in the same processes. More ranks than cores are labelled
oversubscribed. Ours returns a new array, Gloo works in place, MPI fills an array that is there;
Horovod is measured both ways: `hvd.allreduce` returns a new tensor. OpenMPI and Horovod are left
out where they are missing (`make systems`, `make horovod`), which is said.

The simulation counts steps and bytes on the critical path, and takes alpha and beta of this
machine's TCP. Where a ring of thousands would take hours to simulate, its formula is used.

Aims at 64 MB on 2 ranks: shared memory faster than Gloo; TCP within 1.5 times of Gloo; faster than
Horovod.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Ratio, Row, cores, median_ratio, median_rows, options, report
from ranks.processes import timed

from aisys.allreduce.choice import Cluster, allreduce_seconds
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import fit_alpha_beta, one_way_seconds, ping_pong
from aisys.allreduce.doubling import halving_doubling_allreduce, recursive_doubling_allreduce
from aisys.allreduce.horovod.building import VARIANTS, why_not
from aisys.allreduce.horovod.running import run as run_horovod
from aisys.allreduce.in_process import run as simulate
from aisys.allreduce.launcher import launch
from aisys.allreduce.mpi_transport import why_no_mpi
from aisys.allreduce.ports import Link
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.trees import tree_allreduce

SIZES = {"1 KB": 1 << 10, "32 KB": 1 << 15, "1 MB": 1 << 20, "8 MB": 1 << 23, "64 MB": 1 << 26}
LARGEST = "64 MB"
REPEATS = 3
HOROVOD = {"stock": "Horovod", "improved": "Horovod, patched"}
WAYS = {"sum": "", "in place": ", in place"}

ALGORITHMS = {
    "tree": tree_allreduce,
    "recursive doubling": recursive_doubling_allreduce,
    "halving-doubling": halving_doubling_allreduce,
    "ring": ring_allreduce,
}
SIMULATED_RANKS = (4, 16, 64, 256, 1024, 4096)
MOST_OF_A_RING = 64
PING_PONGS = (8, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 23)

Times = dict[str, dict[str, list[float]]]
"""Seconds by size and system."""


def main() -> None:
    """Measure, print, keep."""
    chosen = options(__doc__ or "")
    rows: list[Row] = []
    ratios: dict[str, Ratio] = {}
    for missing in filter(None, [why_no_mpi(), *map(why_not, VARIANTS)]):
        print(f"left out: {missing}")
    for ranks in (2, 4):
        label = f"{ranks} ranks" + (", oversubscribed" if ranks > cores() else "")
        measured = rounds_of(ranks, rounds=2 if chosen.quick else 5)
        for size, seconds in measured.items():
            rows += median_rows(f"{label}, {size}", seconds)
        if ranks == 2:
            ratios |= ratios_of(measured[LARGEST])
    rows += simulated(SIMULATED_RANKS[:3] if chosen.quick else SIMULATED_RANKS)
    report("allreduce", rows, ratios, chosen.quick)


def ratios_of(seconds: dict[str, list[float]]) -> dict[str, Ratio]:
    """The ratios at 64 MB on 2 ranks, with their aims."""
    pairs = [("ring, shared memory", "Gloo", 1.0), ("ring, TCP", "Gloo", 1.5)]
    for horovod in ("Horovod", "Horovod, in place"):
        pairs += [(f"ring, {way}", horovod, 1.0) for way in ("shared memory", "TCP")]
    pairs += [(f"Horovod, patched{way}", f"Horovod{way}", 1.0) for way in WAYS.values()]
    return {
        f"{LARGEST}, 2 ranks: {system} / {other}": median_ratio(seconds, system, other, aim)
        for system, other, aim in pairs
        if system in seconds and other in seconds
    }


def rounds_of(ranks: int, rounds: int) -> Times:
    """Every system in every round, in the same order."""
    systems: list[Callable[[int], Times]] = [processes]
    if why_no_mpi() is None:
        systems.append(mpi)
    systems += [
        lambda ranks, variant=variant: horovod(ranks, variant)
        for variant in VARIANTS
        if why_not(variant) is None
    ]
    found: Times = {size: {} for size in SIZES}
    for _ in range(rounds):
        for measure in systems:
            for size, seconds in measure(ranks).items():
                for name, times in seconds.items():
                    found[size].setdefault(name, []).extend(times)
    return found


def processes(ranks: int) -> Times:
    """Ours and Gloo; the hierarchy has nodes of two ranks."""
    by_rank = launch(ranks, timed, 2, [*SIZES.values()], REPEATS, timeout=120.0)
    slowest = {name: np.max([rank[name] for rank in by_rank], axis=0) for name in by_rank[0]}
    return {
        size: {name: slowest[name][number].tolist() for name in sorted(slowest)}
        for number, size in enumerate(SIZES)
    }


def mpi(ranks: int) -> Times:
    """MPI's own."""
    program = Path(__file__).parent / "ranks" / "mpi.py"
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks), sys.executable]
    command += [str(program), json.dumps([*SIZES.values()]), str(REPEATS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {
        size: {"OpenMPI": times}
        for size, times in zip(SIZES, json.loads(done.stdout.splitlines()[-1]), strict=True)
    }


def horovod(ranks: int, variant: str) -> Times:
    """Horovod's, as it is or with the lab's patch."""
    by_rank = run_horovod(
        variant, ranks, "seconds", [*WAYS], [*SIZES.values()], REPEATS, seconds=600.0
    )

    def slowest(way: str, nbytes: int) -> list[float]:
        return np.max([rank[way][str(nbytes)]["seconds"] for rank in by_rank], axis=0).tolist()

    return {
        size: {HOROVOD[variant] + said: slowest(way, nbytes) for way, said in WAYS.items()}
        for size, nbytes in SIZES.items()
    }


def simulated(ranks: tuple[int, ...]) -> list[Row]:
    """What each algorithm takes in the model, and from which size on the next one is faster."""
    model = fitted()
    rows = [
        Row("alpha-beta model", "TCP of this machine", "alpha", 1e6 * model.alpha, "us"),
        Row("alpha-beta model", "TCP of this machine", "bandwidth", 1e-9 / model.beta, "GB/s"),
    ]
    for world_size in ranks:
        counted = {name: counts(name, world_size) for name in ALGORITHMS}
        for size in ("1 KB", "1 MB", LARGEST):
            rows += [
                Row(
                    f"simulated, {world_size} ranks, {size}",
                    name + (" (formula)" if by_formula(name, world_size) else ""),
                    "time",
                    1e3 * model.seconds(steps, share * SIZES[size]),
                    "ms",
                )
                for name, (steps, share) in counted.items()
            ]
        for small, large in (
            ("tree", "ring"),
            ("recursive doubling", "ring"),
            ("recursive doubling", "halving-doubling"),
            ("halving-doubling", "ring"),
        ):
            nbytes = crossover(model, counted[small], counted[large])
            if nbytes is None:
                print(f"simulated, {world_size} ranks: {large} is never faster than {small}")
            else:
                case = f"simulated, {world_size} ranks, crossover"
                rows.append(Row(case, f"{small} to {large}", "size", nbytes / 1024, "KB"))
    return rows


def fitted() -> CostModel:
    """Alpha and beta of TCP between two processes of this machine."""
    rounds = [
        launch(2, ping_pong, nbytes, 15 if nbytes > 1 << 20 else 101, timeout=60.0)[0]
        for nbytes in PING_PONGS
    ]
    seconds = [float(one_way_seconds(np.array(times)[:, None])[0]) for times in rounds]
    return fit_alpha_beta(np.array(PING_PONGS), np.array(seconds))


def by_formula(name: str, world_size: int) -> bool:
    """Whether an algorithm has too many messages to simulate."""
    return name == "ring" and world_size > MOST_OF_A_RING


def counts(name: str, world_size: int) -> tuple[float, float]:
    """Steps on the critical path, and bytes on it in units of the array, on the simulated clock."""
    if by_formula(name, world_size):

        def cost(model: CostModel) -> float:
            return allreduce_seconds(name, Cluster(1, world_size, model, model), 1)

        return cost(CostModel(1, 0)), cost(CostModel(0, 1))
    data = np.ones(world_size, np.float32)

    def seconds(link: Link) -> float:
        return simulate(
            world_size, lambda transport: ALGORITHMS[name](transport, data), links=link
        ).trace.seconds

    return seconds(Link(1, 0)), seconds(Link(0, 1)) / data.nbytes


def crossover(
    model: CostModel, small: tuple[float, float], large: tuple[float, float]
) -> float | None:
    """From which size on the second one is faster; None where that is never so.

    Args:
        model: Of every link.
        small: Steps, and bytes in units of the array.
        large: The same of the other one.
    """
    steps, share = large[0] - small[0], small[1] - large[1]
    if share <= 0 or steps <= 0:
        return None
    return steps * model.alpha / (share * model.beta)


if __name__ == "__main__":
    main()
