"""Attacks on the sandbox itself: they want more rights than it gives, or out of it."""

import pytest

from tests.attacks.arena import Arena, code_of

pytestmark = pytest.mark.slow


def call_the_kernel(names):
    """Call what changes the view of the system, and say which calls did not fail."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_namespace, new_net, new_pid = 1 << 28, 1 << 17, 1 << 30, 1 << 29
    bind, remount, detach, tiocsti = 4096, 32, 2, 0x5412
    here, box, none = b"/proc/self/ns/mnt", b"/box", None
    with open(here) as file:
        calls = {
            "unshare user": lambda: libc.unshare(new_user),
            "unshare mounts": lambda: libc.unshare(new_namespace),
            "unshare net": lambda: libc.unshare(new_net),
            "clone": lambda: libc.syscall(56, new_user | 17, 0, 0, 0, 0),
            "clone pid": lambda: libc.syscall(56, new_pid | 17, 0, 0, 0, 0),
            "clone3": lambda: libc.syscall(435, 0, 88),
            "setns": lambda: libc.setns(file.fileno(), 0),
            "mount": lambda: libc.mount(b"none", box, b"tmpfs", 0, none),
            "bind": lambda: libc.mount(b"/usr", box, none, bind, none),
            "remount": lambda: libc.mount(none, b"/usr", none, bind | remount, none),
            "remount root": lambda: libc.mount(none, b"/", none, bind | remount, none),
            "umount": lambda: libc.umount2(b"/proc/sys", detach),
            "open_tree": lambda: libc.syscall(428, -100, b"/", 1),
            "move_mount": lambda: libc.syscall(429, -1, b"", -1, b"", 0),
            "fsopen": lambda: libc.syscall(430, b"tmpfs", 0),
            "mount_setattr": lambda: libc.syscall(442, -100, b"/", 0, 0, 0),
            "pivot_root": lambda: libc.syscall(155, box, box),
            "chroot": lambda: libc.chroot(box),
            "open_by_handle_at": lambda: libc.syscall(304, -100, none, 0),
            "ptrace": lambda: libc.ptrace(0, 0, none, none),
            "bpf": lambda: libc.syscall(321, 0, none, 0),
            "perf_event_open": lambda: libc.syscall(298, none, 0, -1, -1, 0),
            "userfaultfd": lambda: libc.syscall(323, 0),
            "io_uring_setup": lambda: libc.syscall(425, 1, none),
            "memfd_create": lambda: libc.syscall(319, b"x", 0),
            "shmget": lambda: libc.shmget(0, 1 << 20, 0o1600),
            "init_module": lambda: libc.syscall(175, none, 0, b""),
            "kexec_load": lambda: libc.syscall(246, 0, 0, none, 0),
            "swapon": lambda: libc.swapon(box, 0),
            "reboot": lambda: libc.reboot(0),
            "syslog": lambda: libc.klogctl(3, none, 0),
            "acct": lambda: libc.acct(b"/box/x"),
            "sethostname": lambda: libc.sethostname(b"mine", 4),
            "settimeofday": lambda: libc.settimeofday(ctypes.create_string_buffer(16), none),
            "iopl": lambda: libc.iopl(3),
            "vhangup": lambda: libc.vhangup(),
            "push into the terminal": lambda: libc.ioctl(0, tiocsti, b"x"),
        }
        return sorted(name for name, call in calls.items() if call() != -1)


def become_root():
    """Become another user, by calls and by programs that change the user."""
    import os
    import subprocess

    became = []
    for name in ("setuid", "seteuid", "setgid", "setegid"):
        try:
            getattr(os, name)(0)
            became.append(name)
        except OSError:
            continue
    try:
        os.setgroups([0])
        became.append("setgroups")
    except OSError:
        pass
    for command in (["su", "-c", "id -u"], ["sudo", "-n", "id", "-u"], ["mount", "-t", "tmpfs"]):
        try:
            said = subprocess.run(command, capture_output=True, text=True, input="", timeout=5)
            became += [command[0]] if said.stdout.strip() == "0" else []
        except (OSError, subprocess.TimeoutExpired):
            continue
    with open("/proc/self/status") as file:
        rights = {line.split(":")[0]: line.split()[1:] for line in file}
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    return became, os.getresuid()[0] == 0, [int(rights[name][0], 16) for name in wanted]


def write_everywhere(paths):
    """Write into the system, the kit, and the kernel's settings."""
    import os

    written = []
    for path in paths:
        for how in ("r+", "w", "a"):
            try:
                with open(path, how) as file:
                    file.write("1")
                written.append(path)
            except OSError:
                continue
        for change in (os.unlink, lambda name: os.chmod(name, 0o777), lambda n: os.chown(n, 0, 0)):
            try:
                change(path)
                written.append(path)
            except OSError:
                continue
    return written


def make_in(folders, marker):
    """Make a file, a link, a folder and a device in every folder that can be seen."""
    import os
    import stat

    made = []
    for folder in folders:
        path = f"{folder}/{marker}"
        for make in (
            lambda name: open(name, "w").close(),
            os.mkdir,
            lambda name: os.symlink("/etc/shadow", name),
            lambda name: os.mknod(name, 0o600 | stat.S_IFBLK, os.makedev(254, 0)),
            lambda name: os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(1, 1)),
        ):
            try:
                make(path)
                made.append(folder)
            except OSError:
                continue
    return sorted(set(made))


