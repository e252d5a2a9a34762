"""How submissions are kept apart from everything: forked sandboxes, else bwrap, else a refusal."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec as JupyterKernelSpec
from jupyter_client.kernelspec import KernelSpecManager

from . import sandbox
from .fork_server import ForkServer, walls_for, witness_folder
from .new_root import READ_ONLY_PROC, visible
from .sandbox import BOX, OUTSIDE, Walls, limits

UNSAFE = "--unsafe"


class IsolationError(Exception):
    """This host offers no sandbox; the message says what was tried and the way round."""


COLD_KERNEL = """
import os, resource, runpy, sys
null = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)
os.environ.pop("JPY_PARENT_PID", None)  # a number of the host, where another process has it
connection = open(sys.argv[2]).read()
for name, most in {limits}.items():
    resource.setrlimit(getattr(resource, name), (most, most))
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid({user}, {user}, {user})
    os.setresuid({user}, {user}, {user})
sys.argv[2] = ".kernel.json"
with open(sys.argv[2], "w") as file:
    file.write(connection)
sys.path[:] = [path for path in sys.path if path]
runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
"""
"""What bwrap starts: a kernel that first takes limits upon itself and, from root, another user."""


class ColdSandbox:
    """Cold kernels that `bwrap` starts: for hosts where a process may not sandbox itself."""

    def __init__(self, kit: Path, walls: Walls) -> None:
        self.witnesses = witness_folder(kit)
        self._command = bwrap_command(kit, walls)
        self._limits = dict(limits(walls))
        self._users = itertools.cycle(range(OUTSIDE, OUTSIDE - 1000, -1))
        self._is_root = os.getuid() == 0
        if self._is_root:
            self._command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]

    def specs(self, folder: Path) -> KernelSpecManager:
        """The kernel specification for a kernel whose scratch is a folder."""
        # A limit of processes counts all of a user's, so each submission is a user of its own.
        user = next(self._users)
        if self._is_root:
            os.chown(folder, user, user)
            folder.chmod(0o755)
        command = [*self._command, *_way_to(folder, set())]
        command += ["--bind", str(folder), str(folder), "--chdir", str(folder)]
        program = COLD_KERNEL.format(limits=self._limits, user=user)
        return _BwrapSpecs([*command, sys.executable, "-c", program])


class _BwrapSpecs(KernelSpecManager):
    def __init__(self, argv: list[str]) -> None:
        super().__init__()
        self._argv = argv

    def get_kernel_spec(self, kernel_name: str) -> JupyterKernelSpec:
        """The specification; the name plays no role."""
        argv = [*self._argv, "-f", "{connection_file}", "--HistoryManager.enabled=False"]
        return JupyterKernelSpec(argv=argv, display_name="Python 3 (bwrap)", language="python")


Server = ForkServer | ColdSandbox


def method(unsafe: bool = False) -> str:
    """How this host can isolate submissions: `"sandbox"`, `"bwrap"`, or `"none"` if so wished.

    Raises:
        IsolationError: The host offers neither, and `unsafe` is not set.
    """
    if unsafe:
        return "none"
    refused = sandbox.refusal()
    if not refused:
        return "sandbox"
    reason = bwrap_refusal()
    if not reason:
        return "bwrap"
    raise IsolationError(
        f"This host lets no process sandbox itself ({refused}) and bwrap does not work ({reason}). "
        f"Submissions run without any protection only with {UNSAFE}, on a machine that holds "
        "nothing of value."
    )


@contextmanager
def server_for(kit: Path, how: str, hidden: Iterable[Path] = ()) -> Iterator[Server]:
    """What starts the kernels of a kit's submissions, isolated in this way.

    Args:
        kit: The folder with the kit's `aisys`.
        how: What `method` says.
        hidden: Folders that no submission may see, should they lie where something is visible.
    """
    walls = Walls((), tuple(path.resolve() for path in hidden))
    if how == "bwrap":
        cold = ColdSandbox(kit, walls)
        try:
            yield cold
        finally:
            shutil.rmtree(cold.witnesses, ignore_errors=True)
        return
    with ForkServer(kit, walls if how == "sandbox" else None) as server:
        yield server


def bwrap_command(kit: Path, walls: Walls) -> list[str]:
    """The beginning of a command line that runs a program in bwrap's sandbox."""
    walls = walls_for(kit, walls)
    # Root can become another user, but not in a user namespace that bwrap makes.
    kinds = ("ipc", "pid", "net", "uts", "cgroup-try") if os.getuid() == 0 else ("all",)
    command = ["bwrap", *(f"--unshare-{kind}" for kind in kinds), "--die-with-parent"]
    command += ["--new-session", "--proc", "/proc", "--dev", "/dev", "--cap-drop", "ALL"]
    command += ["--dir", BOX]
    for name in READ_ONLY_PROC:
        command += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    for place in ("/tmp", "/dev/shm"):
        command += ["--perms", "1777", "--size", str(walls.scratch_bytes), "--tmpfs", place]
    pieces, links = visible(walls)
    shown = {*pieces, *(Path("/etc") / name for name in sandbox.ETC)}
    for path in sorted(shown | set(walls.hidden), key=lambda path: len(path.parts)):
        if path in shown:
            command += [*_way_to(path, shown), "--ro-bind-try", str(path), str(path)]
        elif path.is_dir() and any(path.is_relative_to(other) for other in shown):
            command += ["--tmpfs", str(path)]
    for path, real in links.items():
        if not any(path.is_relative_to(other) for other in pieces):
            command += [*_way_to(path, shown), "--symlink", str(real), str(path)]
    return command


def _way_to(path: Path, shown: set[Path]) -> list[str]:
    """Arguments that make the folders above a path, for everybody to go through."""
    above = [p for p in reversed(path.parents) if p != Path("/")]
    made = [p for p in above if not any(p.is_relative_to(other) for other in shown)]
    return [word for p in made for word in ("--perms", "0755", "--dir", str(p))]


def bwrap_refusal() -> str:
    """Why bwrap does not work here, or `""` where it does."""
    if shutil.which("bwrap") is None:
        return "it is not installed"
    command = [*bwrap_command(Path(sys.prefix), Walls(())), sys.executable, "-c", "pass"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or "it ended without a word"
