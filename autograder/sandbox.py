"""A forked process puts itself into a sandbox: namespaces, a new root, no privileges, limits.

Nothing is executed anew, so what was imported before the fork stays warm. Inside there are a
read-only system, an own `/proc` and loopback, and a scratch in memory that ends with the process.
See user_namespaces(7), mount_namespaces(7), pivot_root(2), capabilities(7).
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH, SYS_PIVOT_ROOT = 2, 155
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 38, 24
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
BOX = "/box"
INSIDE, OUTSIDE = 1000, 61000
"""The user that a submission is, inside and, where the grader is root, outside."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
ETC = ("ld.so.cache", "ld.so.conf", "fonts", "localtime", "mime.types", "alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom")
FORBIDDEN_CALLS = (
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "finit_module",
    "fsopen",
    "init_module",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "request_key",
    "setns",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
)

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """This host does not let a process sandbox itself; the message names the step."""


@dataclass(frozen=True)
class Walls:
    """What a sandboxed process can see and use.

    Attributes:
        readable: Folders that are visible, read-only, besides the system's own.
        memory_bytes: Address space of one process.
        scratch_bytes: Size of the scratch `/box`; as much again for `/dev/shm`.
        processes: Processes and threads at once.
        open_files: Open files of one process.
        cpu_seconds: CPU time of one process, after which it is killed.
    """

    readable: tuple[Path, ...]
    memory_bytes: int = 6 << 30
    scratch_bytes: int = 256 << 20
    processes: int = 256
    open_files: int = 1024
    cpu_seconds: int = 600


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
    mapper = _start_mapper(uid, gid, user)
    _call("unshare", _libc.unshare(NEWUSER | NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET))
    mapper()
    child = os.fork()
    if child:
        tell(child)
        _wait_for(child)
    end_with_parent()
    os.setsid()
    _new_root(walls, user)
    _loopback_up()
    _limit(walls)
    _give_up_privileges(user)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


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
    """Be the child's shadow outside: end when it ends, in the same way, or with the grader."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


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
    read, write = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(write)
        os.read(read, 1)
        try:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{me}/{name}").write_text(f"0 0 1\n{INSIDE} {OUTSIDE} 1\n")
            os._exit(0)
        except OSError:
            os._exit(1)
    os.close(read)

    def ask_helper() -> None:
        os.write(write, b"!")
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


def _new_root(walls: Walls, user: int) -> None:
    """Build a root from read-only pieces in a small file system in memory, and move into it."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = _mount_point(walls)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    os.makedirs(f"{root}/proc")
    _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    os.makedirs(f"{root}/dev/shm")
    for name in DEVICES:
        Path(f"{root}/dev/{name}").touch()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    own = f"uid={user},gid={user}"
    for place in (BOX, "/dev/shm", "/tmp"):
        os.makedirs(f"{root}{place}", exist_ok=True)
        options = f"size={walls.scratch_bytes},mode=700,{own}"
        _mount("tmpfs", f"{root}{place}", "tmpfs", MS_NOSUID | MS_NODEV, options)
    pieces = [*map(Path, SYSTEM), *walls.readable]
    for piece in sorted({path for path in pieces if path.exists()}, key=lambda p: len(p.parts)):
        _show(piece, root)
    _etc(root, user)
    os.chdir(root)
    _call("pivot_root", _libc.syscall(SYS_PIVOT_ROOT, b".", b"."))
    _call("umount", _libc.umount2(b".", MNT_DETACH))
    _mount(None, "/", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(BOX)


def _mount_point(walls: Walls) -> str:
    """A folder that may be hidden in this namespace, because nothing that is needed lies in it."""
    for name in ("/mnt", "/media", "/srv", "/opt", "/home"):
        hides = any(path.is_relative_to(name) for path in walls.readable)
        if os.path.isdir(name) and not hides:
            return name
    raise SandboxError("finding a place for the new root was refused: no folder can be hidden")


def _show(piece: Path, root: str) -> None:
    target = f"{root}{piece}"
    if piece.is_symlink():
        os.symlink(os.readlink(piece), target)
        return
    if os.path.ismount(target) or os.path.exists(target):
        return
    os.makedirs(target)
    _mount(str(piece), target, None, MS_BIND | MS_REC)
    locked = os.statvfs(piece).f_flag & (MS_NOSUID | MS_NODEV | 8)
    _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | locked)


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
        _mount(str(source.resolve()), str(target), None, MS_BIND | MS_REC)
        flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV
        _mount(None, str(target), None, flags)


def _loopback_up() -> None:
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP_RUNNING))


def _limit(walls: Walls) -> None:
    for what, most in (
        (resource.RLIMIT_AS, walls.memory_bytes),
        (resource.RLIMIT_NPROC, walls.processes),
        (resource.RLIMIT_NOFILE, walls.open_files),
        (resource.RLIMIT_FSIZE, walls.scratch_bytes),
        (resource.RLIMIT_CPU, walls.cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _give_up_privileges(user: int) -> None:
    """Become the unprivileged user for good: no capability, none to regain, fewer system calls."""
    for capability in range(41):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if user != os.getuid():
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header, none = struct.pack("II", 0x20080522, 0), bytes(24)
    _call("capset", _libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(none)))
    _call("no_new_privs", _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # A change of user takes away the signal that ends this process with the grader.
    end_with_parent()
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        _forbid_calls()


def _forbid_calls() -> None:
    """A seccomp filter on top, where its library is installed."""
    import pyseccomp

    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in FORBIDDEN_CALLS:
        with contextlib.suppress(OSError):
            calls.add_rule(pyseccomp.ERRNO(1), name)
    for flag in (NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET):
        with contextlib.suppress(OSError):
            masked = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag)
            calls.add_rule(pyseccomp.ERRNO(1), "clone", masked)
    # clone3 hides its flags from a filter; C libraries fall back to clone where it is missing.
    with contextlib.suppress(OSError):
        calls.add_rule(pyseccomp.ERRNO(38), "clone3")
    calls.load()


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    done = _libc.mount(*words, flags, options.encode() if options else None)
    _call(f"mounting {target}", done)


def _call(step: str, result: int) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(f"{step} was refused: {reason}")
