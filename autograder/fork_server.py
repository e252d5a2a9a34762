"""What starts the kernels of a kit's submissions: a warm process, and what Jupyter is told."""

import shutil
import sys
import tempfile
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec as JupyterKernelSpec
from jupyter_client.kernelspec import KernelSpecManager

import aisys
import autograder

from .sandbox import Walls
from .text import REPOSITORY
from .warming import take

KERNEL_NAME = "aisys-warm"


class ForkServer:
    """A warm process that has a kit's `aisys` imported; use it in a with block.

    Args:
        kit: The folder with the kit's `aisys`.
        walls: The sandbox of its kernels, or None for kernels without one.

    Attributes:
        witnesses: The folder, visible to all kernels, with the sockets of witnesses.
        address: The socket of the warm process, also before it is started.
    """

    def __init__(self, kit: Path, walls: Walls | None) -> None:
        self.walls = walls_for(kit, walls) if walls is not None else None
        self.witnesses = witness_folder(kit)
        self._kit = kit
        self._process = take()
        self.address = self._process.address
        self._is_started = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Tell the warm process its kit, once, and return when it has imported everything.

        Raises:
            RuntimeError: It ended before it was ready.
        """
        with self._starting:
            if not self._is_started:
                self._process.tell(self._kit)
                self._is_started = True

    def specs(self, folder: Path) -> "WarmSpecs":
        """The kernel specification of its kernels; the first call starts the warm process.

        Args:
            folder: The kernel's folder where it has no sandbox.
        """
        self.start()
        walls = None
        if self.walls is not None:
            walls = asdict(self.walls)
            for name in ("readable", "hidden"):
                walls[name] = [str(path) for path in walls[name]]
        return WarmSpecs({"address": self.address, "walls": walls, "folder": str(folder)})

    def stop(self) -> None:
        """End the warm process and every kernel that came from it."""
        self._process.end()
        shutil.rmtree(self.witnesses, ignore_errors=True)

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def witness_folder(kit: Path) -> Path:
    """A folder in a kit in which who knows a name can connect to a socket, and nobody can list."""
    folder = Path(tempfile.mkdtemp(prefix=".w-", dir=kit))
    folder.chmod(0o711)
    return folder


def walls_for(kit: Path, walls: Walls) -> Walls:
    """Walls that show this Python and a kit, and nowhere the references or the hidden cases."""
    readable = {Path(sys.prefix), Path(sys.base_prefix), kit}
    hidden = {Path(str(package.__file__)).resolve().parent for package in (aisys, autograder)}
    hidden |= {REPOSITORY} if (REPOSITORY / "pyproject.toml").exists() else set()
    return replace(
        walls,
        readable=(*sorted(readable), *walls.readable),
        hidden=(*sorted(hidden), *walls.hidden),
    )


class WarmSpecs(KernelSpecManager):
    """Knows one kernel, whose provisioner asks a warm process."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self._provisioner = {"provisioner_name": KERNEL_NAME, "config": config}

    def get_kernel_spec(self, kernel_name: str) -> JupyterKernelSpec:
        """The specification; the name plays no role."""
        return JupyterKernelSpec(
            argv=[],
            display_name="Python 3 (warm)",
            language="python",
            metadata={"kernel_provisioner": self._provisioner},
        )
