"""Memory joined into huge pages before a process forks often.

A fork copies one entry for each page of memory, and its end takes each of them back: of a process
that has imported PyTorch, 50,000. In a huge page, 512 of them are one; what a fork writes to is
split and copied in small pages, as ever. See madvise(2), MADV_COLLAPSE, since Linux 6.1.
"""

import ctypes
from pathlib import Path

from .linux import libc

HUGE = 2 << 20
COLLAPSE = 25


def join_pages() -> None:
    """Join the pages of this process's heap, where the kernel does that; else nothing happens."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in maps.splitlines():
        where, rights, *_, name = f"{line} ".split(" ", 5)
        if rights == "rw-p" and name.strip() in ("", "[heap]"):
            start, end = (int(number, 16) for number in where.split("-"))
            for place in range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE):
                libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(HUGE), COLLAPSE)
