"""A root of its own for a sandboxed process, built from read-only pieces of the host's.

See mount_namespaces(7) and pivot_root(2).
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .linux import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    SYS_PIVOT_ROOT,
    SandboxError,
    call,
    libc,
    mount,
)

BOX = "/box"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
ETC = ("ld.so.cache", "ld.so.conf", "fonts", "localtime", "mime.types", "alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom")
READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
HIDDEN_PROC = ("acpi", "kcore", "keys", "kmsg", "sched_debug", "scsi", "timer_list")
INODES = 20_000
"""Files in each scratch: an empty file takes memory of the kernel that no size counts."""

_HARMLESS = MS_NOSUID | MS_NODEV
_READ_ONLY = MS_BIND | MS_REMOUNT | MS_RDONLY | _HARMLESS


@dataclass(frozen=True)
class Walls:
    """What a sandboxed process can see and use.

    Attributes:
        readable: Folders that are visible, read-only, besides the system's own.
        hidden: Folders that are empty, should they lie in something that is visible.
        memory_bytes: Address space of one process.
        total_bytes: Memory of all processes and of the scratch together, see `cgroup`.
        scratch_bytes: Size of the scratch `/box`; as much again for `/dev/shm` and for `/tmp`.
        processes: Processes and threads at once.
        open_files: Open files of one process.
        cpu_seconds: CPU time of one process, after which it is killed.
    """

    readable: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()
    memory_bytes: int = 6 << 30
    total_bytes: int = 4 << 30
    scratch_bytes: int = 256 << 20
    processes: int = 256
    open_files: int = 1024
    cpu_seconds: int = 600

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Walls":
        """Walls from what they are as JSON, paths as texts."""
        paths = {name: tuple(map(Path, data[name])) for name in ("readable", "hidden")}
        return cls(**{**data, **paths})


def move_into_new_root(walls: Walls, user: int) -> None:
    """Build a root in a small file system in memory, and move this process into it.

    Args:
        walls: What is visible.
        user: The user that the scratch belongs to.

    Raises:
        SandboxError: A step is refused.
    """
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = _mount_point(walls)
    mount("tmpfs", root, "tmpfs", _HARMLESS, "size=16m,mode=755")
    os.makedirs(f"{root}/dev/shm")
    for name in DEVICES:
        Path(f"{root}/dev/{name}").touch()
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    for place in (BOX, "/dev/shm", "/tmp"):
        os.makedirs(f"{root}{place}", exist_ok=True)
        size = f"size={walls.scratch_bytes},nr_inodes={INODES}"
        options = f"{size},mode=700,uid={user},gid={user}"
        mount("tmpfs", f"{root}{place}", "tmpfs", _HARMLESS, options)
    _proc(root)
    _pieces(walls, root)
    _etc(root, user)
    os.chdir(root)
    call("pivot_root", libc.syscall(SYS_PIVOT_ROOT, b".", b"."))
    call("umount", libc.umount2(b".", MNT_DETACH))
    mount(None, "/", None, _READ_ONLY)
    os.chdir(BOX)


def _mount_point(walls: Walls) -> str:
    """A folder that may be hidden in this namespace, because nothing that is needed lies in it."""
    for name in ("/mnt", "/media", "/srv", "/opt", "/home"):
        hides = any(path.is_relative_to(name) for path in walls.readable)
        if os.path.isdir(name) and not hides:
            return name
    raise SandboxError("finding a place for the new root was refused: no folder can be hidden")


def _proc(root: str) -> None:
    """The processes of the sandbox, and of the machine only what may be read.

    No user namespace can be made in it either: capabilities in one would open more of the kernel.
    """
    proc = f"{root}/proc"
    os.makedirs(proc)
    mount("proc", proc, "proc", _HARMLESS)
    with contextlib.suppress(OSError):
        Path(f"{proc}/sys/user/max_user_namespaces").write_text("0")
    for name in READ_ONLY_PROC:
        if os.path.exists(f"{proc}/{name}"):
            mount(f"{proc}/{name}", f"{proc}/{name}", None, MS_BIND | MS_REC)
            _make_read_only(f"{proc}/{name}")
    for name in HIDDEN_PROC:
        if os.path.isdir(f"{proc}/{name}"):
            mount("tmpfs", f"{proc}/{name}", "tmpfs", MS_RDONLY | _HARMLESS, "size=4k,mode=555")
        elif os.path.exists(f"{proc}/{name}"):
            mount("/dev/null", f"{proc}/{name}", None, MS_BIND)


def visible(walls: Walls) -> tuple[list[Path], dict[Path, Path]]:
    """What is visible under its real name, and the links by which it is known too.

    Folders that are hidden are named by their real names, so nothing may be shown under others.
    """
    named = {path: path.resolve() for path in (*map(Path, SYSTEM), *walls.readable)}
    named = {path: real for path, real in named.items() if real.exists()}
    links = {path: real for path, real in named.items() if path != real}
    return sorted(set(named.values()), key=lambda path: len(path.parts)), links


def _pieces(walls: Walls, root: str) -> None:
    """Show what is visible, the outer before the inner, and cover what is to be hidden in it."""
    pieces, links = visible(walls)
    covers = []
    hidden = [h for h in walls.hidden if any(p != h and h.is_relative_to(p) for p in pieces)]
    for piece in sorted({*pieces, *hidden}, key=lambda path: len(path.parts)):
        if piece in pieces:
            _show(piece, root)
        elif os.path.isdir(f"{root}{piece}"):
            covers.append(f"{root}{piece}")
            mount("tmpfs", covers[-1], "tmpfs", _HARMLESS, "size=1m,mode=755")
    for path, real in links.items():
        if not os.path.lexists(f"{root}{path}"):
            os.makedirs(f"{root}{path.parent}", exist_ok=True)
            os.symlink(real, f"{root}{path}")
    for cover in covers:
        mount(None, cover, None, _READ_ONLY)


def _show(piece: Path, root: str) -> None:
    target = f"{root}{piece}"
    if os.path.ismount(target) or os.path.exists(target):
        return
    os.makedirs(target)
    mount(str(piece), target, None, MS_BIND | MS_REC)
    _make_read_only(target)


def _make_read_only(target: str) -> None:
    """Make a mount read-only, and whatever is mounted below it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in lines]
    for point in dict.fromkeys(p for p in points if p == target or p.startswith(f"{target}/")):
        # A flag that the host has set may not be left out.
        locked = os.statvfs(point).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount(None, point, None, _READ_ONLY | locked)


def _etc(root: str, user: int) -> None:
    """The few files of /etc that programs need, and a user without a name of this host."""
    os.makedirs(f"{root}/etc")
    Path(f"{root}/etc/passwd").write_text(f"student:x:{user}:{user}::{BOX}:/bin/sh\n")
    Path(f"{root}/etc/group").write_text(f"student:x:{user}:\n")
    Path(f"{root}/etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in ETC:
        source, target = Path("/etc") / name, Path(f"{root}/etc/{name}")
        if not source.exists():
            continue
        target.mkdir() if source.is_dir() else target.touch()
        mount(str(source.resolve()), str(target), None, MS_BIND | MS_REC)
        mount(None, str(target), None, _READ_ONLY)
