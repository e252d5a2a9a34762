"""The few Linux calls that Python has no function for: namespaces, mounts, process control."""

import ctypes
import os

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH, SYS_PIVOT_ROOT = 2, 155
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38

libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """This host does not let a process sandbox itself; the message names the step."""


def mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    """Mount something, see mount(2); raises SandboxError where that is refused."""
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    done = libc.mount(*words, flags, options.encode() if options else None)
    call(f"mounting {target}", done)


def call(step: str, result: int) -> None:
    """Raise SandboxError where the call that did a step failed."""
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(f"{step} was refused: {reason}")
