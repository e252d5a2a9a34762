"""A kernel provisioner, by Jupyter's own API, that has a warm process fork the kernel."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Dict, Unicode

from .cgroup import Group, group_for
from .sandbox import BOX, Walls


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
            str(manager.connection_file), transport="ipc", ip=f"{home}/.k", key=manager.session.key
        )
        os.unlink(file)
        inside = {**connection, "key": manager.session.key.decode()}
        request = {
            "walls": self.walls,
            "folder": self.folder,
            "environment": kwargs.get("env") or {},
            "connection": inside,
        }
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self.address)
        channel.sendall(json.dumps(request).encode() + b"\n")
        self._channel = channel
        self._lines = channel.makefile("r")
        line = self._lines.readline()
        if not line.strip():
            raise RuntimeError("the warm process started no kernel")
        self.pid, self._exit = int(line), None
        self._take_hold()
        if self._lines.readline() != "ready\n":
            await self.kill()
            await self.cleanup()
            raise RuntimeError("the warm process started no kernel")
        outside = f"/proc/{self.pid}/root{home}/.k" if self.walls is not None else f"{home}/.k"
        return {**connection, "ip": outside, "key": manager.session.key}

    def _take_hold(self) -> None:
        """Hold on to the kernel's process while nothing of the submission runs in it yet.

        A number could be another process's by the time that a signal is sent to it.
        """
        if self.pid is None:
            return
        with contextlib.suppress(OSError):
            self._process = os.pidfd_open(self.pid)
        if self.walls is not None:
            self.group = group_for(self.pid, Walls.from_json(self.walls))

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
            await asyncio.sleep(0.01)
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
