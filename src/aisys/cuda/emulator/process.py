"""The process that kernels run in: started for a library, given launches, and never trusted.

Arrays travel in memory that both processes map, at addresses that are multiples of 256 as on a GPU,
with a gap after each, so that the first element behind an array belongs to nobody.
"""

import json
import mmap
import os
import resource
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aisys.course.errors import CourseError

ALIGNMENT = GAP = 256
MOST_MEMORY = 1 << 32
WALL_FACTOR = 4
MOST_ANSWER = 64 << 20


class ProcessLost(CourseError):
    """The process ended or hung without saying why."""


class Process:
    """One process with one library loaded; `close` ends it, and so does a kernel's fault."""

    def __init__(self, program: Path, library: Path) -> None:
        file = tempfile.TemporaryFile(prefix="aisys-cuda-")
        self._owner = os.getpid()
        self._memory_file, self._size = file, 0
        self._map: mmap.mmap | None = None
        self._answers, theirs = os.pipe()
        self._child = subprocess.Popen(
            [str(program), str(library), str(theirs), str(file.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs, file.fileno()),
            env={},
        )
        os.close(theirs)
        if hasattr(resource, "prlimit"):
            for what, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
                resource.prlimit(self._child.pid, what, (most, most))
        self._rest = b""
        self.answer(60.0)

    @property
    def is_alive(self) -> bool:
        """Whether it can take another request; a process that was forked starts one of its own."""
        if self._owner != os.getpid() or self._memory_file.closed:
            return False
        return self._child.poll() is None

    def ask(self, lines: Sequence[str], seconds: float) -> dict[str, Any]:
        """Send a request of one or several lines and wait for the answer.

        Raises:
            ProcessLost: None came in this time, or the process ended without one.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write("".join(f"{line}\n" for line in lines).encode())
            self._child.stdin.flush()
        except OSError:
            raise self._lost("ended before the launch") from None
        return self.answer(seconds)

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer."""
        end = time.monotonic() + seconds
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise self._lost(f"did not answer within {seconds:.0f} seconds")
            parts.append(os.read(self._answers, 1 << 20))
            if not parts[-1] or sum(map(len, parts)) > MOST_ANSWER:
                raise self._lost("ended without an answer")
        line, _, self._rest = b"".join(parts).partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            raise self._lost("sent an answer that cannot be read") from None
        if not isinstance(found, dict) or "error" in found:
            raise self._lost(f"failed: {found}")
        if found.get("ended"):
            self.close()
        return found

    def place(self, arrays: Sequence[np.ndarray]) -> list[int]:
        """Copy arrays into the shared memory; returns where each begins."""
        places, size = [], ALIGNMENT
        for array in arrays:
            places.append(size)
            size += -(-(array.nbytes + GAP) // ALIGNMENT) * ALIGNMENT
        if size > self._size:
            size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            if self._map is not None:
                self._map.close()
            os.ftruncate(self._memory_file.fileno(), size)
            self._map, self._size = mmap.mmap(self._memory_file.fileno(), size), size
        for array, place in zip(arrays, places, strict=True):
            self._view(array, place)[...] = array
        return places

    def fetch(self, array: np.ndarray, place: int) -> None:
        """Copy an array back from the shared memory."""
        array[...] = self._view(array, place)

    def close(self) -> None:
        """End the process and give its memory back; a second call does nothing."""
        if self._memory_file.closed:
            return
        if self._owner == os.getpid():
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        os.close(self._answers)
        if self._map is not None:
            self._map.close()
        self._memory_file.close()

    def __del__(self) -> None:
        if hasattr(self, "_rest"):
            self.close()

    def _view(self, array: np.ndarray, place: int) -> np.ndarray:
        assert self._map is not None
        count = array.size
        return np.frombuffer(self._map, array.dtype, count, place).reshape(array.shape)

    def _lost(self, why: str) -> ProcessLost:
        self.close()
        return ProcessLost(f"The emulator's process {why}.")
