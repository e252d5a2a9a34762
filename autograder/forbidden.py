"""System calls that no submission needs, forbidden by a seccomp filter; see seccomp(2)."""

import contextlib

from .linux import NEWIPC, NEWNET, NEWNS, NEWPID, NEWUSER, NEWUTS, PR_SET_PDEATHSIG

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


def _forbid_calls() -> None:
    """A seccomp filter on top, where its library is installed."""
    import pyseccomp

    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in FORBIDDEN_CALLS:
        with contextlib.suppress(OSError):
            calls.add_rule(pyseccomp.ERRNO(1), name)
    # Some families, such as that of virtual machines, know nothing of network namespaces.
    for family in set(range(AF_NETLINK + 1)) - {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}:
        with contextlib.suppress(OSError):
            only = pyseccomp.Arg(0, pyseccomp.EQ, family)
            calls.add_rule(pyseccomp.ERRNO(97), "socket", only)
    with contextlib.suppress(OSError):
        above = pyseccomp.Arg(0, pyseccomp.GT, AF_NETLINK)
        calls.add_rule(pyseccomp.ERRNO(97), "socket", above)
    # The signal that ends a process with its parent stays on.
    with contextlib.suppress(OSError):
        calls.add_rule(
            pyseccomp.ERRNO(1), "prctl", pyseccomp.Arg(0, pyseccomp.EQ, PR_SET_PDEATHSIG)
        )
    for flag in (NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET):
        with contextlib.suppress(OSError):
            masked = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag)
            calls.add_rule(pyseccomp.ERRNO(1), "clone", masked)
    # clone3 hides its flags from a filter; C libraries fall back to clone where it is missing.
    with contextlib.suppress(OSError):
        calls.add_rule(pyseccomp.ERRNO(38), "clone3")
    calls.load()
