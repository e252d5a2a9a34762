"""A control group for each sandbox, where the host lets us make one: limits on all of it together.

Limits of a process do not hold a submission that starts many: a group bounds the memory and the
number of all its processes, and gives it no more of the processors than any other group. Both
versions are used as they are found; where neither can be, the grader's own watch has to do.
See cgroups(7), and the kernel's documentation of cgroup-v1 and cgroup-v2.
"""

import contextlib
import functools
import os
import time
from pathlib import Path

from .new_root import Walls

PREFIX = "aisys-"
CLOSING_SECONDS = 2.0
"""So long the kernel is given to forget the processes of a group that has ended."""


class Group:
    """The control group of one sandbox; with no folders it limits nothing.

    Args:
        folders: One folder a controller (version 1), or one for all (version 2).
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders

    def out_of_memory(self) -> bool:
        """Whether a process of the group was ended because the group used too much memory."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    words = (folder / name).read_text().split()
                    if "oom_kill" in words and words[words.index("oom_kill") + 1] != "0":
                        return True
        return False

    def close(self) -> None:
        """Take the group away; call it when its processes have ended."""
        end = time.monotonic() + CLOSING_SECONDS
        for folder in self._folders:
            while not _removed(folder) and time.monotonic() < end:
                time.sleep(0.005)
        self._folders = ()


def group_for(pid: int, walls: Walls) -> Group:
    """Put a process that has no children yet into a group of its own.

    Args:
        pid: The process.
        walls: How much memory and how many processes the group may have.
    """
    made = []
    for parent, version in _parents():
        folder = parent / f"{PREFIX}{os.getpid()}-{pid}"
        try:
            folder.mkdir()
            for name, value in _limits(version, walls).items():
                if (folder / name).exists():
                    (folder / name).write_text(value)
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            _removed(folder)
        else:
            made.append(folder)
    return Group(tuple(made))


@functools.cache
def _parents() -> tuple[tuple[Path, int], ...]:
    """Where groups can be made, and of which version; what a killed grader left is taken away."""
    found = [*_version_2(), *_version_1()]
    for parent, _ in found:
        for folder in parent.glob(f"{PREFIX}*-*"):
            grader = folder.name.removeprefix(PREFIX).partition("-")[0]
            if not Path(f"/proc/{grader}").exists():
                _removed(folder)
    return tuple(found)


def _version_1() -> list[tuple[Path, int]]:
    """This process's own group of each controller, one hierarchy for each."""
    wanted = ("memory", "pids", "cpu")
    return [
        (folder, 1)
        for controllers, folder in _own_groups("cgroup").items()
        if set(wanted) & set(controllers.split(",")) and os.access(folder, os.W_OK)
    ]


def _version_2() -> list[tuple[Path, int]]:
    """The nearest group above this process in which others can be made that have limits.

    A group that holds processes can hand no controller on, hence not this process's own.
    """
    mounts = _mounts("cgroup2")
    for folder in _own_groups("cgroup2").values():
        for place in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                handed_on = (place / "cgroup.subtree_control").read_text().split()
                if {"memory", "pids"} <= set(handed_on) and os.access(place, os.W_OK):
                    return [(place, 2)]
            if str(place) in {point for point, _, _ in mounts}:
                break
    return []


def _own_groups(kind: str) -> dict[str, Path]:
    """The folder of this process's group in each hierarchy of a kind, by its controllers."""
    found = {}
    mounts = _mounts(kind)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for point, root, options in mounts:
                ours = set(controllers.split(",")) <= set(options) if controllers else True
                if ours and bool(controllers) == (kind == "cgroup"):
                    below = os.path.relpath(path, root) if path.startswith(root) else "."
                    found[controllers] = Path(point) / below
    return found


def _mounts(kind: str) -> list[tuple[str, str, list[str]]]:
    """Where the hierarchies of a kind are mounted, from which group on, and their options."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            if right.split()[0] == kind:
                found.append((left.split()[4], left.split()[3], right.split()[-1].split(",")))
    return found


def _limits(version: int, walls: Walls) -> dict[str, str]:
    """What is written into which file of a group."""
    memory, processes = str(walls.total_bytes), str(walls.processes)
    if version == 2:
        return {"memory.max": memory, "memory.swap.max": "0", "pids.max": processes}
    return {
        "memory.limit_in_bytes": memory,
        "memory.memsw.limit_in_bytes": memory,
        "pids.max": processes,
    }


def _removed(folder: Path) -> bool:
    """Take a group's folder away; False where processes are still in it."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
