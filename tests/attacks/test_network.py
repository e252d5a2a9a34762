"""Attacks over the network: they want to take answers in, to carry secrets out, or to disturb."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.attacks.arena import Arena, code_of

pytestmark = pytest.mark.slow


def connect(ports, paths):
    """Talk to somebody on this host by every family of sockets."""
    import os
    import socket

    reached = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for port in ports:
                with socket.socket(family, kind) as probe:
                    try:
                        probe.connect((host, port))
                        probe.sendall(b"out")
                        if kind == socket.SOCK_DGRAM:
                            probe.settimeout(0.2)
                            probe.recv(1)
                        reached.append((host, port))
                    except OSError:
                        continue
    for path in paths:
        for name in (path, f"/proc/1/root{path}"):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(name)
                    reached.append(os.fsencode(name))
                except OSError:
                    continue
    return reached


def leave_the_host(addresses):
    """Talk to the world outside, by name and by address."""
    import socket

    got = []
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout=0.5).close()
            got.append(host)
        except OSError:
            continue
    for host, _ in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.sendto(b"out", (host, 53))
                got.append(f"udp {host}")
            except OSError:
                continue
    with open("/proc/net/dev") as file:
        return got, [line.split(":")[0].strip() for line in file if ":" in line]


def open_odd_sockets():
    """Open sockets that reach beyond a network namespace, or that forge packets."""
    import socket

    opened = []
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    for family in range(3, 46):
        for kind in kinds:
            try:
                socket.socket(family, kind).close()
                opened.append(family)
            except OSError:
                continue
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
            opened.append("raw")
        except OSError:
            continue
    return sorted(set(opened), key=str)


def serve_yourself(port):
    """Be a server and a client, as the labs are, on a port that everybody uses."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", port)) as server:

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"hello")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.create_connection(("127.0.0.1", port)) as client:
            said = client.recv(10)
        thread.join()
        return said


class Listeners:
    """Sockets on this host that nobody from inside may reach."""

    def __init__(self, stack: ExitStack, path: Path, marker: str) -> None:
        kinds = [
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(path)),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0listener-{marker[-8:]}"),
        ]
        self.sockets = [stack.enter_context(socket.socket(*kind[:2])) for kind in kinds]
        for made, (_, kind, address) in zip(self.sockets, kinds, strict=True):
            made.bind(address)
            made.setblocking(False)
            if kind == socket.SOCK_STREAM:
                made.listen()
        self.ports = [made.getsockname()[1] for made in self.sockets[:2]]
        self.paths = [str(path), f"\0listener-{marker[-8:]}"]

    def heard(self) -> list[object]:
        """Whatever has come in."""
        heard: list[object] = []
        for made in self.sockets:
            try:
                heard.append(made.recv(10) if made.type == socket.SOCK_DGRAM else made.accept())
            except BlockingIOError:
                continue
        return heard


@pytest.fixture
def listeners(arena: Arena, tmp_path: Path) -> Iterator[Listeners]:
    """They listen before anything is graded, and after."""
    with ExitStack() as stack:
        yield Listeners(stack, arena.folder / "listener", arena.marker)
    (arena.folder / "listener").unlink()


def test_no_service_of_the_host_can_be_reached(arena: Arena, listeners: Listeners) -> None:
    """It wants to hand a secret to a helper on this host, or to take answers from one."""
    attack = code_of(connect, listeners.ports, listeners.paths)
    after = arena.grade(arena.notebook(own=attack))
    assert after.returned == []
    assert listeners.heard() == []


def test_the_listeners_would_have_heard(arena: Arena, listeners: Listeners) -> None:
    """The test above could not fail if the same code reached nobody from outside either."""
    assert len(connect(listeners.ports, listeners.paths[:1] + listeners.paths[1:])) >= 3
    assert len(listeners.heard()) >= 3


def test_the_world_outside_cannot_be_reached(arena: Arena) -> None:
    """It wants a model, a search engine, or the cloud's own service with its credentials."""
    addresses = [("169.254.169.254", 80), ("1.1.1.1", 53), ("example.org", 80), ("10.0.0.1", 22)]
    after = arena.grade(arena.notebook(own=code_of(leave_the_host, addresses)))
    assert after.returned == ([], ["lo"])


def test_odd_sockets_are_refused(arena: Arena) -> None:
    """It wants families that know no namespaces, or raw packets."""
    own = [socket.AF_INET6, socket.AF_NETLINK]  # of the sandbox's own network
    assert arena.grade(arena.notebook(own=code_of(open_odd_sockets))).returned == own


def test_everybody_has_a_loopback_of_their_own(arena: Arena) -> None:
    """It wants the port that its neighbour's ranks meet on."""
    made = {name: arena.notebook(own=code_of(serve_yourself, 29500)) for name in "abc"}
    assert {after.returned for after in arena.grade_all(made).values()} == {b"hello"}


def test_the_other_sandboxes_reach_nobody_either(other_arena: Arena) -> None:
    """It wants the same where the sandbox is an ordinary user's, or bwrap's."""
    with ExitStack() as stack:
        path = other_arena.folder / "listener"
        stack.callback(path.unlink)
        listeners = Listeners(stack, path, other_arena.marker)
        made = {
            "host": other_arena.notebook(own=code_of(connect, listeners.ports, listeners.paths)),
            "world": other_arena.notebook(own=code_of(leave_the_host, [("169.254.169.254", 80)])),
        }
        after = other_arena.grade_all(made)
        assert after["host"].returned == [] and listeners.heard() == []
        assert after["world"].returned == ([], ["lo"])
