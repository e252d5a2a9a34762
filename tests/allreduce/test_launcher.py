"""The launcher: results and logs of the ranks, one clear error, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import aisys
from aisys.allreduce import logs, running
from aisys.allreduce.launcher import RankError, launch
from aisys.allreduce.running import Ranks
from aisys.course.errors import CourseError, Hole
from aisys.course.slots import recording
from tests.support import launched, rank_programs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.usefixtures("nothing_is_left_behind"),
]
ROOT = Path(__file__).resolve().parents[2]
STARTS = ("fork", "spawn")


def wait_until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)


def error_of(ranks: int, program, *arguments, **options) -> RankError:
    with pytest.raises(RankError) as caught:
        launch(ranks, program, *arguments, **options)
    return caught.value


@pytest.fixture
def script(tmp_path: Path):
    """Starts a script of one's own as a process whose output can be read."""
    started: list[subprocess.Popen] = []

    def start(text: str) -> subprocess.Popen:
        file = tmp_path / "script.py"
        file.write_text(text)
        paths = [Path(aisys.__file__).parents[1], ROOT, ROOT / "tests" / "support"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        process = subprocess.Popen(
            [sys.executable, str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("transport", ["tcp", "shared"])
def test_results_come_in_the_order_of_the_ranks(start, transport):
    array = np.arange(3, dtype=np.float16)
    results = launch(3, launched.says_its_rank, "x", array, start=start, transport=transport)
    assert [result[:3] for result in results] == [[rank, 3, "x"] for rank in range(3)]
    assert all((result[3] == array).all() and result[3].dtype == array.dtype for result in results)


def test_the_same_program_runs_over_gloo():
    program = rank_programs.ring_sum
    over_gloo = launch(3, program, 1001, "float32", transport="gloo")
    assert np.array_equal(over_gloo, launch(3, program, 1001, "float32"))


def test_a_closure_runs_in_forked_ranks():
    number = 5
    assert launch(2, lambda transport: transport.rank + number, start="fork") == [5, 6]


def test_what_ranks_print_has_their_rank_before_each_line(capsys):
    launch(2, launched.prints, 100)
    lines = capsys.readouterr().out.splitlines()
    for rank in range(2):
        mine = [line for line in lines if line.startswith(f"[rank {rank}] ")]
        wanted = [f"[rank {rank}] line {number} of {rank}" for number in range(100)]
        assert mine == [*wanted, f"[rank {rank}] the end"]
    assert len(lines) == 202


def test_a_rank_that_prints_without_end_is_cut_short(capsys, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 5000)
    launch(1, launched.prints, 20_000)
    out = capsys.readouterr().out
    assert out.endswith("[rank 0] ... more output is not shown\n")
    assert len(out) < 200_000 and "line 19999" not in out


@pytest.mark.parametrize("start", STARTS)
def test_an_error_names_its_rank_and_shows_where_it_was_raised(start):
    error = error_of(3, launched.raises, 1, start=start)
    assert error.rank == 1
    assert str(error).startswith("Rank 1 raised ValueError: Traceback")
    assert "in raises" in str(error) and "ValueError: 1 does not like it" in str(error)
    assert "rank_process" not in str(error)
    assert [(one.kind, one.at_fault) for one in error.outcomes] == [
        ("TransportError", 1),
        ("ValueError", 1),
        ("TransportError", 1),
    ]


@pytest.mark.parametrize("transport", ["tcp", "shared"])
@pytest.mark.parametrize(
    "how, words", [(3, "ended with status 3"), (0, "status 0"), (-signal.SIGKILL, "by SIGKILL")]
)
def test_a_rank_that_dies_is_named_by_the_launcher_and_by_every_other_rank(transport, how, words):
    error = error_of(3, launched.ends, 2, how, transport=transport)
    assert error.rank == 2 and words in str(error)
    assert [one.at_fault for one in error.outcomes] == [2, 2, 2]


def test_after_an_error_ranks_that_notice_nothing_are_ended():
    error = error_of(3, launched.one_raises_the_rest_hang, timeout=1000.0)
    assert error.rank == 0
    assert [one.kind for one in error.outcomes] == ["ValueError", "Ended", "Ended"]


def test_a_run_that_takes_too_long_is_ended():
    error = error_of(2, launched.waits_for_ever, seconds=0.2)
    assert str(error) == "Rank 0 did not end within 0.2 s."


def test_a_deadlock_is_said_and_no_rank_is_blamed():
    error = error_of(2, lambda t: t.recv(np.empty(1), 1 - t.rank), timeout=0.3, start="fork")
    assert error.rank is None and "Deadlock" in str(error)


def test_a_rank_that_never_comes_is_named():
    def connect(job, rendezvous, watch):
        if job.rank == 1:
            os._exit(7)
        return running_transport(job, rendezvous, watch)

    from aisys.allreduce.tcp import TcpTransport

    def running_transport(job, rendezvous, watch):
        return TcpTransport(job.rank, job.world_size, rendezvous, job.timeout, watch)

    error = error_of(3, launched.says_its_rank, transport=connect, start="fork", timeout=1000.0)
    assert error.rank == 1
    assert [one.at_fault for one in error.outcomes] == [1, 1, 1]


def test_what_no_plain_data_is_cannot_be_returned():
    error = error_of(2, lambda t: object(), start="fork")
    assert "Rank 0 returned what cannot travel" in str(error) or "Rank 1" in str(error)


@pytest.mark.parametrize(
    "ranks, program, arguments, options, words",
    [
        (0, launched.says_its_rank, (), {}, "`ranks` is a whole number from 1"),
        (2, launched.says_its_rank, (), {"transport": "pigeon"}, '"tcp", "shared", "gloo"'),
        (2, launched.says_its_rank, (), {"timeout": 0}, "above 0"),
        (2, launched.says_its_rank, (), {"start": "clone"}, '"fork" or "spawn"'),
        (2, lambda t: 1, (), {"start": "spawn"}, "at the top level"),
        (2, launched.says_its_rank, (lambda: 1,), {"start": "spawn"}, "arguments cannot go"),
    ],
)
def test_what_cannot_be_started_is_refused_in_a_sentence(ranks, program, arguments, options, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        launch(ranks, program, *arguments, **options)


def test_leaving_the_block_ends_the_ranks():
    with Ranks(2, launched.waits_for_ever) as ranks:
        processes = ranks.processes
        assert not any(map(launched.has_ended, processes))
    assert all(map(launched.has_ended, processes))


def test_an_error_in_the_launcher_itself_ends_the_ranks(monkeypatch):
    calls = []

    def fork_twice(*arguments):
        if len(calls) == 2:
            raise OSError("no more processes")
        calls.append(started := running_fork(*arguments))
        return started

    running_fork = running.fork_rank
    monkeypatch.setattr(running, "fork_rank", fork_twice)
    with pytest.raises(OSError, match="no more"):
        launch(4, launched.waits_for_ever, start="fork")
    assert len(calls) == 2 and all(launched.has_ended(one.pid) for one in calls)


ORPHANS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from aisys.allreduce.launcher import launch
from tests.support.launched import waits_for_ever
if __name__ == "__main__":
    launch(3, waits_for_ever, {folder!r}, start={start!r})
"""


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ranks_end_with_the_process_that_started_them(script, start, number, tmp_path):
    folder = tmp_path / "ranks"
    folder.mkdir()
    launcher = script(ORPHANS.format(folder=str(folder), start=start))
    names = [folder / str(rank) for rank in range(3)]
    wait_until(lambda: all(name.exists() for name in names) or launcher.poll() is not None)
    processes = [int(name.read_text()) for name in names]
    assert not any(map(launched.has_ended, processes))
    launcher.send_signal(number)
    try:
        wait_until(lambda: all(map(launched.has_ended, processes)))
    finally:
        for process in processes:
            if not launched.has_ended(process):
                os.kill(process, signal.SIGKILL)
    said, _ = launcher.communicate()
    assert number == signal.SIGKILL or "KeyboardInterrupt" in said


ATTEMPTS = """
import math
import sample99.exercises
from aisys.allreduce.launcher import launch
from aisys.course import attempt

FACTOR = 10

def helper(x):
    return math.floor(x) * FACTOR

@attempt("99.1")
def scale(x, factor=2.0):
    return helper(x)

def program(transport):
    return sample99.exercises.scale(transport.rank + 0.5) + helper(0.5)

if __name__ == "__main__":
    for start in ("fork", "spawn"):
        print(launch(3, program, start=start))
"""


def test_ranks_run_the_attempts_and_a_program_of_no_module(script):
    said, _ = script(ATTEMPTS).communicate()
    assert said.splitlines() == ["[0, 10, 20]", "[0, 10, 20]"]


NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell

CELLS = [
    "import numpy as np\\nfrom aisys.allreduce.launcher import launch",
    "FACTOR = 10\\nraise ValueError('a cell that fails')",
    "def helper(x):\\n    return FACTOR * np.abs(x)",
    "FACTOR = 100",
    "class Doubler:\\n    def __call__(self, x):\\n        return 2 * x",
    "def program(transport, sign):\\n"
    "    print('here')\\n"
    "    return Doubler()(helper(sign * transport.rank))",
    "print([launch(2, program, -1, start=start) for start in ('fork', 'spawn')])",
    "del FACTOR; program.__name__ = program.__qualname__ = 'nowhere'",
    "launch(2, program, -1, start='spawn')",
]
if __name__ == "__main__":
    shell = InteractiveShell.instance()
    for cell in CELLS:
        shell.run_cell(cell, store_history=True)
"""


def test_a_notebooks_program_takes_what_it_needs_from_any_cell(script):
    said, _ = script(NOTEBOOK).communicate()
    lines = [line for line in said.splitlines() if line.startswith(("[", "AttemptError"))]
    assert sorted(lines[:4]) == ["[rank 0] here", "[rank 0] here", "[rank 1] here", "[rank 1] here"]
    assert lines[4] == "[[0, 200], [0, 200]]"
    assert lines[5].startswith("AttemptError: The text that defines `nowhere` is not known")


THREADS = """
import torch
from aisys.allreduce.launcher import launch

def train(transport):
    weight = torch.ones(300, 300, requires_grad=True)
    (torch.ones(300, 300) @ weight).relu().sum().backward()
    return [torch.get_num_threads(), float(weight.grad.sum())]

if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)
    print(launch(2, train, start="fork", seconds=60))
"""


@pytest.mark.slow
def test_forked_ranks_have_one_thread_where_torch_has_run_on_two(script):
    said, _ = script(THREADS).communicate()
    assert said.splitlines()[-1] == "[[1, 27000000.0], [1, 27000000.0]]"


@pytest.mark.parametrize("transport", ["tcp", "shared"])
def test_ranks_run_inside_the_graders_sandbox(transport):
    sandbox = pytest.importorskip("autograder.sandbox")
    if sandbox.refusal():
        pytest.skip(f"no sandbox here: {sandbox.refusal()}")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            walls = sandbox.Walls((Path(sys.prefix), ROOT, Path(aisys.__file__).parents[1]))
            sandbox.enter(walls, lambda pid: None)
            tempfile.tempdir = None
            said = repr([float(x[0]) for x in _ring_of_ones(transport)])
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said == "[3.0, 3.0, 3.0]"


def _ring_of_ones(transport: str) -> list[np.ndarray]:
    def program(ring):
        to, source = rank_programs.neighbours(ring)
        total, out = np.ones(1000), np.empty(1000)
        mine = np.ones(1000)
        for _ in range(ring.world_size - 1):
            ring.sendrecv(mine, to, out, source)
            total += out
        return total

    return launch(3, program, transport=transport, start="fork", seconds=20)


def test_an_exercise_that_a_rank_finds_unwritten_is_named_by_the_same_sentence_as_here():
    assert str(error_of(2, launched.meets_a_hole)) == str(Hole("4.3 ring"))


@pytest.mark.parametrize("start", STARTS)
def test_exercises_that_ranks_call_count_as_called_here(start):
    with recording() as calls:
        assert launch(2, launched.chunks_of_ten, start=start) == [[0, 5, 10]] * 2
    assert calls == {"4.3 chunk_bounds": False}
