"""Sessions for the tests of checks: a forked IPython shell instead of a kernel, 0.1 s each.

A warm process has imported the kit's `aisys`; every session is a fork of it that runs cells and
answers the harness as a kernel does. Real kernels are tested where kernels are the subject.
"""

import base64
import os
import subprocess
import sys
import tempfile
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from nbformat import NotebookNode

from aisys.course.errors import CourseError
from aisys.course.plain import Plain, pack, unpack
from autograder.kernel import KernelLost, KernelSpec, Session
from autograder.witnessing import Witnessing

KEY = b"tests"


class WarmProcess:
    """The process that sessions are forked from, with the kit's `aisys` imported."""

    def __init__(self, kit: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.address = str(Path(self._folder.name) / "s")
        environment = {**os.environ, "PYTHONPATH": str(kit), "OMP_NUM_THREADS": "1"}
        environment.pop("AISYS_ATTEMPTS", None)
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address], env=environment, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the warm process did not start")

    def open_session(self, spec: KernelSpec) -> "ForkedSession":
        """A session for `judge_notebook`."""
        return ForkedSession(spec, self.address)

    def stop(self) -> None:
        """End the warm process."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class ForkedSession(Session):
    """A `Session` whose kernel is a fork of a warm process."""

    def __init__(self, spec: KernelSpec, address: str) -> None:
        self.spec = spec
        self._address = address
        self._witnessing = Witnessing(Path(tempfile.gettempdir()))

    def __enter__(self) -> "ForkedSession":
        self._connection: Connection = Client(self._address, "AF_UNIX", authkey=KEY)
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._witnessing.close()

    def restart(self) -> None:
        """A fresh fork."""
        self._connection.close()
        self.__enter__()

    def run_cell(self, cell: NotebookNode, seconds: float) -> str:
        """Run a cell; its outputs stay empty."""
        return str(self._exchange({"run": cell.source}, seconds))

    def ask(self, request: Plain, seconds: float) -> Plain:
        """Ask for an answer of `aisys.course.remote`."""
        return self._witnessing.ask(self._ask, request, seconds)

    def _ask(self, request: Plain, seconds: float) -> Plain:
        answer = self._exchange({"ask": base64.b64encode(pack(request)).decode()}, seconds)
        if not isinstance(answer, str):
            raise CourseError("the answer is no text")
        return unpack(base64.b64decode(answer))

    def _exchange(self, message: Plain, seconds: float) -> Plain:
        self._connection.send_bytes(pack(message))
        if not self._connection.poll(seconds):
            raise KernelLost("timeout", f"no result within {seconds:g} s")
        try:
            return unpack(self._connection.recv_bytes())
        except EOFError:
            raise KernelLost("died", "the kernel died") from None


def _serve(address: str) -> None:
    """The warm process: a fork for every connection."""
    import signal

    from IPython.core.interactiveshell import InteractiveShell

    from aisys.course.remote import warm_up

    warm_up()  # before the fork, so that sessions need not

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Listener(address, "AF_UNIX", authkey=KEY) as listener:
        print("ready", flush=True)
        while True:
            connection = listener.accept()
            if os.fork() == 0:
                listener._listener._socket.close()  # type: ignore[attr-defined]
                _session(connection, InteractiveShell)
                os._exit(0)
            connection.close()


def _session(connection: Connection, shell_class: type) -> None:
    import signal

    from traitlets.config import Config

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    shell = shell_class.instance(config=Config({"HistoryManager": {"enabled": False}}))
    from aisys.course.attempts import attempt_magic
    from aisys.course.remote import answer

    shell.register_magic_function(attempt_magic, "cell", "attempt")
    while True:
        try:
            message = unpack(connection.recv_bytes())
        except EOFError:
            return
        if "run" in message:
            result = shell.run_cell(message["run"], store_history=True)
            error = result.error_before_exec or result.error_in_exec
            reply = "" if error is None else f"{type(error).__name__}: {error}"
        else:
            reply = answer(message["ask"])
        connection.send_bytes(pack(reply))


if __name__ == "__main__":
    _serve(sys.argv[1])
