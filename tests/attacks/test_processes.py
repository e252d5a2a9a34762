"""Attacks with signals, forks, daemons and deaths: they want to end the grader or to outlive it."""

import os
from dataclasses import replace

import nbformat
import pytest

from tests.attacks.arena import KEY, LIMITS, Arena, code_of

pytestmark = pytest.mark.slow
QUICK = replace(LIMITS, own_cell_seconds=0.25)
"""A cell of the student's own is given up after 0.25 s of CPU time, or a second on the wall."""


def signal_everybody(pids):
    """Send every deadly signal to everybody: all processes, groups, the parent, the grader."""
    import os
    import signal

    sent = []
    for pid in (-1, 0, os.getppid(), *pids, *(-pid for pid in pids)):
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            try:
                os.kill(pid, number)
                sent.append(pid)
            except (ProcessLookupError, PermissionError):
                continue
    return sorted(set(sent))


def fork_without_end():
    """Fork in every process, without end; every one of them ignores what it can."""
    import os
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            os.fork()
        except OSError:
            continue


def start_threads():
    """Start as many threads as there can be; none of them ends."""
    import threading

    started = 0
    try:
        while started < 5000:
            threading.Thread(target=threading.Event().wait).start()
            started += 1
    except RuntimeError:
        return "refused", started
    return "started", started


def leave_daemons(marker):
    """Leave processes that belong to nobody: own session, no parent, no signal that ends them."""
    import ctypes
    import os
    import signal
    import time

    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            for number in range(1, 32):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            parent_death_signal = 1
            ctypes.CDLL(None).prctl(parent_death_signal, 0)
            os.closerange(0, 256)
            os.chdir("/")
            os.environ["MARKER"] = marker
            if os.fork() == 0:
                os.execve("/bin/sh", [marker, "-c", "while :; do sleep 1; done"], {"M": marker})
            while True:
                time.sleep(1)
    return sum(os.waitpid(-1, 0)[0] > 0 for _ in range(5))


def spin_in_children():
    """Burn the CPU in children, and come back at once."""
    import os

    for _ in range(20):
        if os.fork() == 0:
            while True:
                pass
    return "spinning"


def stop_yourself():
    """Stop a child for ever, and wait for it."""
    import os
    import signal

    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, 0)


def ignore_the_end(marker):
    """Ignore every signal and undo what ends this process with the grader; then wait for ever."""
    import ctypes
    import signal
    import time

    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(1000)


def die_talking():
    """End the kernel while it sends what it has printed."""
    import os

    print("x" * 100_000, flush=True)
    for number in range(100):
        print(number, flush=True)
    os._exit(0)


def test_signals_reach_nobody(arena: Arena) -> None:
    """It wants to end or stop the grader, the forking process and its neighbour."""
    pids = [os.getpid(), os.getppid()]
    after = arena.grade(arena.notebook(own=code_of(signal_everybody, pids)))
    # It may end itself, or the kernel protects it as the first of its sandbox.
    assert after.flags or set(after.returned) <= {0, -1}
    assert after.points == arena.most


def test_a_fork_bomb_takes_no_process_from_others(arena: Arena) -> None:
    """It wants to use up the machine's processes and processors."""
    after = arena.grade(arena.notebook(own=code_of(fork_without_end)), QUICK, processes=64)
    assert any("was given up" in flag for flag in after.flags)


def test_threads_end_with_their_sandbox(arena: Arena) -> None:
    """It wants to use up the machine's threads; a thread that waits keeps Python from ending."""
    after = arena.grade(arena.notebook(own=code_of(start_threads)), processes=64)
    what, count = after.returned
    assert what == "refused" and count < 64


def test_daemons_do_not_outlive_the_kernel(arena: Arena) -> None:
    """It wants processes that go on after the grading, and wait for the next submission."""
    after = arena.grade(arena.notebook(own=code_of(leave_daemons, arena.marker)))
    assert after.returned == 5
    assert after.points == arena.most


def test_children_that_spin_cost_only_their_own_submission(arena: Arena) -> None:
    """It wants to make the neighbour time out by using up the processors."""
    arena.grade(arena.notebook(solved=False, own=code_of(spin_in_children)), QUICK)


def test_a_stopped_child_is_not_waited_for(arena: Arena) -> None:
    """It wants the grader to wait for ever."""
    after = arena.grade(arena.notebook(own=code_of(stop_yourself)), QUICK)
    assert "gave no result in 0.25 s times 4, waiting" in "".join(after.flags)
    assert after.points == arena.most


def test_a_cell_that_sleeps_for_ever_is_given_up(arena: Arena) -> None:
    """It wants the grader to wait for ever, and cannot be interrupted."""
    after = arena.grade(arena.notebook(own=code_of(ignore_the_end, arena.marker)), QUICK)
    assert any("was given up" in flag for flag in after.flags)
    assert after.points == arena.most


def test_a_deadlock_is_given_up(arena: Arena) -> None:
    """It wants the grader to wait for ever for a lock."""
    lock = "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()"
    after = arena.grade(arena.notebook(own=lock), QUICK)
    assert any("waiting" in flag for flag in after.flags)
    assert after.points == arena.most


def test_every_way_to_die_costs_only_the_cell(arena: Arena) -> None:
    """They want to take the forking process with them, or to leave the grader without an answer."""
    ways = {
        "exit": "import os\nos._exit(0)",
        "abort": "import os\nos.abort()",
        "fault": "import ctypes\nctypes.string_at(0)",
        "quit": "exit()",
        "exec": "import os\nos.execv('/bin/true', ['true'])",
        "closed": "import os\nos.closerange(3, 1024)",
    }
    made = {name: arena.notebook(own=code) for name, code in ways.items()}
    for name, after in arena.grade_all(made).items():
        assert any("was given up" in flag for flag in after.flags), name
        assert after.points == arena.most, name


def test_dying_in_the_middle_of_a_message_does_not_end_the_grader(arena: Arena) -> None:
    """It wants the library that reads messages to stumble over half of one."""
    dying = code_of(die_talking)
    notebook = arena.notebook(own=dying)
    place = next(i for i, cell in enumerate(notebook.cells) if cell.source == dying)
    for _ in range(4):
        notebook.cells.insert(place, nbformat.v4.new_code_cell(dying))
    for after in arena.grade_all(dict.fromkeys("abc", notebook)).values():
        assert any("was given up" in flag for flag in after.flags)
        assert after.points == arena.most


def test_an_attempt_that_kills_its_kernel_loses_its_own_points_only(arena: Arena) -> None:
    """It wants the whole grading to fail in the middle of a hidden case."""
    deadly = arena.spliced(KEY, "import os\nos._exit(0)")
    after = arena.grade(arena.notebook(attempts={KEY: deadly}))
    assert "ended the kernel" in after.message
    assert 0 < after.points < after.most


def test_the_other_sandboxes_end_everything_too(other_arena: Arena) -> None:
    """They want to outlive a sandbox that is an ordinary user's, or bwrap's."""
    place = other_arena
    endless = {
        "signals": code_of(signal_everybody, [os.getpid()]),
        "bomb": code_of(fork_without_end),
        "sleeper": code_of(ignore_the_end, place.marker),
    }
    made = {name: place.notebook(own=code) for name, code in endless.items()}
    after = place.grade_all(made, QUICK, processes=64)
    assert any("was given up" in flag for flag in after["sleeper"].flags)
    daemons = place.notebook(own=code_of(leave_daemons, place.marker))
    assert place.grade(daemons).returned == 5
