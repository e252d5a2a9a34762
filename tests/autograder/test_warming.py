"""A warm process that is begun early: whose `aisys` it has, and that nothing of it is left."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import nbformat
import psutil
import pytest

from autograder import warming
from autograder.bench import Bench
from autograder.cli import main
from autograder.fork_server import ForkServer
from autograder.kernel import KernelSpec, Session
from autograder.sample import write_sample_class
from autograder.warming import begun, take

LAB = "lab1_autodiff"
WAIT_SECONDS = 60
LOADED = """
import os, sys, threading
print([m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] == "aisys"])
print([name for name in sys.modules if name.partition(".")[0] == "autograder"])
print(os.getppid())
"""
ABANDONED = """
import os, psutil, signal
from autograder.warming import begun
with begun():
    (warm,) = psutil.Process().children()
    print(warm.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def waiting() -> psutil.Process:
    """The process that was begun and that nobody has taken."""
    (process,) = warming._waiting
    return psutil.Process(process.pid)


def printed(server: ForkServer, kit: Path, code: str) -> list[str]:
    """The lines that code prints in a kernel of a server."""
    with Session(KernelSpec(kit, server=server)) as session:
        cell = nbformat.v4.new_code_cell(code)
        assert session.run_cell(cell, 10) == ""
        return "".join(output.text for output in cell.outputs).splitlines()


def test_what_nobody_takes_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with begun():
        process = waiting()
        assert list(tmp_path.iterdir())
    assert not process.is_running()
    assert list(tmp_path.iterdir()) == []
    assert warming._waiting == []


def test_it_ends_when_the_grader_is_killed() -> None:
    code = [sys.executable, "-c", ABANDONED]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout is not None
        line = grader.stdout.readline()
        end = os.pidfd_open(int(line))
    assert grader.returncode == -signal.SIGKILL
    try:
        assert select.select([end], [], [], WAIT_SECONDS)[0], "it goes on without its grader"
    finally:
        os.close(end)


@pytest.mark.parametrize("is_begun", [False, True])
def test_kernels_have_the_kits_aisys_and_no_other(bench: Bench, is_begun: bool) -> None:
    kit = bench.spec.kit
    with begun() if is_begun else nullcontext(), ForkServer(kit, None) as server:
        aisys, autograder, parent = printed(server, kit, LOADED)
        assert int(parent) == server._process.pid
    files = [Path(file) for file in json.loads(aisys.replace("'", '"'))]
    assert files and all(file.is_relative_to(kit) for file in files)
    assert autograder == "[]"


def test_the_first_fork_server_takes_what_was_begun_and_the_next_begins_its_own(
    bench: Bench,
) -> None:
    with begun():
        process = waiting()
        with ForkServer(bench.spec.kit, None) as first, ForkServer(bench.spec.kit, None) as second:
            first.start()
            second.start()
            assert first._process.pid == process.pid
            another = psutil.Process(second._process.pid)
            assert another != process
        assert not process.is_running() and not another.is_running()


def test_a_kit_without_aisys_gives_no_kernels_of_another(tmp_path: Path) -> None:
    with ForkServer(tmp_path, None) as server, pytest.raises(RuntimeError, match="before it was"):
        server.start()


def test_an_aisys_that_was_there_before_the_kits_gives_no_kernels(bench: Bench) -> None:
    code = "import aisys, sys; from autograder import warm; sys.argv = ['', sys.argv[1]]; "
    code += "warm._import_libraries = lambda: None; warm.main()"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(folder) / "s")],
            input=json.dumps({"kit": str(bench.spec.kit)}) + "\n",
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1 and done.stdout == ""
    assert "expected no aisys before the kit's" in done.stderr


def test_nothing_of_the_graders_environment_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_SECRET", "a secret")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    with begun():
        given = waiting().environ()
    names = {"PATH", "LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
    set_here = {"PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TMPDIR"}
    assert set(given) - names == {*set_here, "PYDEVD_DISABLE_FILE_VALIDATION"}
    assert given["PYTHONPATH"] == str(Path(warming.__file__).parents[1])
    assert given["OMP_NUM_THREADS"] == given["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize("what", ["PATH", "TZ", "TMPDIR"])
def test_a_change_of_the_environment_is_not_lost(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with begun():
        before = waiting()
        if what == "TMPDIR":
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        else:
            monkeypatch.setenv(what, f"{os.environ.get(what, '')}:{tmp_path}")
        process = take()
        try:
            assert not before.is_running()
            process.begin()
            given = psutil.Process(process.pid).environ()
            assert str(tmp_path) in given[what]
        finally:
            process.end()


def test_one_that_has_died_is_not_taken() -> None:
    with begun():
        waiting().kill()
        (dead,) = warming._waiting
        assert dead._process is not None
        dead._process.wait()
        process = take()
        assert process is not dead
        process.end()


@pytest.mark.slow
def test_scores_are_the_same_with_a_warm_process_begun_early_and_without(tmp_path: Path) -> None:
    submitted = tmp_path / "submitted"
    write_sample_class(submitted, [LAB])
    for student in submitted.iterdir():
        if student.name not in ("ada-perfect", "grace-mistaken", "nobody-skeleton"):
            shutil.rmtree(student)
    outs = [tmp_path / name for name in ("early", "late")]
    for out in outs:
        is_late = out.name == "late"
        early = mock.patch.object(warming, "begun", nullcontext if is_late else warming.begun)
        words = ["grade", str(submitted), "--out", str(out), "--quiet"]
        (out / ".autograder").mkdir(parents=True)
        (out / ".autograder" / "secret").write_text("x" * 32, encoding="utf-8")
        with early, mock.patch.object(warming, "WarmProcess", wraps=warming.WarmProcess) as made:
            assert main(words) == 0
        assert made.call_count == 1
    scores = [(out / "scores.csv").read_text(encoding="utf-8") for out in outs]
    assert scores[0] == scores[1]
