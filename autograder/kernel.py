"""Kernels that run submissions: started in one place, asked for plain data, and never trusted."""

import ast
import asyncio
import base64
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import psutil
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode

from aisys.course.errors import CourseError
from aisys.course.plain import Plain, pack, unpack

from .fork_server import KERNEL_NAME
from .isolation import Server

START_SECONDS = 120
WALL_FACTOR = 4
FIRST_LOOK, LONGEST_LOOK = 0.05, 0.5
ANSWER = "__import__('aisys.course.remote', fromlist=['answer']).answer"


class KernelLost(Exception):
    """The kernel hung (`"timeout"`) or died (`"died"`) over what it was given."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a submission may use; seconds are of CPU time, see `Session`."""

    cell_seconds: float = 30.0
    own_cell_seconds: float = 20.0
    total_seconds: float = 900.0
    output_bytes: int = 1_000_000


@dataclass(frozen=True)
class KernelSpec:
    """How kernels are started.

    Attributes:
        kit: The folder with the kit's `aisys`, first on the kernel's path.
        limits: What a submission may use.
        server: What starts the kernels in a sandbox, or None for cold kernels without one.
    """

    kit: Path
    limits: Limits = field(default_factory=Limits)
    server: Server | None = None


def start_kernel(spec: KernelSpec, scratch: Path) -> NotebookClient:
    """Start a kernel with the kit's `aisys` and a scratch; every submission's begins here.

    With a fork server the kernel is a fork of a warm process, in a sandbox; without one it is an
    ordinary cold kernel in the scratch folder.
    """
    if spec.server is not None:
        manager = AsyncKernelManager(
            kernel_name=KERNEL_NAME,
            kernel_spec_manager=spec.server.specs(scratch),
            transport="ipc",
            ip=str(scratch / ".k"),
        )
    else:
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(scratch / ".k"))
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        km=manager,
        allow_errors=True,
        interrupt_on_timeout=False,
        timeout=None,
        record_timing=False,
    )
    client.reset_execution_trackers()
    run_sync(_start)(client, manager, _environment(spec.kit, scratch), scratch)
    return client


async def _start(
    client: NotebookClient, manager: AsyncKernelManager, environment: dict[str, str], scratch: Path
) -> None:
    """Start the kernel and return as soon as it answers, without the waits of `wait_for_ready`."""
    await manager.start_kernel(env=environment, cwd=str(scratch))
    client.kc = manager.client()
    client.kc.start_channels()
    client.kc.kernel_info()
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            await client.kc.get_shell_msg(timeout=1)
            await client.kc.get_iopub_msg(timeout=1)
            break
        except Empty:
            if not await manager.is_alive() or time.monotonic() > end:
                raise RuntimeError("a kernel did not start") from None
            client.kc.kernel_info()


