"""Pages joined into huge ones: the same memory, and a fork that still changes its own only."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROGRAM = """
import mmap, os, re, sys
from pathlib import Path
from autograder.huge_pages import join_pages

def huge():
    return int(re.search(r"AnonHugePages: *(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1])

size = 16 << 20
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE if sys.argv[1] == "none" else mmap.MADV_NORMAL)
memory[:] = bytes(range(256)) * (size // 256)
join_pages()
assert memory[:] == bytes(range(256)) * (size // 256)
if os.fork() == 0:
    memory[5 << 20] = 77
    os._exit(memory[5 << 20])
_, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 77 and memory[5 << 20] == 0
print(huge())
"""


def joined(how: str) -> int:
    """The kB in huge pages of a process that has joined its pages."""
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_is_joined_keeps_its_content_and_is_a_forks_own() -> None:
    kernel = tuple(map(int, platform.release().split(".")[:2]))
    if kernel < (6, 1) or not THP.exists() or "[never]" in THP.read_text():
        pytest.skip("this kernel joins no pages when it is asked to")
    assert joined("all") >= 12 << 10


def test_where_pages_cannot_be_joined_nothing_else_happens() -> None:
    assert joined("none") >= 0
