"""Kernels that run submissions: started in one place, asked for plain data, and never trusted."""

import ast
import base64
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode

from aisys.course.errors import CourseError
from aisys.course.plain import Plain, pack, unpack

ANSWER = "__import__('aisys.course.remote', fromlist=['answer']).answer"


class KernelLost(Exception):
    """The kernel hung (`"timeout"`) or died (`"died"`) over what it was given."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a submission may use, in seconds of wall time."""

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
    """

    kit: Path
    limits: Limits = field(default_factory=Limits)


def start_kernel(spec: KernelSpec, scratch: Path) -> NotebookClient:
    """Start a kernel with the kit's `aisys` in a scratch folder; every submission's begins here."""
    manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(scratch / ".k"))
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        km=manager,
        allow_errors=True,
        interrupt_on_timeout=False,
        timeout=int(spec.limits.cell_seconds),
        startup_timeout=120,
        record_timing=False,
        resources={"metadata": {"path": str(scratch)}},
    )
    client.reset_execution_trackers()
    run_sync(client.async_start_new_kernel)(env=_environment(spec.kit, scratch), cwd=str(scratch))
    run_sync(client.async_start_new_kernel_client)()
    return client


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
        client.nb.cells, client.timeout = [cell], int(seconds)
        cell.outputs = []
        try:
            client.execute_cell(cell, 0, store_history=True)
        except (CellTimeoutError, TimeoutError):
            raise KernelLost("timeout", f"a cell gave no result within {seconds:g} s") from None
        except DeadKernelError:
            raise KernelLost("died", "the kernel died while a cell ran") from None
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
        message = self._channels(client).execute(
            "",
            silent=False,
            store_history=False,
            user_expressions={"answer": f"{ANSWER}({packed!r})"},
            allow_stdin=False,
        )
        reply = self._reply(client, message, seconds)
        answer = reply["content"].get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            name, text = answer.get("ename", "no answer"), str(answer.get("evalue", ""))
            raise CourseError(f"the kernel refused: {name}: {text[:200]}")
        try:
            text = ast.literal_eval(answer["data"]["text/plain"])
            return unpack(base64.b64decode(text, validate=True))
        except (KeyError, ValueError, SyntaxError, TypeError, MemoryError):
            raise CourseError("the kernel's answer is no plain data") from None

    def _reply(self, client: NotebookClient, message: str, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        channels = self._channels(client)
        while True:
            try:
                reply: dict[str, Any] = run_sync(channels.get_shell_msg)(timeout=0.5)
            except Empty:
                if not run_sync(_manager(client).is_alive)():
                    raise KernelLost("died", "the kernel died") from None
                if time.monotonic() > end:
                    raise KernelLost("timeout", f"no result within {seconds:g} s") from None
                continue
            if reply["parent_header"].get("msg_id") == message:
                return reply

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
        run_sync(_manager(client).shutdown_kernel)(now=True)
        run_sync(_manager(client).cleanup_resources)()


def _manager(client: NotebookClient) -> AsyncKernelManager:
    if not isinstance(client.km, AsyncKernelManager):
        raise RuntimeError("the session's kernel has no manager")
    return client.km


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
