"""System calls that no submission needs, forbidden by a seccomp filter; see seccomp(2)."""

import contextlib

from .linux import NEWIPC, NEWNET, NEWNS, NEWPID, NEWUSER, NEWUTS

try:
    import pyseccomp  # before the fork, for speed, and because the sandbox may not show it
except (ImportError, OSError, RuntimeError):
    pyseccomp = None

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
FORBIDDEN_CALLS = (
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "memfd_create",  # memory that no limit of a process or a file system counts
    "memfd_secret",
    "mount",
    "mount_setattr",
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
    "shmget",  # memory that outlives its process
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
)


def forbid_calls() -> None:
    """Forbid them to this process for good, where the library is installed."""
    if pyseccomp is None:
        return
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)

    def forbid(name: str, error: int, *only: object) -> None:
        # An older library does not know every call's name.
        with contextlib.suppress(OSError):
            calls.add_rule(pyseccomp.ERRNO(error), name, *only)

    for name in FORBIDDEN_CALLS:
        forbid(name, EPERM)
    # Some families, such as that of virtual machines, know nothing of network namespaces.
    for family in set(range(AF_NETLINK)) - {AF_UNIX, AF_INET, AF_INET6}:
        forbid("socket", EAFNOSUPPORT, pyseccomp.Arg(0, pyseccomp.EQ, family))
    forbid("socket", EAFNOSUPPORT, pyseccomp.Arg(0, pyseccomp.GT, AF_NETLINK))
    for flag in (NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET):
        forbid("clone", EPERM, pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # clone3 hides its flags from a filter; C libraries fall back to clone where it is missing.
    forbid("clone3", ENOSYS)
    calls.load()
