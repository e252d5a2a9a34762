"""The transport over torch.distributed: point-to-point messages of a process group, such as Gloo's.

A message is two of the group's: a head of 16 bytes that says dtype and size, then the data. Only
then is the data asked for, because Gloo ends the whole process when more comes than fits; so an
`irecv` needs a thread that goes on with it. Gloo breaks connections when a wait is too long, so
ranks tell each other about faults through the group's store.
"""

import contextlib
import json
import queue
import threading
import time
from datetime import timedelta
from typing import Any, NoReturn, cast

import numpy as np
import torch
import torch.distributed as dist

from aisys.allreduce.transport import (
    DTYPES,
    Request,
    Transport,
    TransportError,
    dtype_code,
    gone,
    late,
    mismatch,
)

PREFIX = "aisys.allreduce"

WORD_SECONDS = 0.5
"""How long a rank whose connection broke may take to say why; one that died says nothing."""

LONG = 86_400.0
"""How long a thread goes on with an `irecv` that nobody waits for yet, in seconds."""


class TorchTransport(Transport):
    """The transport of one rank of a process group; to be used by one thread at a time.

    Gloo passes a message on once its receiver asks for it,
    so that `send` waits for the receiver, of empty messages too.

    Args:
        group: The group; by default the one that `init_process_group` made. Others use it too at
            their own risk: the tags are the same.
        store: The store that its ranks share; by default that of `init_process_group`.
        timeout: How long one wait may last, in seconds.
        owns_group: End the group with this transport, so that who waits for this rank is told when
            it leaves; otherwise they are told after their time-out.
    """

    def __init__(
        self,
        group: Any = None,
        store: dist.Store | None = None,
        timeout: float = 30.0,
        *,
        owns_group: bool = False,
    ) -> None:
        if (group is None or store is None) and not dist.is_initialized():
            raise TransportError("There is no process group: call init_process_group first.")
        self._group = cast(Any, dist.group.WORLD if group is None else group)
        super().__init__(self._group.rank(), self._group.size(), timeout)
        shared = dist.distributed_c10d._get_default_store() if store is None else store
        self._store = dist.PrefixStore(PREFIX, shared)
        self._owns_group = owns_group
        self._receivers: dict[tuple[int, int], _Receiver] = {}
        self._error: TransportError | None = None
        self._failing = threading.Lock()

    @classmethod
    def connect(
        cls, store: dist.Store, rank: int, world_size: int, timeout: float = 30.0
    ) -> "TorchTransport":
        """Make a Gloo group of its own through a store, and a transport that ends with it.

        Raises:
            TransportError: A rank did not come within the time-out; it is named.
        """
        here = dist.PrefixStore(PREFIX, store)
        here.set(f"here/{rank}", "")
        try:
            group = dist.ProcessGroupGloo(store, rank, world_size, timedelta(seconds=timeout))
        except RuntimeError:
            absent = [r for r in range(world_size) if not here.check([f"here/{r}"])]
            if not absent:
                raise
            raise TransportError(
                f"Rank {absent[0]} did not come within {timeout:g} s; rank {rank} waited for it.",
                absent[0],
            ) from None
        return cls(group, store, timeout, owns_group=True)

    def close(self) -> None:
        """Leave; a second call does nothing."""
        group = self._group
        if self._owns_group and group is not None:
            self._group = None
            with contextlib.suppress(RuntimeError):
                self._store.set(f"left/{self.rank}", "")
            group.abort()
        for receiver in self._receivers.values():
            receiver.asked.put(None)

    def recv(self, out: np.ndarray, source: int, tag: int = 0) -> None:
        """Wait for the next array from a rank and put it into `out`, as described above."""
        self._incoming(out, source, tag)
        self._receive_now(out, source, tag)

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        group = self._open_group()
        head = torch.tensor([dtype_code(data.dtype), data.nbytes])
        parts = [head] if data.nbytes == 0 else [head, _tensor(data)]
        return _Send(self, to, parts, [group.send([part], to, tag) for part in parts])

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> "_Receive":
        self._open_group()
        if (source, tag) not in self._receivers:
            self._receivers[source, tag] = _Receiver(self, source, tag)
        receive = _Receive(self, out, source)
        self._receivers[source, tag].asked.put(receive)
        self._receivers[source, tag].last = receive
        return receive

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        outgoing = self._isend(data, to, tag)
        self._receive_now(out, source, tag)
        outgoing.wait()

    def _receive_now(self, out: np.ndarray, source: int, tag: int) -> None:
        """Receive without a thread, unless one still has to receive what was asked for before."""
        receiver = self._receivers.get((source, tag))
        if receiver is not None and not receiver.last.done.is_set():
            self._irecv(out, source, tag).wait()
        else:
            self.fill(out, source, tag, self.timeout)

    def fill(self, out: np.ndarray, source: int, tag: int, timeout: float) -> None:
        """Receive into an array."""
        head = torch.zeros(2, dtype=torch.int64)
        self.finish([self._open_group().recv([head], source, tag)], source, timeout)
        code, nbytes = head.tolist()
        if not 0 <= code < len(DTYPES):
            self.fail(TransportError(f"Rank {source} sent what is no message.", source))
        if DTYPES[code] != out.dtype or nbytes != out.nbytes:
            self.fail(mismatch(self.rank, source, out, DTYPES[code], nbytes))
        if nbytes:
            data = _tensor(out)
            self.finish([self._open_group().recv([data], source, tag)], source, timeout)

    def finish(self, works: list[Any], peer: int, timeout: float) -> None:
        """Wait for what the group has under way with a rank; takes the works off the list."""
        begun, failed = time.monotonic(), False
        while works and not failed:
            try:
                works.pop(0).wait(timedelta(seconds=timeout))
            except RuntimeError:
                failed = True
        works.clear()  # a group ends its connections only when nothing is under way
        if failed and time.monotonic() - begun >= timeout:
            self.fail_late(peer)
        elif failed:
            if self._timed_out(peer):
                self.fail_late(peer)
            self.fail(gone(self.rank, peer, "died or has left"))

    def fail_late(self, peer: int) -> NoReturn:
        """End with the error of a wait that was too long."""
        self.fail(late(self.rank, self._who_waits(peer), self.timeout))

    def _timed_out(self, peer: int) -> bool:
        """Whether a rank's connections broke because it waited too long; it will say so soon."""
        end = time.monotonic() + WORD_SECONDS
        try:
            while time.monotonic() < end and self._error is None:
                if self._store.check([f"waits/{peer}"]):
                    return True
                if self._store.check([f"left/{peer}"]) or self._store.check(["fault"]):
                    return False
                time.sleep(WORD_SECONDS / 50)
        except RuntimeError:
            pass
        return False

    def _who_waits(self, peer: int) -> dict[int, int]:
        """Say for whom this rank waits, and hear for whom the others do."""
        waiting = {self.rank: peer}
        try:
            self._store.set(f"waits/{self.rank}", str(peer))
            time.sleep(min(5.0, max(0.5, self.timeout / 4)))  # the others' time is nearly up too
            for rank in range(self.world_size):
                if rank != self.rank and self._store.check([f"waits/{rank}"]):
                    waiting[rank] = int(self._store.get(f"waits/{rank}"))
        except RuntimeError:
            pass  # the store has ended: what this rank knows must do
        return waiting

    def fail(self, error: TransportError) -> NoReturn:
        """Let this be the fault of all, or learn of one that was there before; raises it."""
        with self._failing:
            if self._error is None:
                self._error = self._agreed(error)
                self.close()
        raise self._error

    def _agreed(self, error: TransportError) -> TransportError:
        """The fault that was the first to be written into the store."""
        try:
            if self._store.add("faults", 1) == 1:
                self._store.set("fault", json.dumps([str(error), error.rank]))
                return error
            self._store.wait(["fault"], timedelta(seconds=5))
            return TransportError(*json.loads(self._store.get("fault")))
        except RuntimeError:
            return error  # the store has ended

    def _open_group(self) -> Any:
        if self._error is not None:
            raise self._error
        if self._group is None:
            raise TransportError(f"Rank {self.rank} has left.", self.rank)
        return self._group


