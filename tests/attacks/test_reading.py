"""Attacks that want to read what the grader knows; what they find is printed or returned."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import aisys
from autograder import catalogue
from tests.attacks.arena import KEY, LAB, LIMITS, Arena, code_of

pytestmark = pytest.mark.slow


def read_everything(pattern):
    """Look for a secret in the names and the content of all files but those of Python."""
    import os
    import re
    import sys

    system = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/proc")
    skipped = (*system, sys.prefix, sys.base_prefix)
    found, looked_at = set(), []
    for folder, below, names in os.walk("/"):
        below[:] = [name for name in below if os.path.join(folder, name) not in skipped]
        found.update(re.findall(pattern, " ".join([folder, *below, *names])))
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                continue  # to read from a terminal is to wait
            try:
                with open(path, "rb") as file:
                    found.update(re.findall(pattern.encode(), file.read(1 << 16)))
                looked_at.append(name)
            except OSError:
                continue
    return sorted(found), "kit.json" in looked_at


def open_paths(paths):
    """Read files and list folders whose names were guessed right, by several ways."""
    import os

    got = []
    ways = ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../..", "/..", "/box/..")
    for path in paths:
        for way in ways:
            for read in (os.listdir, lambda name: open(name, "rb").read(100)):
                try:
                    got += [path] if read(way + path) else []
                except OSError:
                    continue
    return got


def look_at_processes(pattern):
    """Read whatever there is to read of other processes."""
    import os
    import re

    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    found = set()
    for pid in pids:
        for name in ("environ", "cmdline", "maps", "mountinfo", "stat", "status"):
            try:
                with open(f"/proc/{pid}/{name}") as file:
                    found.update(re.findall(pattern, file.read()))
            except OSError:
                continue
    return pids, sorted(found)


def search_own_memory(pattern):
    """Look for a secret in all that was inherited from the process that forked this one."""
    import ctypes
    import re

    found, size = set(), 0
    with open("/proc/self/maps") as file:
        lines = file.readlines()
    for line in lines:
        span, rights, _, _, _, *name = line.split(None, 5)
        start, end = (int(number, 16) for number in span.split("-"))
        if rights.startswith("rw") and end - start < 1 << 28:
            found.update(re.findall(pattern.encode(), ctypes.string_at(start, end - start)))
            size += end - start
    return sorted(found), size > 1 << 24


def climb_frames():
    """Look through the frames below, which are those of the process that forked this one."""
    import sys

    frame, names, seen = sys._getframe(), [], []
    while frame is not None:
        names.append(frame.f_code.co_name)
        seen.append(repr(list(frame.f_locals.items())))
        frame = frame.f_back
    return names, "".join(seen), [name for name in sys.modules if name.startswith("autograder")]


def list_open_files():
    """Say what the open files of this process are."""
    import os

    kinds = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            kinds.add(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
        except OSError:
            continue
    return sorted(kinds)


def inspect_kit(names):
    """The source of everything that the kit says about some functions."""
    import importlib
    import inspect

    texts = []
    for name in names:
        module = importlib.import_module(name.rpartition(".")[0])
        thing = getattr(module, name.rpartition(".")[2])
        texts += [inspect.getsource(module), repr(vars(thing))]
    return "".join(texts)


def reach_into_processes(pids):
    """Read another process's memory, or get hold of it, by four ways."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    attach = 16
    got = []
    for pid in pids:
        for name in ("mem", "environ", "fd/0", "root/etc/shadow"):
            try:
                open(f"/proc/{pid}/{name}", "rb").close()
                got.append(f"{pid}/{name}")
            except OSError:
                continue
        if libc.ptrace(attach, pid, None, None) == 0:
            got.append(f"ptrace {pid}")
        buffer = ctypes.create_string_buffer(16)
        piece = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
        if libc.process_vm_readv(pid, piece, 1, piece, 1, 0) >= 0:
            got.append(f"process_vm_readv {pid}")
        try:
            os.close(os.pidfd_open(pid))
            got.append(f"pidfd {pid}")
        except OSError:
            continue
    return got


