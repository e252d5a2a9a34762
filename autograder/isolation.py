"""How submissions are kept apart from everything: forked sandboxes, else bwrap, else a refusal."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec as JupyterKernelSpec
from jupyter_client.kernelspec import KernelSpecManager

from . import sandbox
from .fork_server import ForkServer
from .sandbox import BOX, Walls

UNSAFE = "--unsafe"


class IsolationError(Exception):
    """This host offers no sandbox; the message says what was tried and the way round."""


class ColdSandbox:
    """Cold kernels that `bwrap` starts: for hosts where a process may not sandbox itself."""

    def __init__(self, kit: Path, walls: Walls) -> None:
        self._command = bwrap_command(kit, walls)

    def specs(self, folder: Path) -> KernelSpecManager:
        """The kernel specification for a kernel whose scratch is a folder."""
        return _BwrapSpecs([*self._command, "--bind", str(folder), str(folder)], folder)


class _BwrapSpecs(KernelSpecManager):
    def __init__(self, command: list[str], folder: Path) -> None:
        super().__init__()
        self._argv = [*command, "--chdir", str(folder), sys.executable, "-m", "ipykernel_launcher"]

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
def server_for(kit: Path, how: str) -> Iterator[Server]:
    """What starts the kernels of a kit's submissions, isolated in this way."""
    if how == "bwrap":
        yield ColdSandbox(kit, Walls(()))
        return
    with ForkServer(kit, Walls(()) if how == "sandbox" else None) as server:
        yield server


def bwrap_command(kit: Path, walls: Walls) -> list[str]:
    """The beginning of a command line that runs a program in bwrap's sandbox."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc"]
    command += ["--dev", "/dev", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--dir", BOX]
    readable = [*map(Path, sandbox.SYSTEM), Path(sys.prefix), Path(sys.base_prefix), kit]
    readable += [Path("/etc") / name for name in sandbox.ETC]
    for path in [*readable, *walls.readable]:
        command += ["--ro-bind-try", str(path), str(path)]
    return command


def bwrap_refusal() -> str:
    """Why bwrap does not work here, or `""` where it does."""
    if shutil.which("bwrap") is None:
        return "it is not installed"
    command = [*bwrap_command(Path(sys.prefix), Walls(())), sys.executable, "-c", "pass"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or "it ended without a word"
