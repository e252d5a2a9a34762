"""Attacks that use up memory, disk, files or output: they want the batch to stop."""

from dataclasses import replace

import pytest

from tests.attacks.arena import KEY, LIMITS, Arena, code_of

pytestmark = pytest.mark.slow

MB = 1 << 20


def allocate(megabytes):
    """Ask for memory all at once and touch it."""
    try:
        held = bytearray(megabytes << 20)
    except MemoryError:
        return "refused"
    return len(held)


def allocate_in_children(megabytes):
    """Touch memory in many processes, each of which has little."""
    import os
    import time

    for _ in range(20):
        if os.fork() == 0:
            held = bytearray(megabytes << 20)
            held[:: 1 << 12] = b"x" * (len(held) >> 12)
            time.sleep(100)
    time.sleep(100)


def share(megabytes):
    """Touch memory that belongs to no process: an anonymous shared mapping."""
    import mmap

    held = mmap.mmap(-1, megabytes << 20)
    held[:: 1 << 12] = b"x" * (len(held) >> 12)
    return len(held)


def fill(places, megabytes):
    """Fill every file system that can be written to."""
    written = {}
    for place in places:
        written[place] = 0
        try:
            for number in range(megabytes):
                with open(f"{place}/{number}", "wb") as file:
                    file.write(bytes(1 << 20))
                written[place] += 1
        except OSError as error:
            written[place] = (written[place] < megabytes, error.strerror)
    return written


def make_files(place, count):
    """Make so many empty files that the kernel's memory is used up."""
    try:
        for number in range(count):
            open(f"{place}/{number}", "wb").close()
    except OSError as error:
        return error.strerror
    return "made"


def stretch(place):
    """Make a file that says that it has a terabyte."""
    try:
        with open(f"{place}/sparse", "wb") as file:
            file.truncate(1 << 40)
    except OSError as error:
        return error.strerror
    return "made"


def open_many(count):
    """Open files without closing any."""
    held = []
    try:
        for _ in range(count):
            held.append(open("/dev/null"))
    except OSError as error:
        return error.strerror, len(held) < count
    finally:
        del held[:]
    return "opened", count


def print_without_end():
    """Print lines without end."""
    while True:
        print("x" * 1000)


def show_much(megabytes):
    """Display one huge value."""
    from IPython.display import HTML, display

    display(HTML("<p>" + "x" * (megabytes << 20) + "</p>"))
    return "shown"


def raise_limits():
    """Take back the limits that were set."""
    import resource

    raised = []
    for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU"):
        soft, _ = resource.getrlimit(getattr(resource, name))
        assert soft != resource.RLIM_INFINITY, name
        try:
            resource.setrlimit(getattr(resource, name), (soft + 1, soft + 1))
            raised.append(name)
        except (ValueError, PermissionError):
            continue
    return raised


def test_more_memory_than_a_process_may_have_is_refused(arena: Arena) -> None:
    """It wants the machine to swap or to end other processes."""
    after = arena.grade(arena.notebook(own=code_of(allocate, 7000)))
    assert after.returned == "refused"


def test_memory_in_many_processes_ends_that_sandbox_alone(arena: Arena) -> None:
    """It wants what no limit of a single process forbids."""
    submission = arena.notebook(own=code_of(allocate_in_children, 100))
    after = arena.grade(submission, total_bytes=600 * MB)
    assert any("was given up" in flag for flag in after.flags)
    assert after.points == arena.most


def test_shared_memory_is_counted(arena: Arena) -> None:
    """It wants memory that no process is charged for."""
    after = arena.grade(arena.notebook(own=code_of(share, 900)), total_bytes=500 * MB)
    assert any("was given up" in flag for flag in after.flags)
    assert after.points == arena.most


def test_no_file_system_can_be_filled_but_its_own(arena: Arena) -> None:
    """It wants the disk to be full when the neighbour's result is written."""
    places = ("/box", "/tmp", "/dev/shm")
    after = arena.grade(arena.notebook(own=code_of(fill, places, 20)), scratch_bytes=8 * MB)
    full = (True, "No space left on device")
    assert after.returned == dict.fromkeys(places, full)
    assert after.points == arena.most


def test_the_scratch_is_part_of_the_memory(arena: Arena) -> None:
    """It wants its files in memory to come on top of the memory that it may use."""
    submission = arena.notebook(own=code_of(fill, ("/box", "/tmp", "/dev/shm"), 200))
    after = arena.grade(submission, total_bytes=400 * MB)
    assert any("was given up" in flag for flag in after.flags)


def test_files_without_content_are_counted(arena: Arena) -> None:
    """It wants the kernel's memory, which no size of a file system counts."""
    limits = replace(LIMITS, own_cell_seconds=5)
    after = arena.grade(arena.notebook(own=code_of(make_files, "/dev/shm", 30_000)), limits)
    assert after.returned == "No space left on device"


def test_a_sparse_file_is_refused(arena: Arena) -> None:
    """It wants whoever copies or measures the scratch to choke on a terabyte."""
    assert arena.grade(arena.notebook(own=code_of(stretch, "/box"))).returned == "File too large"


def test_open_files_are_counted(arena: Arena) -> None:
    """It wants the machine's table of open files to be full."""
    after = arena.grade(arena.notebook(own=code_of(open_many, 5000)))
    assert after.returned == ("Too many open files", True)


def test_output_without_end_is_cut_off(arena: Arena) -> None:
    """It wants the grader's memory, or a notebook that nobody can open."""
    after = arena.grade(arena.notebook(own=code_of(print_without_end)))
    assert any("was given up" in flag for flag in after.flags)
    assert len(after.shown) < 3 * MB
    assert after.points == arena.most


def test_a_huge_value_is_not_taken_in(arena: Arena) -> None:
    """It wants a feedback page that no browser can show."""
    after = arena.grade(arena.notebook(own=code_of(show_much, 5)))
    assert len(after.shown) < 3 * MB
    assert after.points == arena.most


def test_a_huge_result_of_a_probe_is_refused(arena: Arena) -> None:
    """It wants the grader's memory through the answer to a hidden case."""
    huge = arena.spliced(KEY, "return np.zeros(4_000_000)")
    after = arena.grade(arena.notebook(attempts={KEY: huge}))
    assert "PlainDataError" in after.message
    assert 0 < after.points < after.most


def test_limits_cannot_be_raised(arena: Arena) -> None:
    """It wants its limits back."""
    assert arena.grade(arena.notebook(own=code_of(raise_limits))).returned == []


def test_the_other_sandboxes_have_the_same_limits(other_arena: Arena) -> None:
    """They want what an ordinary user's sandbox, or bwrap's, might not count."""
    attacks = {
        "memory": code_of(allocate, 7000),
        "files": code_of(open_many, 5000),
        "limits": code_of(raise_limits),
        "output": code_of(print_without_end),
        "sparse": code_of(stretch, "/tmp"),
    }
    made = {name: other_arena.notebook(own=code) for name, code in attacks.items()}
    after = other_arena.grade_all(made)
    assert after["memory"].returned == "refused"
    assert after["files"].returned == ("Too many open files", True)
    assert after["limits"].returned == []
    assert after["sparse"].returned == "File too large"
    assert len(after["output"].shown) < 3 * MB