def open_key_rings():
    """Read the kernel's key rings, where sessions keep secrets."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    add_key, request_key, keyctl = 248, 249, 250
    got = [libc.syscall(number, 0, -3, 0, 0, 0) for number in (add_key, request_key, keyctl)]
    try:
        with open("/proc/keys") as file:
            return got, file.read()
    except OSError:
        return got, ""


PATTERN = "canary-[0-9a-f]{16}"


def test_no_secret_lies_in_any_file_in_sight(arena: Arena) -> None:
    """It wants the course's secret, the gradebook, or the neighbour's notebook, wherever it is."""
    after = arena.grade(arena.notebook(own=code_of(read_everything, PATTERN)))
    assert after.returned == ([], True)


def test_the_graders_files_cannot_be_opened_by_name(arena: Arena) -> None:
    """It knows where everything is: the course, the references, the hidden cases, the harness."""
    course, package = arena.course, Path(aisys.__file__).parent
    hidden = Path(catalogue.__file__).parent / "hidden"
    paths = [
        *(course, course / "course.toml", course / "gradebook.db", course / "submitted"),
        *(course / "out", course / ".autograder", arena.temporary),
        *(package, package / "autodiff" / "convolution.py", hidden.parent),
        *(hidden, hidden / LAB, hidden / LAB / "convolution.py", Path(__file__)),
        *map(Path, ("/etc/shadow", "/etc/hostname", "/root/.bashrc", "/proc/kcore", "/dev/mem")),
    ]
    assert all(path.exists() for path in (package, hidden / LAB / "convolution.py"))
    after = arena.grade(arena.notebook(own=code_of(open_paths, [str(path) for path in paths])))
    assert after.returned == []


def test_other_processes_are_out_of_sight(arena: Arena) -> None:
    """It wants the grader's environment, from which a secret could be read."""
    after = arena.grade(arena.notebook(own=code_of(look_at_processes, PATTERN)))
    assert after.returned == (["1"], [])


def test_the_memory_that_was_inherited_holds_no_secret(arena: Arena) -> None:
    """It wants what the forking process knew, from its own memory."""
    after = arena.grade(arena.notebook(own=code_of(search_own_memory, PATTERN)))
    assert after.returned == ([], True)


def test_the_frames_of_the_forking_process_tell_nothing(arena: Arena) -> None:
    """It wants the harness's modules, or names of the grader's files, from the frames below it."""
    names, seen, modules = arena.grade(arena.notebook(own=code_of(climb_frames))).returned
    assert "_become_kernel" in names
    assert modules == []
    assert str(arena.course) not in seen


def test_no_file_of_the_grader_stays_open(arena: Arena) -> None:
    """It wants a file that the grader or the forking process had open."""
    after = arena.grade(arena.notebook(own=code_of(list_open_files)))
    assert "/dev/null" in after.returned
    assert set(after.returned) <= {"/dev/null", "anon_inode", "socket", "pipe"}


def test_the_kit_holds_no_solution(arena: Arena) -> None:
    """It wants the references by introspection of the package that it imports."""
    names = ["aisys.autodiff.convolution.im2col", "aisys.autodiff.convolution.conv2d_loops"]
    after = arena.grade(arena.notebook(solved=False, own=code_of(inspect_kit, names)))
    body = arena.perfect[KEY].rpartition('"""')[2]
    telling = [line.strip() for line in body.splitlines() if len(line.strip()) > 30]
    assert telling
    assert "def im2col(" in after.returned
    assert [line for line in telling if line in after.returned] == []
    assert after.points == 0


def test_other_processes_memory_cannot_be_read(arena: Arena) -> None:
    """It wants the hidden values from the memory of the grader, whose number it knows."""
    pids = [os.getpid(), os.getppid()]
    after = arena.grade(arena.notebook(own=code_of(reach_into_processes, pids)))
    assert after.returned == []


def test_the_kernels_key_rings_are_closed(arena: Arena) -> None:
    """It wants keys of the user who grades."""
    after = arena.grade(arena.notebook(own=code_of(open_key_rings)))
    assert after.returned == ([-1, -1, -1], "")


def test_what_a_probe_returns_carries_nothing_out(arena: Arena) -> None:
    """It returns what it found instead of an array, hoping that the feedback shows it."""
    find = "import os\nreturn [os.environ.copy(), os.listdir('/proc'), open('/proc/mounts').read()]"
    after = arena.grade(arena.notebook(attempts={KEY: arena.spliced(KEY, find)}))
    assert 0 < after.points < after.most
    assert not after.saw("tmpfs /box")


def test_the_other_sandboxes_show_nothing_either(other_arena: Arena) -> None:
    """It wants the same where the sandbox is an ordinary user's, or bwrap's."""
    course = other_arena.course
    paths = [str(path) for path in (course / "course.toml", Path(aisys.__file__), "/etc/shadow")]
    attacks: dict[str, tuple[Callable[..., object], object]] = {
        "files": (read_everything, PATTERN),
        "paths": (open_paths, paths),
        "processes": (look_at_processes, PATTERN),
        "memory": (reach_into_processes, [os.getpid(), os.getppid()]),
    }
    made = {name: other_arena.notebook(own=code_of(*attack)) for name, attack in attacks.items()}
    after = other_arena.grade_all(made, replace(LIMITS, own_cell_seconds=5))
    assert after["files"].returned == ([], True)
    assert after["paths"].returned == after["memory"].returned == []
    pids, found = after["processes"].returned
    assert len(pids) <= 2 and found == []
