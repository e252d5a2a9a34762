"""Kernels that run submissions: started in one place, asked for plain data, and never trusted."""

import asyncio
import base64
import binascii
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode

from aisys.course.errors import CourseError
from aisys.course.plain import Plain, pack, unpack
from aisys.course.witness import namespace_of

from .border import MESSAGE_BYTES, GuardedClient, KernelLost, bound
from .cgroup import Group
from .fork_server import KERNEL_NAME, ForkServer
from .isolation import Server
from .sandbox import Walls
from .witnessing import Witnessing

START_SECONDS = 120
WALL_FACTOR = 4
FIRST_LOOK, LONGEST_LOOK = 0.05, 0.5
DYING_SECONDS = 1.0
"""So long after its connections the end of a kernel may be seen."""
MEMORY_BYTES = Walls(()).total_bytes
TOO_MUCH_MEMORY = f"the kernel used more than {MEMORY_BYTES >> 30} GB of memory"
ANSWER = "__import__('aisys.course.remote', fromlist=['answer']).answer"


@dataclass(frozen=True)
class Limits:
    """What a submission may use; seconds are of CPU time, see `Session`."""

    cell_seconds: float = 30.0
    own_cell_seconds: float = 20.0
    total_seconds: float = 900.0
    output_bytes: int = 1_000_000
    notebook_output_bytes: int = 20_000_000


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
    about: dict[str, Any] = {"kernel_name": "python3"}
    if spec.server is not None:
        specs = spec.server.specs(scratch)
        about = {"kernel_name": KERNEL_NAME, "kernel_spec_manager": specs}
    # The kernel's own folder is all that it is sure to see.
    file = str(scratch / "kernel.json")
    manager = AsyncKernelManager(
        transport="ipc", ip=str(scratch / ".k"), connection_file=file, **about
    )
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        km=manager,
        allow_errors=True,
        interrupt_on_timeout=False,
        timeout=None,
        record_timing=False,
    )
    manager.client_factory = GuardedClient
    bound(manager.context)  # it opens a control channel of its own
    run_sync(_start)(client, manager, _environment(spec.kit, scratch), scratch)
    return client


async def _start(
    client: NotebookClient, manager: AsyncKernelManager, environment: dict[str, str], scratch: Path
) -> None:
    """Start the kernel and return as soon as it answers, without the waits of `wait_for_ready`."""
    await manager.start_kernel(env=environment, cwd=str(scratch))
    client.kc = guarded = manager.client()
    if not isinstance(guarded, GuardedClient):
        raise RuntimeError("a kernel's client is none of ours")
    answering = asyncio.ensure_future(_answering(guarded))
    end = time.monotonic() + START_SECONDS
    while not answering.done():
        await asyncio.wait({answering}, timeout=1)
        if not answering.done() and (not await manager.is_alive() or time.monotonic() > end):
            answering.cancel()
            raise RuntimeError("a kernel did not start")
    answering.result()


async def _answering(client: GuardedClient) -> None:
    """Connect to a kernel that starts, and return when both channels work."""
    await client.connect()
    client.expect(0)
    client.kernel_info()
    await client.get_shell_msg(timeout=None)
    # A subscription may come too late for what the first request shows.
    while not await client.iopub_channel.msg_ready():
        client.kernel_info()
        await client.get_shell_msg(timeout=None)
        await asyncio.sleep(0.001)