class Session:
    """One kernel's life: start, cells, questions, stop; restarted after a hang or a death.

    It is a context manager; leaving it ends the kernel and throws the scratch folder away.
    """

    def __init__(self, spec: KernelSpec) -> None:
        self.spec = spec
        self._scratch = tempfile.TemporaryDirectory(prefix="aisys-", ignore_cleanup_errors=True)
        self._client: NotebookClient | None = None

    def __enter__(self) -> "Session":
        self._client = start_kernel(self.spec, Path(self._scratch.name))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()
        self._scratch.cleanup()

    def restart(self) -> None:
        """End the kernel and start a fresh one, with nothing run in it."""
        self._stop()
        self._client = start_kernel(self.spec, Path(self._scratch.name))

    def run_cell(self, cell: NotebookNode, seconds: float) -> str:
        """Run a cell and fill its outputs.

        Returns:
            The error's name and text in one line, or `""`.

        Raises:
            KernelLost: The cell hung, or the kernel died over it.
        """
        client = self._alive()
        client.nb.cells = [cell]
        cell.outputs = []
        run_sync(self._watched)(client.async_execute_cell(cell, 0), seconds, "a cell")
        self._limit_outputs(cell)
        for output in cell.outputs:
            if output.output_type == "error":
                text = output.evalue.splitlines()[0] if output.evalue else ""
                return f"{output.ename}: {text}"[:300].rstrip(": ")
        return ""

    def ask(self, request: Plain, seconds: float) -> Plain:
        """Ask the kernel's `aisys.course.remote` and return its plain answer.

        Raises:
            KernelLost: No answer within so many seconds, or the kernel died.
            CourseError: The answer is no plain data, or the kernel refused.
        """
        client = self._alive()
        packed = base64.b64encode(pack(request)).decode()
        expressions = {"answer": f"{ANSWER}({packed!r})"}
        reply = run_sync(self._watched)(self._exchange(client, expressions), seconds, "a probe")
        answer = reply["content"].get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            name, text = answer.get("ename", "no answer"), str(answer.get("evalue", ""))
            raise CourseError(f"the kernel refused: {name}: {text[:200]}")
        try:
            text = ast.literal_eval(answer["data"]["text/plain"])
            return unpack(base64.b64decode(text, validate=True))
        except (KeyError, ValueError, SyntaxError, TypeError, MemoryError):
            raise CourseError("the kernel's answer is no plain data") from None

    async def _exchange(
        self, client: NotebookClient, expressions: dict[str, str]
    ) -> dict[str, Any]:
        """Have expressions evaluated and wait for the reply, however long it takes."""
        channels = self._channels(client)
        message = channels.execute(
            "",
            silent=False,
            store_history=False,
            user_expressions=expressions,
            allow_stdin=False,
        )
        while True:
            reply: dict[str, Any] = await channels.get_shell_msg(timeout=None)
            if reply["parent_header"].get("msg_id") == message:
                return reply

    async def _watched(self, work: Coroutine[Any, Any, Any], seconds: float, what: str) -> Any:
        """Let the kernel work until it is done, dead, or out of time.

        Time is CPU time of everything in the kernel's session; wall time may be WALL_FACTOR times
        as long, for what sleeps or waits for itself.
        """
        manager = _manager(self._alive())
        task = asyncio.ensure_future(work)
        started, used = time.monotonic(), _cpu_seconds(manager)
        step = FIRST_LOOK
        try:
            while True:
                await asyncio.wait({task}, timeout=step)
                if task.done():
                    return task.result()
                if not await manager.is_alive():
                    raise KernelLost("died", f"the kernel died while {what} ran")
                cpu, wall = _cpu_seconds(manager) - used, time.monotonic() - started
                if cpu > seconds or wall > WALL_FACTOR * seconds:
                    spent = "of CPU time" if cpu > seconds else f"times {WALL_FACTOR:g}, waiting"
                    raise KernelLost("timeout", f"{what} gave no result in {seconds:g} s {spent}")
                step = min(2 * step, LONGEST_LOOK)
        except DeadKernelError:
            raise KernelLost("died", f"the kernel died while {what} ran") from None
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    def _limit_outputs(self, cell: NotebookNode) -> None:
        size = 0
        for number, output in enumerate(cell.outputs):
            size += len(str(output))
            if size > self.spec.limits.output_bytes:
                note = f"Output after {self.spec.limits.output_bytes:,} characters was cut off.\n"
                cell.outputs = [
                    *cell.outputs[:number],
                    nbformat.v4.new_output("stream", name="stdout", text=note),
                ]
                return

    def _channels(self, client: NotebookClient) -> AsyncKernelClient:
        if not isinstance(client.kc, AsyncKernelClient):
            raise RuntimeError("the session's kernel has no channels")
        return client.kc

    def _alive(self) -> NotebookClient:
        if self._client is None:
            raise RuntimeError("the session has no kernel: use it in a with block")
        return self._client

    def _stop(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if client.kc is not None:
            client.kc.stop_channels()
        run_sync(_end)(_manager(client))


def _manager(client: NotebookClient) -> AsyncKernelManager:
    if not isinstance(client.km, AsyncKernelManager):
        raise RuntimeError("the session's kernel has no manager")
    return client.km


def _cpu_seconds(manager: AsyncKernelManager) -> float:
    """CPU time of the kernel's process and all below it that are alive or were waited for."""
    pid = getattr(manager.provisioner, "pid", None)
    if pid is None:
        return 0.0
    spent = 0.0
    with contextlib.suppress(psutil.Error):
        kernel = psutil.Process(pid)
        for process in (kernel, *kernel.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
    return spent


async def _end(manager: AsyncKernelManager) -> None:
    """End a kernel that has nothing to save, without the polling of `shutdown_kernel`."""
    if manager.provisioner is not None and manager.provisioner.has_process:
        await manager.provisioner.kill()
        await manager.provisioner.wait()
    await manager.cleanup_resources()


def _environment(kit: Path, scratch: Path) -> dict[str, str]:
    """The environment of a kernel: nothing of the grader's own."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NBGRADER_EXECUTION"):
        if name in os.environ:
            kept[name] = os.environ[name]
    folder = str(Path(sys.executable).parent)
    return {
        **kept,
        "PATH": os.pathsep.join([folder, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(scratch),
        "IPYTHONDIR": str(scratch / ".ipython"),
        "MPLCONFIGDIR": str(scratch / ".matplotlib"),
        "PYTHONPATH": str(kit),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
