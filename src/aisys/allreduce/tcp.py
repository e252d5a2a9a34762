"""TCP between ranks: one connection for each pair, both directions at once, no copy in between."""

import contextlib
import socket

from .mesh import Rendezvous, connect_all
from .messages import Stream
from .streams import StreamTransport
from .watch import Watch, watch_file

BUFFER_BYTES = 1 << 20
"""The size asked for of the buffers of a socket that is not TCP's."""

AT_ONCE = 1 << 20
"""What one system call moves at most, so that both directions and all peers get their turn."""


class TcpTransport(StreamTransport):
    """A rank that is connected to every other one by TCP.

    Args:
        rank: This rank.
        world_size: How many ranks there are.
        rendezvous: Tells this rank's address to all and returns everybody's.
        timeout: How long a wait may last in which nothing moves, in seconds.
        watch: What the launcher's ranks know of each other; without it an error names the rank that
            was waited for, not the one that that one waits for.
        host: The address on which this rank is reached.

    Raises:
        TransportError: A rank did not come in time.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        rendezvous: Rendezvous,
        timeout: float = 30.0,
        watch: Watch | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        watch = watch or alone(rank, world_size)
        connections = connect_all(rank, world_size, rendezvous, watch, timeout, host)
        streams = {other: SocketStream(made) for other, made in connections.items()}
        super().__init__(rank, streams, watch, timeout, spins=0)


class SocketStream(Stream):
    """The bytes of a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self.file = connection, connection.fileno()
        if connection.family != socket.AF_UNIX:
            # A message's last, short packet must not wait for the one before to be acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The system lets TCP's buffers grow to megabytes, but only if none is asked for. Then
            # 64 MB both ways cost the processor 22 ms, and 25 ms with buffers of 1 MB.
            return
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, BUFFER_BYTES)

    def write(self, parts: list[memoryview]) -> int:
        """See `Stream`."""
        try:
            return self._socket.sendmsg([part[:AT_ONCE] for part in parts])
        except BlockingIOError:
            return 0

    def read_into(self, view: memoryview) -> int:
        """See `Stream`."""
        try:
            count = self._socket.recv_into(view[:AT_ONCE])
        except BlockingIOError:
            return 0
        if count == 0:
            raise EOFError
        return count

    def close(self) -> None:
        """See `Stream`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()


def alone(rank: int, world_size: int) -> Watch:
    """A watch for a rank that nobody watches: it sees no other rank's state."""
    with watch_file(world_size) as file:
        return Watch(file.fileno(), rank, world_size)
