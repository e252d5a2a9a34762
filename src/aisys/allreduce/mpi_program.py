"""A rank under `mpirun`: times all-reduces of ours and of MPI, or runs a test of them (4.8).

    mpirun -n 2 python -m aisys.allreduce.mpi_program FOLDER

The folder has the file `job`, plain data; each rank leaves a file with its number there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from aisys.allreduce.mpi_transport import MPITransport, why_no_mpi
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course.errors import CourseError
from aisys.course.exporting import export_attempts
from aisys.course.plain import pack, unpack
from aisys.course.slots import find, recording, slots

OURS, THEIRS = "our ring", "MPI_Allreduce"


def mpi_seconds(ranks: int, sizes: dict[int, int]) -> list[dict[str, Any]]:
    """Run all-reduces under `mpirun`, with the attempts of this process.

    Args:
        ranks: Processes.
        sizes: Bytes of the array, and how often it is all-reduced.

    Returns:
        For each rank `{"seconds": {system: {bytes as text: median}}, "equal": ...}`: whether both
        systems came to the same sum.

    Raises:
        CourseError: There is no MPI, or the program failed; says what is missing or was printed.
    """
    missing = why_no_mpi()
    if missing is not None:
        raise CourseError(missing)
    with tempfile.TemporaryDirectory(prefix="aisys-mpi-") as name:
        folder = Path(name)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        if any(slot.attempt is not None for slot in slots()):
            environment["AISYS_ATTEMPTS"] = str(export_attempts(folder / "attempts.py"))
        job = {"sizes": {str(size): repeats for size, repeats in sizes.items()}}
        (folder / "job").write_bytes(pack(job))
        command = [*_mpirun(), "-n", str(ranks), sys.executable, "-m", __name__, name]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            raise CourseError(f"The program failed under mpirun:\n{done.stderr[-2000:]}")
        found = [unpack((folder / str(rank)).read_bytes()) for rank in range(ranks)]
    for key in found[0]["called"]:
        find(key).record()
    return found


def _mpirun() -> list[str]:
    """`mpirun`, with what Open MPI asks of root and of more ranks than cores."""
    mpirun = shutil.which("mpirun") or "mpirun"
    said = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False)
    open_mpi = "Open MPI" in said.stdout
    return [mpirun, "--allow-run-as-root", "--oversubscribe"] if open_mpi else [mpirun]


def _times(transport: Transport, sizes: dict[str, int]) -> dict[str, Any]:
    """Both systems in turn, after one call of each for warmth."""
    from mpi4py import MPI

    def ours(data: np.ndarray) -> np.ndarray:
        return ring_allreduce(transport, data)

    def theirs(data: np.ndarray) -> np.ndarray:
        total = np.empty_like(data)
        MPI.COMM_WORLD.Allreduce(data, total)
        return total

    seconds: dict[str, dict[str, float]] = {OURS: {}, THEIRS: {}}
    equal = True
    for size, repeats in sizes.items():
        data = np.random.default_rng(transport.rank).random(int(size) // 4, np.float32)
        equal = equal and bool(np.allclose(ours(data), theirs(data), rtol=1e-5))
        times: dict[str, list[float]] = {OURS: [], THEIRS: []}
        for _ in range(repeats):
            for name, allreduce in ((OURS, ours), (THEIRS, theirs)):
                MPI.COMM_WORLD.Barrier()
                begin = perf_counter()
                allreduce(data)
                times[name].append(perf_counter() - begin)
        for name in seconds:
            seconds[name][size] = median(times[name])
    return {"seconds": seconds, "equal": equal}


def main(folder: Path) -> None:
    """Be a rank."""
    job = unpack((folder / "job").read_bytes())
    with MPITransport() as transport, recording() as called:
        found = _times(transport, job["sizes"])
        (folder / str(transport.rank)).write_bytes(pack({**found, "called": sorted(called)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
