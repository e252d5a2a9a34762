"""A connection between each pair of ranks: how they find each other, and who may join.

Every rank listens, tells its address to all, connects to the ranks below it and accepts those
above.
"""

import os
import secrets
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .transport import TransportError
from .watch import SLICE, Watch

Rendezvous = Callable[[str], list[str]]
"""Tells one rank's text to all and returns everybody's in the order of the ranks."""

_HELLO = struct.Struct("<16sI")


def connect_all(
    rank: int, world_size: int, rendezvous: Rendezvous, watch: Watch, timeout: float, host: str = ""
) -> dict[int, socket.socket]:
    """Connect one rank to every other one; all ranks call it at the same time.

    Args:
        rank: This rank.
        world_size: How many ranks there are.
        rendezvous: How they learn each other's addresses.
        watch: Tells of ranks that died before they came.
        timeout: How long to wait for the others, in seconds.
        host: This rank's address for TCP; `""` for a Unix socket, between processes of one machine.

    Returns:
        Non-blocking sockets by rank.

    Raises:
        TransportError: A rank did not come in time; the error names it.
    """
    secret = secrets.token_bytes(16)  # keeps other users' processes out
    connected: dict[int, socket.socket] = {}
    listener, name = _listen(host, world_size)
    try:
        addresses = rendezvous(f"{name} {secret.hex()}")
        for other in range(rank):
            connected[other] = _connect(rank, other, addresses[other], timeout)
        end = time.monotonic() + timeout
        while len(connected) < world_size - 1:
            missing = next(r for r in range(rank + 1, world_size) if r not in connected)
            came = _accept(listener, secret, watch, missing)
            if came is not None and rank < came[0] < world_size and came[0] not in connected:
                connected[came[0]] = came[1]
            elif came is not None:
                came[1].close()
            elif time.monotonic() > end:
                raise TransportError(
                    f"Rank {missing} did not connect to rank {rank} within {timeout:g} s.", missing
                )
    except BaseException:
        for connection in connected.values():
            connection.close()
        raise
    finally:
        listener.close()
        if name.startswith(os.sep):
            Path(name).unlink(missing_ok=True)
            Path(name).parent.rmdir()
    for connection in connected.values():
        connection.setblocking(False)
    return connected


def _listen(host: str, world_size: int) -> tuple[socket.socket, str]:
    """A listening socket and its address as a text without spaces."""
    if host:
        listener = socket.create_server((host, 0), backlog=world_size)
        listener.settimeout(SLICE)
        return listener, f"{host}:{listener.getsockname()[1]}"
    listener = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":
        # No file, so that none is left behind.
        name = f"@aisys-{os.getpid()}-{secrets.token_hex(8)}"
        listener.bind("\0" + name[1:])
    else:
        name = str(Path(tempfile.mkdtemp(prefix="aisys-"), "s"))
        listener.bind(name)
    listener.listen(world_size)
    listener.settimeout(SLICE)
    return listener, name


def _connect(rank: int, other: int, address: str, timeout: float) -> socket.socket:
    name, secret = address.split()
    try:
        if name[0] in "@/":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(timeout)
            connection.connect(name.replace("@", "\0", 1))
        else:
            host, _, port = name.rpartition(":")
            connection = socket.create_connection((host, int(port)), timeout)
        connection.sendall(_HELLO.pack(bytes.fromhex(secret), rank))
    except OSError as error:
        raise TransportError(
            f"Rank {rank} could not connect to rank {other}: {error}.", other
        ) from None
    return connection


def _accept(
    listener: socket.socket, secret: bytes, watch: Watch, missing: int
) -> tuple[int, socket.socket] | None:
    """The next rank that comes, or None where none came in a slice of time."""
    watch.waiting(missing)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        trouble = watch.trouble()
        if trouble is not None:
            raise trouble from None
        return None
    connection.settimeout(1.0)
    try:
        said, rank = _HELLO.unpack(connection.recv(_HELLO.size, socket.MSG_WAITALL))
    except (OSError, struct.error):
        connection.close()
        return None
    if not secrets.compare_digest(said, secret):
        connection.close()
        return None
    return rank, connection