class _Send(Request):
    """A message that is being sent; it keeps the memory that it is sent from."""

    def __init__(
        self, transport: TorchTransport, to: int, parts: list[torch.Tensor], works: list[Any]
    ) -> None:
        self._transport, self._to, self._parts, self._works = transport, to, parts, works

    def wait(self) -> None:
        if self._works:
            self._transport.finish(self._works, self._to, self._transport.timeout)


class _Receive(Request):
    """A message that was asked for and that a `_Receiver` receives."""

    def __init__(self, transport: TorchTransport, out: np.ndarray, source: int) -> None:
        self._transport, self.out, self._source = transport, out, source
        self.done = threading.Event()
        self.error: TransportError | None = None

    def wait(self) -> None:
        if not self.done.wait(self._transport.timeout):
            self._transport.fail_late(self._source)
        if self.error is not None:
            raise self.error


class _Receiver:
    """A thread that receives what was asked for from one rank with one tag, in order."""

    last: _Receive

    def __init__(self, transport: TorchTransport, source: int, tag: int) -> None:
        self.asked: queue.SimpleQueue[_Receive | None] = queue.SimpleQueue()
        arguments = transport, source, tag
        threading.Thread(target=self._receive, args=arguments, daemon=True).start()

    def _receive(self, transport: TorchTransport, source: int, tag: int) -> None:
        while (receive := self.asked.get()) is not None:
            try:
                transport.fill(receive.out, source, tag, LONG)
            except TransportError as error:
                receive.error = error
            receive.done.set()


def _tensor(array: np.ndarray) -> torch.Tensor:
    """The bytes of a C-contiguous array as a tensor in the same memory."""
    flat = array.reshape(-1).view(np.uint8)
    if not flat.flags.writeable:
        flat = flat.copy()  # torch knows no memory that must not be written
    return torch.from_numpy(flat)
