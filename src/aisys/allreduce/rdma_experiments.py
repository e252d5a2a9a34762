"""What the experiments on RDMA need: the parts of a message, each measured by itself.

They are measured in processor time, which other programs on the machine change little. The part of
a registration is taken by `mlock`: it pins pages, as a registration does (Frey and Alonso,
"Minimizing the hidden cost of RDMA", ICDCS 2009).
"""

import ctypes
import mmap
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import fit_alpha_beta, ping_pong
from aisys.allreduce.launcher import launch
from aisys.allreduce.mesh import Rendezvous, connect_all
from aisys.allreduce.messages import Stream
from aisys.allreduce.rank_process import Connect, Job
from aisys.allreduce.rdma_model import Observed, Parts
from aisys.allreduce.shared_memory import SharedMemoryTransport
from aisys.allreduce.streams import StreamTransport
from aisys.allreduce.tcp import SocketStream, alone
from aisys.allreduce.transport import Transport
from aisys.allreduce.watch import Watch

PIECE = 1 << 20
"""What the TCP transport gives to the kernel at a time, in bytes."""

FAR = 64 << 20
"""A stretch of memory that no cache holds, in bytes."""


def measure_parts() -> Parts:
    """Measure all parts; takes a second or two."""
    registration, how = measure_registration()
    program, call, copy = program_seconds(), system_call_seconds(), copy_seconds()
    return Parts(program, call, copy, measure_kernel(), registration, how)


def observe_tcp(sizes: Sequence[int], seconds: float = 0.1, rounds: int = 3) -> list[Observed]:
    """Run `ping_pong` over TCP between two processes and count, for each size.

    Args:
        sizes: Bytes of a message.
        seconds: About how long each round of each size may take.
        rounds: Of these the one with the least processor time is kept: others were disturbed.
    """
    seen = []
    for nbytes in sizes:
        repeats = int(np.clip(seconds / (1e-4 + nbytes * 1e-9), 3, 2000))
        some = [_observe(nbytes, repeats) for _ in range(rounds)]
        seen.append(min(some, key=lambda one: one.cpu_seconds))
    return seen


class CountedStream(Stream):
    """A socket's bytes; every call on it is a system call and is counted."""

    def __init__(self, inner: Stream, calls: Counter[str]) -> None:
        self._inner, self._calls, self.file = inner, calls, inner.file

    def write(self, parts: list[memoryview]) -> int:
        """See `Stream`."""
        self._calls["send"] += 1
        return self._inner.write(parts)

    def read_into(self, view: memoryview) -> int:
        """See `Stream`."""
        self._calls["receive"] += 1
        return self._inner.read_into(view)

    def before_sleep(self, reading: bool, writing: bool) -> bool:
        """See `Stream`."""
        self._calls["wait"] += 1
        return self._inner.before_sleep(reading, writing)

    def close(self) -> None:
        """See `Stream`."""
        self._inner.close()


class CountedTcp(StreamTransport):
    """TCP as in `tcp`, with its system calls counted in `calls`."""

    def __init__(self, job: Job, rendezvous: Rendezvous, watch: Watch) -> None:
        self.calls: Counter[str] = Counter()
        made = connect_all(job.rank, job.world_size, rendezvous, watch, job.timeout, job.host)
        streams = {
            other: CountedStream(SocketStream(one), self.calls) for other, one in made.items()
        }
        super().__init__(job.rank, streams, watch, job.timeout, spins=0)


def connect_counted(job: Job, rendezvous: Rendezvous, watch: Watch) -> Transport:
    """A `CountedTcp`, for `launch`."""
    return CountedTcp(job, rendezvous, watch)


class PatientSharedMemory(SharedMemoryTransport):
    """Shared memory in which a rank that waits looks so many times again before it sleeps."""

    def __init__(self, job: Job, rendezvous: Rendezvous, watch: Watch, looks: int) -> None:
        super().__init__(job.rank, job.world_size, rendezvous, job.timeout, watch)
        self._spins = looks


def patient(looks: int) -> Connect:
    """A `PatientSharedMemory`, for `launch`: 0 looks sleep at once, thousands hardly ever."""
    return partial(_connect_patient, looks)


def program_seconds(messages: int = 500) -> float:
    """The transport's own code for one message: the same transport on a piece of memory."""
    pipe: list[bytes] = []
    sender, receiver = (
        StreamTransport(rank, {1 - rank: _Memory(pipe)}, alone(rank, 2), 10.0, spins=0)
        for rank in (0, 1)
    )
    message = np.zeros(8, np.uint8)

    def pass_all() -> None:
        for _ in range(messages):
            sender.send(message, 1)
            receiver.recv(message, 0)

    taken = _cpu_seconds(pass_all) / messages
    for transport in (sender, receiver):
        transport.close()
    return taken


def system_call_seconds(calls: int = 20_000) -> float:
    """A system call that does nothing, without what it costs to call a function of Python."""

    def with_call() -> None:
        for _ in range(calls):
            os.getppid()

    def without() -> None:
        for _ in range(calls):
            int()  # noqa: UP018 – a call, too

    return max(1e-9, _cpu_seconds(with_call) - _cpu_seconds(without)) / calls


