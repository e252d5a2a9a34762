"""A rank under `mpirun`: runs the program that a job names, and leaves its outcome in a file."""

import sys
from pathlib import Path

from aisys.allreduce.mpi_transport import MPITransport
from aisys.course.plain import pack, unpack
from tests.support import rank_programs


def main(folder: Path) -> None:
    """Run one rank."""
    job = unpack((folder / "job").read_bytes())
    program = getattr(rank_programs, job["program"])
    with MPITransport(timeout=job["timeout"]) as transport:
        result = rank_programs.outcome(transport, program, *job["arguments"])
    (folder / str(transport.rank)).write_bytes(pack(result))


main(Path(sys.argv[1]))