class Session:
    """One kernel's life: start, cells, questions, stop; restarted after a hang or a death.

    It is a context manager; leaving it ends the kernel and throws the scratch folder away.
    """

    def __init__(self, spec: KernelSpec) -> None:
        self.spec = spec
        self._scratch = tempfile.TemporaryDirectory(prefix="aisys-", ignore_cleanup_errors=True)
        self._client: NotebookClient | None = None
        self._room = spec.limits.notebook_output_bytes
        server = spec.server
        folder = server.witnesses if server is not None else Path(self._scratch.name)
        self._witnessing = Witnessing(folder)

    def __enter__(self) -> "Session":
        self._client = start_kernel(self.spec, Path(self._scratch.name))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()
        self._witnessing.close()
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
        client, guarded = self._alive(), self._guarded()
        client.reset_execution_trackers()
        client.nb.cells = [cell]
        cell.outputs = []
        room = min(self.spec.limits.output_bytes, self._room)
        guarded.expect(room)
        run_sync(self._watched)(client.async_execute_cell(cell, 0), seconds, "a cell")
        cell.execution_count = None
        self._room -= room - max(0, guarded.iopub_channel.room)
        if guarded.iopub_channel.cut:
            note = f"Output after {room:,} characters was cut off.\n"
            cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=note))
        if guarded.shell_channel.leaving:
            raise KernelLost("died", "a cell ended the kernel")
        for output in cell.outputs:
            if output.output_type == "error":
                text = output.evalue.splitlines()[0] if output.evalue else ""
                return f"{output.ename}: {text}"[:300].rstrip(": ")
        return ""

    def ask(self, request: Plain, seconds: float) -> Plain:
        """Ask the kernel's `aisys.course.remote` and return its plain answer.

        Raises:
            KernelLost: No answer within so many seconds, or the kernel died.
            WitnessLost: The question's witness failed.
            CourseError: The answer is no plain data, or the kernel refused.
        """
        return self._witnessing.ask(self._ask, request, seconds, self._namespace)

    def _namespace(self) -> int:
        """The PID namespace of the sandbox's processes; 0 where there is none."""
        pid = getattr(_manager(self._alive()).provisioner, "pid", None)
        if not pid or self.spec.server is None:
            return 0
        if isinstance(self.spec.server, ForkServer):
            return namespace_of(pid)
        # bwrap itself stays outside; what it has started is inside.
        inside: list[int] = []
        with contextlib.suppress(psutil.Error):  # it has died, as whoever asks will see
            children = psutil.Process(pid).children(recursive=True)
            inside = [namespace_of(child.pid) for child in children]
        return next((found for found in inside if found not in (0, namespace_of(pid))), 0)

    def _ask(self, request: Plain, seconds: float) -> Plain:
        packed = base64.b64encode(pack(request)).decode()
        expressions = {"answer": f"{ANSWER}({packed!r})"}
        self._guarded().expect(0)
        reply = run_sync(self._watched)(self._exchange(expressions), seconds, "a probe")
        return _plain_answer(reply["content"])

    async def _exchange(self, expressions: dict[str, str]) -> dict[str, Any]:
        """Have expressions evaluated and wait for the reply, however long it takes."""
        channels = self._guarded()
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

        Time is CPU time of everything in the kernel's session, from the first look on; wall time
        may be WALL_FACTOR times as long, for what sleeps or waits for itself.
        """
        manager, guarded = _manager(self._alive()), self._guarded()
        task = asyncio.ensure_future(work)
        started, used, step = time.monotonic(), -1.0, FIRST_LOOK
        try:
            while True:
                await asyncio.wait({task}, timeout=step)
                if task.done():
                    return task.result()
                if not await manager.is_alive():
                    raise _death(manager, what)
                if await guarded.is_cut_off():
                    raise await _cut_off(manager, what)
                now, memory = _usage(manager)
                # Most cells are done before they are looked at, and looking costs as much as they.
                used = now if used < 0 else used
                cpu, wall = now - used, time.monotonic() - started
                if memory > MEMORY_BYTES:
                    raise KernelLost("died", f"{TOO_MUCH_MEMORY} while {what} ran")
                if cpu > seconds or wall > WALL_FACTOR * seconds:
                    spent = "of CPU time" if cpu > seconds else f"times {WALL_FACTOR:g}, waiting"
                    raise KernelLost("timeout", f"{what} gave no result in {seconds:g} s {spent}")
                step = min(2 * step, LONGEST_LOOK)
        except DeadKernelError:
            raise _death(manager, what) from None
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    def _guarded(self) -> GuardedClient:
        client = self._alive().kc
        if not isinstance(client, GuardedClient):
            raise RuntimeError("the session's kernel has no channels")
        return client

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


def _plain_answer(content: dict[str, Any]) -> Plain:
    """The plain data in a reply; raises CourseError where there is none, whatever there is."""
    try:
        answer = content["user_expressions"]["answer"]
        if answer["status"] == "ok":
            quoted = re.fullmatch(r"'([A-Za-z0-9+/]*={0,2})'", answer["data"]["text/plain"])
            if quoted:
                return unpack(base64.b64decode(quoted[1], validate=True))
        name, text = str(answer.get("ename"))[:100], str(answer.get("evalue"))[:200]
    except (AttributeError, KeyError, TypeError, IndexError, binascii.Error, RecursionError):
        raise CourseError("the kernel's answer is no plain data") from None
    raise CourseError(f"the kernel refused: {name}: {text}")


def _death(manager: AsyncKernelManager, what: str) -> KernelLost:
    group = getattr(manager.provisioner, "group", Group(()))
    if group.out_of_memory():
        return KernelLost("died", f"{TOO_MUCH_MEMORY} while {what} ran")
    return KernelLost("died", f"the kernel died while {what} ran")


async def _cut_off(manager: AsyncKernelManager, what: str) -> KernelLost:
    """What it means that a connection has ended: the kernel's end may not be seen yet."""
    end = time.monotonic() + DYING_SECONDS
    while time.monotonic() < end:
        if not await manager.is_alive():
            return _death(manager, what)
        await asyncio.sleep(FIRST_LOOK)
    most = f"{MESSAGE_BYTES >> 20} MB"
    said = f"the kernel broke its connection or sent more than {most} at once while {what} ran"
    return KernelLost("flood", said)


def _usage(manager: AsyncKernelManager) -> tuple[float, int]:
    """CPU seconds and bytes of memory of the kernel's process and all below it.

    CPU time is of those that are alive or were waited for. Memory is what a process does not share
    with a file; what forks share is counted for each.
    """
    pid = getattr(manager.provisioner, "pid", None)
    if pid is None:
        return 0.0, 0
    spent, memory = 0.0, 0
    with contextlib.suppress(psutil.Error):
        kernel = psutil.Process(pid)
        for process in (kernel, *kernel.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times, held = process.cpu_times(), process.memory_info()
                spent += times.user + times.system + times.children_user + times.children_system
                memory += held.rss - held.shared
    return spent, memory


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
