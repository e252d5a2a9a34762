"""A forked process puts itself into a sandbox: namespaces, a new root, no privileges, limits.

Nothing is executed anew, so what was imported before the fork stays warm. Inside there are a
read-only system, an own `/proc` and loopback, and a scratch in memory that ends with the process.
See user_namespaces(7), pid_namespaces(7), capabilities(7).
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .forbidden import forbid_calls
from .linux import (
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    SandboxError,
    call,
    libc,
)
from .new_root import BOX, ETC, SYSTEM, Walls, move_into_new_root

__all__ = [
    "BOX",
    "ETC",
    "SYSTEM",
    "SandboxError",
    "Walls",
    "end_with_parent",
    "enter",
    "limits",
    "refusal",
]

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
INSIDE, OUTSIDE = 1000, 61000
"""The user that a submission is, inside and, where the grader is root, outside."""


def enter(walls: Walls, tell: Callable[[int], None]) -> None:
    """Put this process's child into a sandbox and return there; the process itself waits for it.

    Call it in a freshly forked process with a single thread. The caller goes on in the sandbox as
    process 1 of its own PID namespace, in `/box`; when it ends, everything in there ends.

    Args:
        walls: What is visible and how much may be used.
        tell: Called in the waiting process with the sandboxed one's PID as seen from outside.

    Raises:
        SandboxError: A step is refused, in the process that then goes on outside of any sandbox.
    """
    uid, gid = os.getuid(), os.getgid()
    user = INSIDE if _maps_others(uid) else uid
    _first_to_go()
    mapper = _start_mapper(uid, gid, user)
    call("unshare", libc.unshare(NEWUSER | NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET))
    mapper()
    told, telling = os.pipe()
    child = os.fork()
    if child:
        os.close(told)
        tell(child)
        os.write(telling, b"-")
        os.close(telling)
        _wait_for(child)
    end_with_parent()
    os.close(telling)
    if not os.read(told, 1):  # what this process says must not come before its PID
        os._exit(1)
    os.close(told)
    os.setsid()
    move_into_new_root(walls, user)
    _loopback_up()
    for name, most in limits(walls):
        resource.setrlimit(getattr(resource, name), (most, most))
    _give_up_privileges(user)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def refusal() -> str:
    """Why this host refuses a sandbox, or `""` where it allows one; tried in a child process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            enter(Walls((Path(sys.prefix),)), lambda pid: None)
            os.write(write, b"-")
        except BaseException as error:
            os.write(write, str(error).encode() or b"unknown")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return "" if said == "-" else said or "the sandboxed process ended before it could say why"


def _wait_for(child: int) -> None:
    """Be the child's shadow outside: end when it ends, in the same way, or with the grader.

    The child may have switched off the signal that ends it with its parent, so the shadow kills it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, signal.SIGKILL))
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _first_to_go() -> None:
    """Where memory runs out, the kernel ends what is in a sandbox before anything else.

    Root sets this for good; anybody else's submission could take it back.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _start_mapper(uid: int, gid: int, user: int) -> Callable[[], None]:
    """Prepare the user mapping of a process that is about to unshare.

    Root's submissions get an unprivileged user outside; that mapping must be written by a process
    outside of the new namespace. Anybody else can map only themselves.
    """
    me = os.getpid()
    if user == uid:

        def map_self() -> None:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")

        return map_self
    mapping = f"0 0 1\\n{INSIDE} {OUTSIDE} 1\\n"
    writes = (f"printf '{mapping}' > /proc/{me}/{name}" for name in ("uid_map", "gid_map"))
    words = ["sh", "-c", " && ".join(["read go", *writes])]
    read, write = os.pipe()
    # A fork of a large process costs more than a program does. What it says is in its status.
    silent = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), silent]
    helper = os.posix_spawn("/bin/sh", words, {}, file_actions=actions)
    os.close(read)

    def ask_helper() -> None:
        os.write(write, b"go\n")
        os.close(write)
        _, status = os.waitpid(helper, 0)
        if status != 0:
            raise SandboxError("the user mapping was refused")

    return ask_helper


def _maps_others(uid: int) -> bool:
    """Whether this is a root that can give submissions another user outside.

    Root of a container may be mapped to a single user; then it can map only itself, as anybody.
    """
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = [tuple(map(int, line.split())) for line in lines]
    return uid == 0 and any(start <= OUTSIDE < start + count for start, _, count in ranges)


def _loopback_up() -> None:
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP_RUNNING))


def limits(walls: Walls) -> Iterator[tuple[str, int]]:
    """The limits of one process by the names that they have in `resource`."""
    yield "RLIMIT_AS", walls.memory_bytes
    yield "RLIMIT_NPROC", walls.processes
    yield "RLIMIT_NOFILE", walls.open_files
    yield "RLIMIT_FSIZE", walls.scratch_bytes
    yield "RLIMIT_CPU", walls.cpu_seconds
    yield "RLIMIT_CORE", 0


def _give_up_privileges(user: int) -> None:
    """Become the unprivileged user for good: no capability, none to regain, fewer system calls."""
    for capability in range(41):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if user != os.getuid():
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header, none = struct.pack("II", 0x20080522, 0), bytes(24)
    call("capset", libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(none)))
    call("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # A change of user takes away the signal that ends this process with the grader.
    end_with_parent()
    with contextlib.suppress(OSError, RuntimeError):
        forbid_calls()
