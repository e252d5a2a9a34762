"""A transport on a byte stream to each of the other ranks.

No thread runs in the background: whoever waits moves whatever can be moved, in both directions and
for all peers, so that ranks that send to each other do not stand in each other's way.
"""

import select
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType

import numpy as np

from .messages import Message, Peer, Stream, bytes_of, header
from .transport import Request, Transport, TransportError
from .watch import SLICE, Watch


class StreamTransport(Transport):
    """A transport over one stream to each of the other ranks.

    Args:
        rank: This rank.
        streams: The streams, by rank.
        watch: What the ranks know of each other.
        timeout: How long a wait may last in which nothing moves, in seconds.
        spins: How often to look again before one sleeps.
    """

    def __init__(
        self, rank: int, streams: Mapping[int, Stream], watch: Watch, timeout: float, spins: int
    ) -> None:
        super().__init__(rank, len(streams) + 1, timeout)
        self._peers = {other: Peer(rank, other, stream) for other, stream in streams.items()}
        self._active: dict[int, Peer] = {}
        self._watch, self._spins = watch, spins
        self._error: TransportError | None = None
        self._closed = False

    def close(self) -> None:
        """Leave, after what `isend` was given has gone out; a second call does nothing."""
        if self._closed:
            return
        try:
            if self._error is None:
                for request in [r for peer in self._peers.values() for r in peer.outgoing]:
                    request.wait()
        finally:
            self._closed = True
            if self._error is None:
                self._watch.finished()
                self._error = TransportError(f"Rank {self.rank} has closed its transport.")
            for peer in self._peers.values():
                peer.stream.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._error is None:
            self._error = TransportError(f"Rank {self.rank} failed: {error}", self.rank)
            self._watch.failed(str(self._error), self.rank)
        self.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        self._refuse_after_error()
        peer = self._peers[to]
        request = Message(self._finish, to, tag, data, [header(tag, data), bytes_of(data)])
        peer.outgoing.append(request)
        self._active[to] = peer
        if len(peer.outgoing) == 1:
            self._advance_one(peer, pull=False)
        return request

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        self._refuse_after_error()
        peer = self._peers[source]
        request = Message(self._finish, source, tag, out, [bytes_of(out)])
        try:
            if not peer.take_unexpected(request):
                peer.posted.setdefault(tag, deque()).append(request)
                peer.wanted += 1
                self._active[source] = peer
        except TransportError as error:
            self._fail(error)
        return request

    def _finish(self, request: "Message") -> None:
        """Move messages until this one is done."""
        end = time.monotonic() + self.timeout
        while not request.done:
            self._refuse_after_error()
            if self._advance():
                end = time.monotonic() + self.timeout
            elif not request.done and not self._spin():
                self._sleep(request.peer, end)
        self._watch.busy()

    def _refuse_after_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _advance_one(self, peer: "Peer", pull: bool = True) -> bool:
        """Move what can be moved to and from a peer; whether anything was."""
        try:
            moved = peer.push() if peer.outgoing else False
            if pull and peer.wanted:
                moved = peer.pull() or moved
        except (OSError, EOFError):
            self._fail(self._watch.lost(peer.rank))
        except TransportError as error:
            self._fail(error)
        if not peer.outgoing and not peer.wanted:
            self._active.pop(peer.rank, None)
        return moved

    def _advance(self) -> bool:
        moved = False
        for peer in [*self._active.values()]:
            moved = self._advance_one(peer) or moved
        return moved

    def _spin(self) -> bool:
        return any(self._advance() for _ in range(self._spins))

    def _sleep(self, awaited: int, end: float) -> None:
        """Wait a slice of time for a change; after it, see whether there is any hope."""
        peers = [(peer, peer.wanted > 0, bool(peer.outgoing)) for peer in self._active.values()]
        self._watch.waiting(awaited)
        poll = select.poll()
        for peer, *wants in peers:
            poll.register(peer.stream.file, peer.stream.events(*wants))
        nothing_new = True
        for peer, *wants in peers:
            nothing_new = peer.stream.before_sleep(*wants) and nothing_new
        changed = not nothing_new or poll.poll(1000 * min(SLICE, self.timeout / 8))
        for peer, *_ in peers:
            peer.stream.after_sleep()
        if not changed:
            trouble = self._watch.trouble()
            if trouble is not None:
                self._fail(trouble)
        if time.monotonic() > end:
            self._fail(self._watch.late(awaited, self.timeout))

    def _fail(self, error: TransportError) -> None:
        """Raise an error, and let the other ranks know of it."""
        self._error = error
        self._watch.failed(str(error), error.rank)
        self.close()
        raise error
