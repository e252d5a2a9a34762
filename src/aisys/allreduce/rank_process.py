"""What runs in the process of one rank: join the others, run the program, tell the launcher."""

import contextlib
import ctypes
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any

from aisys.course.errors import CourseError, PlainDataError
from aisys.course.plain import Plain, pack, unpack
from aisys.course.slots import recording

from .shared_memory import SharedMemoryTransport
from .tcp import TcpTransport
from .transport import Transport, TransportError
from .watch import FAILED, SLICE, Watch

TRANSPORTS = ("tcp", "shared", "gloo")
Connect = Callable[["Job", Callable[[str], list[str]], Watch], Transport]
"""Makes a rank's transport from its job, a rendezvous and a watch."""

_PR_SET_PDEATHSIG, _CLONE_NEWNET = 1, 0x40000000


@dataclass(frozen=True)
class Job:
    """What one rank is to do.

    Attributes:
        rank: This rank.
        world_size: How many ranks there are.
        transport: One of `TRANSPORTS`, or a function that makes a transport.
        timeout: The transport's, in seconds.
        target: The program; None where it is found by name.
        arguments: Its arguments after the transport.
        host: The address on which this rank is reached by TCP.
        namespace: The file of the network namespace that it enters, or `""`.
        module: Where the program is found, or `""`.
        name: Its name in the module or in the source.
        source: The text of a program that is in no module.
        is_recorded: Whether the launcher wants to know which exercises are called.
    """

    rank: int
    world_size: int
    transport: str | Connect
    timeout: float
    target: Callable[..., Any] | None
    arguments: tuple[Any, ...] = ()
    host: str = "127.0.0.1"
    namespace: str = ""
    module: str = ""
    name: str = ""
    source: str = field(default="", repr=False)
    is_recorded: bool = False


class Messages:
    """Plain data, one message after the other, over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._received = connection, bytearray()

    def send(self, message: Plain) -> None:
        """Send a message; waits until it is out."""
        data = pack(message)
        self._socket.sendall(len(data).to_bytes(8, "big") + data)

    def received(self) -> list[Plain]:
        """Read what is there; the messages that are whole now. Raises EOFError at the end."""
        part = self._socket.recv(1 << 20)
        if not part:
            raise EOFError
        self._received += part
        messages = []
        while len(self._received) >= 8:
            end = 8 + int.from_bytes(self._received[:8], "big")
            if len(self._received) < end:
                break
            messages.append(unpack(bytes(self._received[8:end])))
            del self._received[:end]
        return messages


def run_rank(job: Job, control: socket.socket, watch_file: int) -> None:
    """Be a rank from here on; the process ends in it."""
    status = 1
    try:
        _one_thread()
        if job.namespace:
            enter_namespace(job.namespace)
        watch = Watch(watch_file, job.rank, job.world_size)
        status = _run(job, Messages(control), control, watch)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)


def end_with(parent: int) -> None:
    """Have this process end when the one that started it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has ended before it could be said
            os._exit(1)
    else:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def enter_namespace(path: str) -> None:
    """Enter a network namespace; only what is opened afterwards is in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise CourseError(f"{path} cannot be entered: {os.strerror(ctypes.get_errno())}.")


def _run(job: Job, messages: Messages, control: socket.socket, watch: Watch) -> int:
    try:
        target = job.target or _found(job)
        transport = _open(job, _rendezvous(job.rank, messages, control, watch), watch)
        noted: contextlib.AbstractContextManager[dict[str, bool]] = (
            recording() if job.is_recorded else contextlib.nullcontext({})
        )
        with noted as called:
            value = target(transport, *job.arguments)
        transport.close()
        try:
            messages.send({"do": "result", "value": value, "called": [*called]})
        except PlainDataError as error:
            raise PlainDataError(f"Rank {job.rank} returned what cannot travel: {error}") from None
    except BaseException as error:
        passed_on = isinstance(error, TransportError)
        at_fault = error.rank if isinstance(error, TransportError) else job.rank
        if not passed_on:
            watch.failed(f"Rank {job.rank} failed: {type(error).__name__}: {error}", at_fault)
        elif watch.state(job.rank) != FAILED:
            watch.failed(str(error), at_fault)
        messages.send(
            {
                "do": "error",
                "kind": type(error).__name__,
                "message": _said(error),
                "at_fault": at_fault,
                "passed_on": passed_on,
            }
        )
        return 1
    return 0


def _open(job: Job, rendezvous: Callable[[str], list[str]], watch: Watch) -> Transport:
    if callable(job.transport):
        return job.transport(job, rendezvous, watch)
    if job.transport == "tcp":
        return TcpTransport(job.rank, job.world_size, rendezvous, job.timeout, watch, host=job.host)
    if job.transport == "gloo":
        return _over_gloo(job, rendezvous)
    return SharedMemoryTransport(job.rank, job.world_size, rendezvous, job.timeout, watch)


def _over_gloo(job: Job, rendezvous: Callable[[str], list[str]]) -> Transport:
    import torch.distributed as dist  # takes a second, so only where it is used

    from .torch_transport import TorchTransport

    limit = timedelta(seconds=job.timeout)
    if job.rank == 0:
        store = dist.TCPStore(job.host, 0, None, True, limit, wait_for_workers=False)
        rendezvous(f"{job.host} {store.port}")
    else:
        host, port = rendezvous("")[0].split()
        store = dist.TCPStore(host, int(port), None, False, limit)
    return TorchTransport.connect(store, job.rank, job.world_size, job.timeout)


def _found(job: Job) -> Callable[..., Any]:
    """The program by its name, in a process that was started afresh."""
    if job.module:
        thing: Any = importlib.import_module(job.module)
        for part in job.name.split("."):
            thing = getattr(thing, part)
        return thing
    namespace: dict[str, Any] = {"__name__": "aisys_program"}
    exec(compile(job.source, "<notebook>", "exec"), namespace)
    return namespace[job.name]


def _rendezvous(
    rank: int, messages: Messages, control: socket.socket, watch: Watch
) -> Callable[[str], list[str]]:
    """Tells a text to all ranks, through the launcher, and returns everybody's."""

    def meet(text: str) -> list[str]:
        messages.send({"do": "meet", "text": text})
        while True:
            if select.select([control], [], [], SLICE)[0]:
                for message in messages.received():
                    return message["texts"]
            trouble = watch.trouble()
            if trouble is not None:
                raise trouble

    return meet


def _said(error: BaseException) -> str:
    """An error with its traceback, from the program's first line on; a sentence of ours alone."""
    if isinstance(error, CourseError):
        return str(error)
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)  # after a fork, the threads of the parent are not here


def _end_with(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(0.25)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Begin in a fresh process: the arguments are two descriptors and the launcher's process."""
    control_file, watch_file, parent = map(int, sys.argv[1:])
    end_with(parent)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    control = socket.socket(fileno=control_file)
    size = int.from_bytes(control.recv(8, socket.MSG_WAITALL), "big")
    # From the process that started this one, which trusts itself; what ranks answer is plain data.
    job = pickle.loads(control.recv(size, socket.MSG_WAITALL))
    run_rank(job, control, watch_file)


if __name__ == "__main__":
    main()