def open_devices():
    """Open the disks and the memory of the machine, which have to be made first."""
    import os
    import stat

    made = []
    for folder in ("/box", "/tmp", "/dev/shm", "/dev"):
        for kind, major, minor in (
            (stat.S_IFBLK, 254, 0),
            (stat.S_IFBLK, 8, 0),
            (stat.S_IFBLK, 259, 0),
            (stat.S_IFCHR, 1, 1),
            (stat.S_IFCHR, 1, 11),
        ):
            try:
                os.mknod(f"{folder}/device", 0o600 | kind, os.makedev(major, minor))
                made.append((folder, major, minor))
            except OSError:
                continue
    return made, sorted(os.listdir("/dev"))


def escape_by_chroot():
    """The old way out of a root: another one below, and then up and up."""
    import os

    jail = os.path.expanduser("~/jail")
    os.makedirs(jail)
    try:
        os.chroot(jail)
    except OSError:
        os.chdir(jail)
    for _ in range(64):
        os.chdir("..")
    return sorted(set(os.listdir(".")) & {"boot", "run", "sys", "var", "lost+found", "home"})


def look_at_groups():
    """Find the control groups, and leave one's own."""
    import glob
    import os

    found = glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)
    moved = []
    for path in found:
        try:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
            moved.append(path)
        except OSError:
            continue
    return found, moved


def push_ahead():
    """Ask the scheduler for more than everybody else has."""
    import os

    got = []
    for name, ask in {
        "nice": lambda: os.nice(-10),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
        "realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
    }.items():
        try:
            ask()
            got.append(name)
        except OSError:
            continue
    try:
        with open("/proc/self/oom_score_adj") as file:
            before = int(file.read())
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
        got.append("last to be ended")
    except OSError:
        return got, before > 0
    return got, before > 0


SETTINGS = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sysrq-trigger",
    "/proc/self/uid_map",
    "/proc/self/setgroups",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
]


def test_the_kernel_refuses_every_way_out(arena: Arena) -> None:
    """It wants namespaces, mounts and views of its own, where it would have every right."""
    assert arena.grade(arena.notebook(own=code_of(call_the_kernel, []))).returned == []


def test_nobody_becomes_root(arena: Arena) -> None:
    """It wants to be root, by itself or by a program that makes one root."""
    after = arena.grade(arena.notebook(own=code_of(become_root)))
    assert after.returned == ([], False, [0, 0, 0, 0, 0, 1])


def test_the_system_cannot_be_written_to(arena: Arena) -> None:
    """It wants the kernel's settings, or a library that the next kernel imports."""
    kit = arena.bench.spec.kit
    files = [*SETTINGS, str(kit / "kit.json"), str(kit / "aisys" / "__init__.py"), "/etc/passwd"]
    files += ["/usr/bin/env", __import__("numpy").__file__, __import__("nbformat").__file__]
    after = arena.grade(arena.notebook(own=code_of(write_everywhere, files)))
    assert after.returned == []
    assert after.points == arena.most


def test_nothing_can_be_made_outside_the_scratch(arena: Arena) -> None:
    """It wants to leave a file where the next submission, or the grader, finds it."""
    kit = arena.bench.spec.kit
    folders = ["/", "/etc", "/usr", "/usr/bin", "/dev", "/proc", "/root", "/home", str(kit)]
    after = arena.grade(arena.notebook(own=code_of(make_in, folders, arena.marker)))
    assert after.returned == []


def test_devices_cannot_be_made(arena: Arena) -> None:
    """It wants the machine's disk and memory."""
    made, shown = arena.grade(arena.notebook(own=code_of(open_devices))).returned
    assert made == []
    assert shown == ["full", "null", "random", "shm", "urandom", "zero"]


def test_chroot_leads_nowhere(arena: Arena) -> None:
    """It wants out of its root."""
    assert arena.grade(arena.notebook(own=code_of(escape_by_chroot))).returned == []


def test_control_groups_are_out_of_sight(arena: Arena) -> None:
    """It wants to leave the group that limits it."""
    assert arena.grade(arena.notebook(own=code_of(look_at_groups))).returned == ([], [])


def test_nobody_gets_ahead_of_the_others(arena: Arena) -> None:
    """It wants its neighbour, or the grader, to get no processor, or to be ended first."""
    got, goes_first = arena.grade(arena.notebook(own=code_of(push_ahead))).returned
    assert got == []
    assert goes_first


def test_the_other_sandboxes_give_no_rights_either(other_arena: Arena) -> None:
    """They want what an ordinary user's sandbox, or bwrap's, might allow."""
    place, kit = other_arena, other_arena.bench.spec.kit
    folders = ["/etc", "/usr", "/root", str(kit)]
    attacks = {
        "root": code_of(become_root),
        "settings": code_of(write_everywhere, [*SETTINGS, str(kit / "kit.json")]),
        "files": code_of(make_in, folders, place.marker),
        "devices": code_of(open_devices),
        "chroot": code_of(escape_by_chroot),
        "groups": code_of(look_at_groups),
    }
    made = {name: place.notebook(own=code) for name, code in attacks.items()}
    after = place.grade_all(made)
    assert after["root"].returned[:2] == ([], False)
    assert after["settings"].returned == after["files"].returned == []
    assert after["devices"].returned[0] == []
    assert after["chroot"].returned == []
    assert after["groups"].returned[1] == []
