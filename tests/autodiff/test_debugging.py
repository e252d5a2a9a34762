"""The witnesses of 1.1: a debugger that types, anomaly mode, stacks of a hang, system calls."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from aisys.autodiff import stacks, system_calls
from aisys.autodiff.data_loader import LAYOUTS
from aisys.autodiff.debugging import first_anomaly, typed
from aisys.autodiff.stacks import py_spy_stacks, recorded, running, sample_stacks
from aisys.autodiff.system_calls import OTHERS, SystemCalls, count_calls, trace_data_loader


def test_a_breakpoint_in_a_backward_hook_answers_what_is_typed(capsys):
    x = torch.ones(3, requires_grad=True)

    def look(gradient):
        breakpoint()

    y = x * 2
    y.register_hook(look)
    with typed("p gradient.shape", "where"):
        y.sum().backward()
    printed = capsys.readouterr().out
    assert "(Pdb) p gradient.shape\ntorch.Size([3])" in printed
    where = printed.partition("where\n")[2]
    assert "look()" in where and "_engine_run_backward" in where
    assert where.splitlines()[0].strip().endswith(f"{look.__qualname__.split('.')[0]}()")


def test_every_breakpoint_is_answered_and_the_hook_is_taken_out_again(capsys):
    before = sys.breakpointhook
    with typed("p number"):
        for number in (41, 42):  # noqa: B007 (the debugger prints it)
            breakpoint()
    assert sys.breakpointhook is before
    printed = capsys.readouterr().out
    assert printed.count("(Pdb) p number") == 2 and "41\n" in printed and "42\n" in printed


def test_the_first_nan_is_traced_to_its_forward_line():
    x = torch.zeros(2, requires_grad=True)

    def distance():
        squares = x.pow(2).sum()
        return squares.sqrt()

    found = first_anomaly(distance)
    assert found is not None and found.function == "PowBackward0"
    assert len(found.forward) == 1
    assert found.forward[0].startswith("distance") and "x.pow(2).sum()" in found.forward[0]


def test_a_step_without_nan_has_no_anomaly():
    x = torch.ones(2, requires_grad=True)
    assert first_anomaly(lambda: x.pow(2).sum()) is None


def test_another_error_of_the_backward_pass_is_not_swallowed():
    with pytest.raises(RuntimeError, match="does not require grad"):
        first_anomaly(lambda: torch.ones(()))


def test_two_samples_of_a_process_that_hangs_are_equal_and_name_both_locks():
    with running() as program:
        first, second = sample_stacks(program, samples=2)
        process = program.process
    assert first == second
    assert "in train" in first and "in save" in first
    assert process.poll() is not None


def test_a_program_that_does_not_start_is_said_to():
    with pytest.raises(RuntimeError, match="did not start"):
        with running((sys.executable, "-c", "raise SystemExit('no')")):
            pass


def test_without_py_spy_the_recorded_run_is_shown_with_its_date(monkeypatch):
    monkeypatch.setattr(stacks.shutil, "which", lambda name: None)
    with running() as program:
        shown = py_spy_stacks(program)
    assert "pip install py-spy" in shown and recorded("py_spy.txt") in shown
    assert recorded("py_spy.txt").startswith("Recorded 20")


def test_a_py_spy_that_may_not_look_says_so(monkeypatch, tmp_path):
    tool = tmp_path / "py-spy"
    tool.write_text("#!/bin/sh\necho Permission denied >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(stacks.shutil, "which", lambda name: str(tool))
    with running() as program:
        shown = py_spy_stacks(program)
    assert "Permission denied" in shown and "Recorded 20" in shown


TRACE = """\
10 openat(AT_FDCWD, "/before", O_RDONLY) = 3
10 access("/mark/begin/one file", F_OK) = -1 ENOENT (No such file or directory)
10 openat(AT_FDCWD, "x.npy", O_RDONLY) = 3
11 futex(0x7f, FUTEX_WAIT <unfinished ...>
10 read(3, "openat(", 7) = 7
11 <... futex resumed>) = 0
10 +++ exited with 0 +++
10 access("/mark/end/one file", F_OK) = -1 ENOENT (No such file or directory)
10 close(3) = 0
10 faccessat2(AT_FDCWD, "/mark/begin/again", F_OK, 0) = -1 ENOENT
10 close(3) = 0
"""


def test_calls_are_counted_between_the_marks_and_once_each():
    counts = count_calls(TRACE)
    assert counts == {"one file": {"openat": 1, "futex": 1, "read": 1}, "again": {"close": 1}}


def test_groups_lose_no_call():
    calls = SystemCalls({"one file": {"openat": 2, "close": 1, "getpid": 5}})
    grouped = calls.grouped()["one file"]
    assert grouped["open, close"] == 3 and grouped[OTHERS] == 5
    assert sum(grouped.values()) == 8


def test_without_strace_the_recorded_run_is_shown_with_its_date(monkeypatch):
    monkeypatch.setattr(system_calls.shutil, "which", lambda name: None)
    calls = trace_data_loader()
    assert "strace is not installed" in calls.about and "recorded: 20" in calls.about
    assert list(calls.counts) == list(LAYOUTS)
    assert calls.counts == json.loads(recorded("system_calls.json"))["counts"]


def test_a_strace_that_may_not_trace_falls_back_to_the_recorded_run(monkeypatch, tmp_path):
    tool = tmp_path / "strace"
    tool.write_text("#!/bin/sh\necho 'ptrace: Operation not permitted' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(system_calls.shutil, "which", lambda name: str(tool))
    assert "Operation not permitted" in trace_data_loader().about


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("strace") is None or subprocess.run(["strace", "true"]).returncode != 0,
    reason="strace is missing or may not trace here",
)
def test_many_files_cost_more_calls_than_one():
    calls = trace_data_loader()
    assert calls.about == ""
    files, one = (calls.counts[layout] for layout in LAYOUTS)
    assert files["openat"] > 256 > one["openat"]
    assert sum(files.values()) > 2 * sum(one.values())
