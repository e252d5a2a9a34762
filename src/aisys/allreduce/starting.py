"""Two ways to start a rank's process: a fork of this one, or a fresh interpreter."""

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aisys.course.errors import CourseError
from aisys.course.exporting import export_attempts, source_of
from aisys.course.shell import current_shell
from aisys.course.slots import slots

from .rank_process import Job, end_with, run_rank


class Started:
    """A process that was started: `poll` gives its exit status once it has ended."""

    def __init__(self, pid: int, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid, self._popen = pid, popen
        self.status: int | None = None

    def poll(self) -> int | None:
        """The exit status, minus the signal's number where one ended it; None while it runs."""
        if self.status is None and self._popen is not None:
            self.status = self._popen.poll()
        elif self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.status = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:  # a program that ignores SIGCHLD gets no status
                self.status = 0
        return self.status

    def kill(self) -> None:
        """End it and what it has started in its group; nothing where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def can_fork() -> bool:
    """Whether a copy of this process can go on as a rank.

    Not on macOS, whose libraries do not bear it, and not once CUDA runs in this process.
    """
    torch = sys.modules.get("torch")
    cuda_runs = torch is not None and torch.cuda.is_initialized()
    return sys.platform == "linux" and not cuda_runs


def fork_rank(
    job: Job, control: socket.socket, watch_file: int, log: int, not_theirs: Iterable[int]
) -> Started:
    """Start a rank as a copy of this process.

    Args:
        job: What it is to do.
        control: Its end of the connection to the launcher.
        watch_file: The memory of the watches.
        log: Where its output goes.
        not_theirs: The launcher's descriptors, which it must not hold open.
    """
    parent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what is in a buffer would appear twice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking beside threads
        pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        return Started(pid)
    try:
        # What another thread of the parent was using may not be taken apart here: it crashes.
        gc.freeze()
        end_with(parent)
        os.setpgid(0, 0)  # an interrupt of the notebook is for the launcher alone
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in not_theirs:
            os.close(descriptor)
        _own_output(log)
        run_rank(job, control, watch_file)
    finally:
        os._exit(1)


def spawn_rank(control: socket.socket, watch_file: int, log: int, attempts: str) -> Started:
    """Start a rank as a fresh process, which reads its job from the connection.

    Arguments as of `fork_rank`, and the file of attempts or `""`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    if attempts:
        environment["AISYS_ATTEMPTS"] = attempts
    descriptors = (control.fileno(), watch_file)
    command = [sys.executable, "-m", f"{__package__}.rank_process"]
    popen = subprocess.Popen(
        [*command, *map(str, descriptors), str(os.getpid())],
        pass_fds=descriptors,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
    )
    return Started(popen.pid, popen)


class Portable:
    """A job as a fresh process can take it: the program by its name or as text, attempts as a file.

    Raises:
        CourseError: The program or its arguments cannot leave this process.
    """

    def __init__(self, job: Job) -> None:
        target = job.target
        assert target is not None
        module, name = getattr(target, "__module__", ""), getattr(target, "__qualname__", "")
        if _is_found(module, name, target):
            self._job = replace(job, target=None, module=module, name=name)
        elif callable(target) and name.isidentifier():
            self._job = replace(job, target=None, name=name, source=source_of(target))
        else:
            raise CourseError(
                f"{name or target!r} cannot be run by a fresh process: write it as a function at "
                "the top level of a module or of a cell."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="aisys-ranks-")
        self.attempts = ""
        if any(slot.attempt is not None for slot in slots()):
            self.attempts = str(export_attempts(Path(self._folder.name, "attempts.py")))
        try:
            self.pickled(0, "", "")
        except CourseError:
            self.close()
            raise

    def pickled(self, rank: int, host: str, namespace: str) -> bytes:
        """The job of one rank with its length before it, as `rank_process` reads it."""
        try:
            data = pickle.dumps(replace(self._job, rank=rank, host=host, namespace=namespace))
        except Exception as error:
            raise CourseError(
                f"The program's arguments cannot go to a fresh process ({error}): give numbers, "
                "texts and arrays, and functions of a module."
            ) from None
        return len(data).to_bytes(8, "big") + data

    def close(self) -> None:
        """Take the file of attempts away."""
        self._folder.cleanup()


def _is_found(module: str, name: str, target: Callable[..., Any]) -> bool:
    """Whether a program can be imported by its name."""
    if module == "__main__" or "<locals>" in name or not name:
        return False
    thing: Any = sys.modules.get(module)
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing is target


def _own_output(log: int) -> None:
    """In a forked process: print into the launcher's pipe, and nothing into the notebook."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(log, descriptor)
        stream = open(descriptor, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    shell = current_shell()
    if shell is not None:  # its sockets are the parent's
        from IPython.core.displaypub import CapturingDisplayPublisher

        shell.display_pub = CapturingDisplayPublisher()
