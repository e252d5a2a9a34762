"""The transport over MPI: what is said where MPI is missing, and how a rank's death ends all."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aisys.allreduce.mpi_transport import MPITransport, why_no_mpi
from aisys.allreduce.transport import TransportError
from aisys.course.plain import pack


def test_where_mpi4py_is_missing_one_sentence_says_what_adds_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert why_no_mpi() == "mpi4py is not installed: `make systems` adds it."
    with pytest.raises(TransportError, match="`make systems` adds it"):
        MPITransport()


def test_where_mpirun_is_missing_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "install an MPI" in str(why_no_mpi())


@pytest.mark.slow
@pytest.mark.skipif(why_no_mpi() is not None, reason=str(why_no_mpi()))
def test_a_rank_that_dies_ends_all_of_them(tmp_path: Path):
    job = {"program": "killed", "arguments": [1, 2, 5], "timeout": 60.0}
    (tmp_path / "job").write_bytes(pack(job))
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "3", sys.executable]
    command += ["-m", "tests.support.mpi_program", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode != 0
    assert "signal 9" in done.stdout + done.stderr
