"""A transport for probes that refuses what works only where messages are copied at once."""

import numpy as np

from aisys.allreduce.transport import Request, Transport, TransportError


class CarefulTransport(Transport):
    """A transport on another one that refuses what works only where messages are copied at once.

    While an `isend` is under way, its array must neither be changed nor be received into.
    """

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner.rank, inner.world_size, inner.timeout)
        self._inner = inner
        self.sending: list[_Sending] = []

    def close(self) -> None:
        """Look once more at what was sent and never waited for."""
        for message in self.sending:
            message.look()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        message = _Sending(self, self._inner._isend(data, to, tag), data)
        self.sending.append(message)
        return message

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        self._refuse_what_is_sent(out)
        return self._inner._irecv(out, source, tag)

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        self._refuse_what_is_sent(out)
        self._inner._sendrecv(data, to, out, source, tag)

    def _refuse_what_is_sent(self, out: np.ndarray) -> None:
        if any(np.may_share_memory(out, message.data) for message in self.sending):
            raise TransportError(
                f"Rank {self.rank} receives into memory that it is still sending.", self.rank
            )


class _Sending(Request):
    """An `isend` under way."""

    def __init__(self, transport: CarefulTransport, inner: Request, data: np.ndarray) -> None:
        self.data, self._before = data, data.tobytes()
        self._transport, self._inner = transport, inner

    def wait(self) -> None:
        self.look()
        self._inner.wait()
        if self in self._transport.sending:
            self._transport.sending.remove(self)

    def look(self) -> None:
        """Raise TransportError where the array has been changed meanwhile."""
        if self.data.tobytes() != self._before:
            rank = self._transport.rank
            raise TransportError(f"Rank {rank} changed an array while it was being sent.", rank)
