"""Warm kernels: a process that has imported what labs need, and forks a kernel when asked.

It imports the libraries, waits for a line of JSON on its input that names the kit, and imports the
kit's `aisys`; it has never seen a reference, a verdict or a secret. It stays single-threaded, so
that forking is safe. One request a line comes in on its socket, as JSON; the answers are the new
kernel's PID, `ready`, and its status when it has ended.

Run as `python -m autograder.warm SOCKET`; `autograder.warming` does.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .huge_pages import join_pages
from .sandbox import BOX, Walls, end_with_parent, enter

REFUSED = "refused: "
"""So begins the line that says why there is no kernel."""
WARM_MODULES = (
    "numpy",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "ipykernel.subshell_manager",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "tornado.platform.asyncio",
)
"""What every kernel imports while it starts; imported once, before the forks."""
HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Import, listen, fork; until the process that started this one is gone."""
    address = sys.argv[1]
    gc.disable()  # what is imported stays: to look through it again and again takes long
    _import_libraries()
    _settle()
    told = sys.stdin.readline()
    if not told:
        return
    _import_kit(json.loads(told)["kit"])
    _own_modules()
    _kernel_app()
    _settle()
    gc.enable()
    children: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, wake_read, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            if wake_read in ready:
                os.read(wake_read, 4096)
                _bury(children)
            if listener in ready:
                connection, _ = listener.accept()
                _serve(connection, listener, children)


def _import_libraries() -> None:
    """What takes long to import and is the same for everybody."""
    import matplotlib

    matplotlib.use("agg")
    for name in WARM_MODULES:
        importlib.import_module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("torch").set_num_threads(1)


def _import_kit(kit: str) -> None:
    """What a lab's kernels import beside the libraries; of the kit, and from nowhere else."""
    if "aisys" in sys.modules:
        raise RuntimeError("expected no aisys before the kit's")
    sys.path.insert(sys.path.index(str(HERE)), kit)
    os.environ["PYTHONPATH"] = os.pathsep.join([kit, str(HERE)])
    importlib.import_module("aisys.course.remote").warm_up()
    if Path(str(sys.modules["aisys"].__file__)).parent != Path(kit) / "aisys":
        raise RuntimeError(f"expected the aisys of {kit}, which has none")
    # Nothing of the harness is to be found from a kernel.
    sys.path[:] = [path for path in sys.path if Path(path) != HERE]


def _settle() -> None:
    """What is there now stays: no fork looks through it, which would copy the pages it lies on.

    Nothing is thrown away either: forks would write into the gaps, and copy pages for them.
    """
    gc.freeze()
    join_pages()


@functools.cache
def _own_modules() -> tuple[str, ...]:
    """The harness's modules; looked for before a fork, for the same reason."""
    return tuple(name for name in sys.modules if name.split(".")[0] == "autograder")


def _bury(children: dict[int, socket.socket]) -> None:
    """Tell whoever asked for a kernel that it has ended."""
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = children.pop(pid, None)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            connection.close()


def _serve(
    connection: socket.socket, listener: socket.socket, children: dict[int, socket.socket]
) -> None:
    request = json.loads(connection.makefile("r").readline())
    pid = os.fork()
    if pid == 0:
        try:
            listener.close()
            for other in children.values():
                other.close()
            _become_kernel(request, connection)
        except BaseException as error:
            with contextlib.suppress(OSError):
                why = f"{type(error).__name__}: {error}".replace("\n", " ")
                connection.sendall(f"{REFUSED}{why[:300]}\n".encode())
        os._exit(1)
    children[pid] = connection


def _become_kernel(request: dict[str, Any], connection: socket.socket) -> None:
    """In the fork: enter the sandbox, then be an ordinary Jupyter kernel."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def tell(pid: int) -> None:
        connection.sendall(f"{pid}\n".encode())

    if request["walls"] is None:
        os.setsid()
        os.chdir(request["folder"])
        tell(os.getpid())
        end_with_parent()
    else:
        walls = request["walls"]
        enter(Walls.from_json(walls), tell)
    # What the warm process holds is nothing for a submission, such as the pipe that wakes it.
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, 1 << 16)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    home = BOX if request["walls"] is not None else request["folder"]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.update(HOME=home, IPYTHONDIR=f"{home}/.ipython", MPLCONFIGDIR=f"{home}/.matplotlib")
    os.environ.update(JUPYTER_RUNTIME_DIR=home, TMPDIR=home)
    tempfile.tempdir = None  # whoever asked for it before the fork got another's
    _fresh_random_state()
    for name in _own_modules():
        del sys.modules[name]
    _run_kernel(request["connection"], f"{home}/.kernel.json", connection)


def _fresh_random_state() -> None:
    """Forks share their parent's random state; each kernel gets its own."""
    import random

    import numpy as np

    random.seed()
    np.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.seed()  # in a sandbox there is no other device


def _run_kernel(connection: dict[str, Any], file: str, ready: socket.socket) -> None:
    from aisys.course import load_ipython_extension

    Path(file).write_text(json.dumps(connection), encoding="utf-8")
    sys.argv = ["ipykernel_launcher"]
    app = _kernel_app()
    app.connection_file = file
    app.initialize()
    Path(file).unlink()
    load_ipython_extension(app.shell)  # it was imported when there was no shell
    ready.sendall(b"ready\n")
    ready.close()
    app.start()


@functools.cache
def _kernel_app() -> Any:
    """What every kernel starts as: made before the forks, it holds nothing of any yet."""
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    class KernelApp(IPKernelApp):
        def parse_command_line(self, argv: Sequence[str] | None = None) -> None:
            """There is no command line, and to look for one takes a tenth of the start."""

    config = Config(HistoryManager={"enabled": False})
    return KernelApp.instance(log_level=50, config=config)


if __name__ == "__main__":
    main()