def copy_seconds(nbytes: int = FAR) -> float:
    """A copied byte: between memory and a buffer in the cache, as the kernel's copies are."""
    memory, buffer = np.ones(nbytes, np.uint8), np.ones(PIECE, np.uint8)

    def there_and_back() -> None:
        for start in range(0, nbytes, PIECE):
            np.copyto(buffer, memory[start : start + PIECE])
            np.copyto(memory[start : start + PIECE], buffer)

    return _cpu_seconds(there_and_back) / (2 * nbytes)


def measure_kernel(sizes: Sequence[int] = (64, 512, 4096, 32768, 131072)) -> CostModel:
    """A send and a receive over TCP within one process, where nobody sleeps.

    The messages come from all over a stretch of memory larger than a cache, and go to another one.
    """
    source, place = (np.ones(FAR, np.uint8).data for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as server:
        out = socket.create_connection(server.getsockname())
        into = server.accept()[0]
    taken = []
    with out, into:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end, buffer in ((out, socket.SO_SNDBUF), (into, socket.SO_RCVBUF)):
            end.setsockopt(socket.SOL_SOCKET, buffer, PIECE)
        for nbytes in sizes:
            starts = range(0, FAR, max(nbytes, FAR // 256))

            def pass_some(nbytes: int = nbytes, starts: range = starts) -> None:
                for start in starts:
                    out.sendall(source[start : start + nbytes])
                    into.recv_into(place[start : start + nbytes], nbytes, socket.MSG_WAITALL)

            taken.append(_cpu_seconds(pass_some) / len(starts))
    return fit_alpha_beta(np.array(sizes), np.array(taken))


def measure_registration(
    sizes: Sequence[int] = (1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22),
) -> tuple[CostModel, str]:
    """What it costs to pin memory that is in use, and how that was measured.

    Where pinning is refused, touching fresh pages takes its place.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    pinned, touched = [], []
    for nbytes in sizes:
        pin, touch = [], []
        for _ in range(7):
            memory = np.frombuffer(mmap.mmap(-1, nbytes), np.uint8)
            before = time.process_time()
            memory[:: mmap.PAGESIZE] = 1
            middle = time.process_time()
            place = ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(nbytes)
            is_pinned = libc.mlock(*place) == 0
            pin.append(time.process_time() - middle if is_pinned else np.nan)
            touch.append(middle - before)
            if is_pinned:
                libc.munlock(*place)
        pinned.append(np.median(pin))
        touched.append(np.median(touch))
    if np.isfinite(pinned).all():
        return fit_alpha_beta(np.array(sizes), np.array(pinned)), "mlock of memory in use"
    return fit_alpha_beta(np.array(sizes), np.array(touched)), "touching fresh pages"


class _Memory(Stream):
    """A stream through a list, both ends in one process."""

    file = -1

    def __init__(self, pipe: list[bytes]) -> None:
        self._pipe = pipe

    def write(self, parts: list[memoryview]) -> int:
        """See `Stream`."""
        data = b"".join(parts)
        self._pipe.append(data)
        return len(data)

    def read_into(self, view: memoryview) -> int:
        """See `Stream`."""
        if not self._pipe:
            return 0
        data = self._pipe.pop(0)
        count = min(len(data), len(view))
        view[:count] = data[:count]
        if count < len(data):
            self._pipe.insert(0, data[count:])
        return count

    def close(self) -> None:
        """See `Stream`."""


def _connect_patient(looks: int, job: Job, rendezvous: Any, watch: Watch) -> Transport:
    return PatientSharedMemory(job, rendezvous, watch, looks)


def _observe(nbytes: int, repeats: int) -> Observed:
    """One run of two ranks, in figures of one message."""
    ranks = launch(2, _observed, nbytes, repeats, transport=connect_counted, timeout=60.0)
    messages = 2 * repeats  # there and back
    calls = {
        name: sum(rank["calls"].get(name, 0) for rank in ranks) / messages
        for name in ("send", "receive", "wait")
    }
    cpu = sum(rank["cpu"] for rank in ranks) / messages
    return Observed(nbytes, float(np.median(ranks[0]["trips"])) / 2, cpu, calls)


def _observed(transport: CountedTcp, nbytes: int, repeats: int) -> dict[str, Any]:
    """What both ranks see of a ping-pong, without its first round trip."""
    ping_pong(transport, nbytes, 1)
    calls, cpu = Counter(transport.calls), time.process_time()
    trips = ping_pong(transport, nbytes, repeats)
    share = repeats / (1 + repeats)  # of those that count among all
    counts = {name: share * count for name, count in (transport.calls - calls).items()}
    return {"trips": trips, "calls": counts, "cpu": share * (time.process_time() - cpu)}


def _cpu_seconds(work: Callable[[], None], rounds: int = 7) -> float:
    """Processor time of some work: the median of several rounds after one that does not count."""
    taken = []
    for _ in range(1 + rounds):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return float(np.median(taken[1:]))
