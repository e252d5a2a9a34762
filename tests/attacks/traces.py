"""What a grading could leave behind, seen from outside: compare before and after."""

import contextlib
import gc
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from autograder.cgroup import PREFIX
from autograder.sandbox import OUTSIDE

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = (Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.home(), REPOSITORY, Path("/"))
PATIENCE = 10.0


@dataclass
class Traces:
    """Looks for what is there now of an arena's gradings.

    Attributes:
        words: Texts of which a process of the arena has one in its command line or environment.
        folders: Folders in which nothing may be new or changed.
        marker: What attacks put into the names of what they try to leave.
        before: What was there at first.
    """

    words: tuple[str, ...]
    folders: tuple[Path, ...]
    marker: str
    before: Counter[str] = field(default_factory=Counter)

    def remember(self) -> None:
        """Take what is there now for what was there at first."""
        self.before = self.now()

    def left(self) -> list[str]:
        """What is there besides; waits a little for the kernel to bury what has ended."""
        end = time.monotonic() + PATIENCE
        while (more := self.now() - self.before) and time.monotonic() < end:
            threading.Event().wait(0.05)
        return sorted(more)

    def lost(self) -> list[str]:
        """The processes that are not there any more."""
        return sorted(name for name in self.before - self.now() if name.startswith("process "))

    def now(self) -> Counter[str]:
        """Everything that is there now, in words."""
        gc.collect()
        return Counter(
            [
                *self._processes(),
                *_groups(),
                *_mounts(),
                *_own_files(),
                *(f"thread {thread.name}" for thread in threading.enumerate()),
                *self._entries(),
                *self._marked(),
                *self._sockets(),
            ]
        )

    def _processes(self) -> Iterator[str]:
        """By descent, and by words: a process that got away has another parent."""
        family = {process.pid for process in psutil.Process().children(recursive=True)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                said = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                with contextlib.suppress(PermissionError):
                    said += Path(f"/proc/{process.pid}/environ").read_bytes()
                ours = any(word.encode() in said for word in (*self.words, self.marker))
                if process.pid != os.getpid() and (ours or process.pid in family):
                    yield f"process {process.pid} {process.create_time()} {process.name()}"

    def _entries(self) -> Iterator[str]:
        for folder in self.folders:
            for path in (folder, *folder.rglob("*")):
                with contextlib.suppress(FileNotFoundError):
                    about = path.lstat()
                    to = os.readlink(path) if path.is_symlink() else ""
                    # A folder's own times change when something comes into it and goes again.
                    when = about.st_mtime_ns if path.is_file() else 0
                    size = about.st_size if path.is_file() else 0
                    owner = f"{about.st_uid}:{about.st_gid} {about.st_nlink}"
                    yield f"file {path} {to} {oct(about.st_mode)} {owner} {size} {when}"

    def _marked(self) -> Iterator[str]:
        for folder in SHARED:
            for path in folder.iterdir():
                with contextlib.suppress(OSError):
                    foreign = os.getuid() == 0 and path.lstat().st_uid == OUTSIDE
                    if self.marker in path.name or foreign:
                        yield f"file {path}"

    def _sockets(self) -> Iterator[str]:
        words = (*self.words, self.marker)
        for line in (
            Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").split("\n")
        ):
            if any(word in line for word in words):
                yield f"socket {line.split()[-1]} {line.split()[5]}"


def _groups() -> Iterator[str]:
    """A control group cannot be taken away while a process is in it, wherever that has gone."""
    for folder, below, _ in os.walk("/sys/fs/cgroup"):
        for name in below:
            if name.startswith(f"{PREFIX}{os.getpid()}-"):
                yield f"control group {folder}/{name}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        yield f"mount {line.split()[4]}"


def _own_files() -> Iterator[str]:
    """The grader's own open files, by kind."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not target.startswith("/proc/"):
                yield f"open {re.sub(r'[0-9]+', 'N', target)}"
