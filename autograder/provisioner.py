"""A kernel provisioner, by Jupyter's own API, that has a warm process fork the kernel."""

import asyncio
import contextlib
import os
import signal
import socket
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Dict, Unicode

from .cgroup import Group
from .sandbox import BOX
from .spares import take

MOST_STARTS = 3
OWN_PLACES = ("HOME", "IPYTHONDIR", "MPLCONFIGDIR")


class WarmProvisioner(KernelProvisionerBase):
    """Asks the warm process at `address` for a kernel and watches over its life."""

    address = Unicode("", help="The socket of the warm process.").tag(config=True)
    walls = Dict(None, allow_none=True, help="The sandbox's walls, or None.").tag(config=True)
    folder = Unicode("", help="The kernel's folder where it has no walls.").tag(config=True)

    pid: int | None = None
    group = Group(())
    _process: int | None = None
    _channel: socket.socket | None = None
    _exit: int | None = None

    @property
    def has_process(self) -> bool:
        """Whether a kernel was started and not cleaned up."""
        return self._channel is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """There is no command: the kernel is a fork."""
        return {**await super().pre_launch(**kwargs), "cmd": []}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Ask for a kernel; its sockets are files in its own scratch."""
        from jupyter_client.connect import write_connection_file

        home = BOX if self.walls is not None else self.folder
        manager = self.parent
        if not isinstance(manager, KernelManager):
            raise RuntimeError("a kernel is started by a kernel manager")
        file, connection = write_connection_file(
            str(manager.connection_file), transport="ipc", ip=f"{home}/.k"
        )
        os.unlink(file)
        environment = kwargs.get("env") or {}
        if self.walls is not None:
            # In a sandbox these are set anew, and what remains is the same for every kernel.
            environment = {k: v for k, v in environment.items() if k not in OWN_PLACES}
        request = {
            "walls": self.walls,
            "folder": self.folder if self.walls is None else "",
            "environment": environment,
            "connection": {**connection, "key": ""},
        }
        # Nothing of a submission has run in a kernel that does not start: another may.
        for _ in range(MOST_STARTS):
            begun = take(self.address, request)
            ready = begun.is_ready()
            if ready:
                break
            refused = begun.refused
            begun.end()
        else:
            raise RuntimeError(f"the warm process started no kernel ({refused})")
        self._channel, self._lines, self._exit = begun.channel, begun.lines, None
        self.pid, self._process, self.group = begun.pid, begun.process, begun.group
        outside = f"/proc/{self.pid}/root{home}/.k" if self.walls is not None else f"{home}/.k"
        return {**connection, "ip": outside, "key": begun.key.encode()}  # type: ignore[typeddict-item]

    async def poll(self) -> int | None:
        """The exit status, or None while the kernel lives."""
        if self._channel is None:
            return 0
        if self._exit is None:
            self._channel.setblocking(False)
            try:
                said = self._channel.recv(64)
                self._exit = int(said or b"1")
            except BlockingIOError:
                return None
            except OSError:
                self._exit = 1
            finally:
                self._channel.setblocking(True)
        return self._exit

    async def wait(self) -> int | None:
        """Wait for the kernel to end."""
        while await self.poll() is None:
            await asyncio.sleep(0.002)
        return await self.poll()

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel."""
        if self.pid is None or self._exit is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                signal.pidfd_send_signal(self._process, signum)
            else:
                os.kill(self.pid, signum)

    async def kill(self, restart: bool = False) -> None:
        """End the kernel, and with it everything in its sandbox."""
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        """End the kernel; it has nothing to save."""
        await self.kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Close what connects to the warm process."""
        if self._channel is not None:
            self._lines.close()
            self._channel.close()
        self._channel = None
        if self._process is not None:
            os.close(self._process)
        self._process = None
        self.group.close()
