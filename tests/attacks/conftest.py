"""The arena, made once a run, with each way of isolation; looked at after every test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest

from autograder import sandbox
from autograder.fork_server import ForkServer
from autograder.isolation import Server, bwrap_refusal, server_for
from autograder.kernel import Session
from tests.attacks.arena import Arena

ORDINARY = 1234


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The arena without kernels; its paths are short, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="arena-"))
    folder.chmod(0o755)
    yield Arena(folder, tmp_path_factory.mktemp("keys"))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def started(place: Arena) -> Iterator[Callable[[str], Server]]:
    """Starts what kernels come from, once for each way: "sandbox", "rootless", or "bwrap"."""
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def start(how: str) -> Server:
            if how not in servers:
                servers[how] = stack.enter_context(_server(place, how))
            return servers[how]

        yield start


@contextmanager
def _server(place: Arena, how: str) -> Iterator[Server]:
    """What kernels come from; it is warmed up by an honest submission."""
    with ExitStack() as stack:
        with place.as_grader():
            kind = "sandbox" if how == "rootless" else how
            place.server = stack.enter_context(server_for(place.bench.spec.kit, kind))
            if isinstance(place.server, ForkServer):
                _start(place.server, how == "rootless" and os.getuid() == 0)
        # What this opens stays open: event loops, fonts, caches.
        place.grade(place.notebook())
        with Session(place.bench.started_by(place.server).spec):  # in this thread, as a retry
            pass
        yield place.server


def _start(server: ForkServer, as_other: bool) -> None:
    """Start a warm process, from root as an ordinary user's."""
    if not as_other:
        server.start()
        return
    popen = subprocess.Popen
    other = ["unshare", "--user", f"--map-user={ORDINARY}", f"--map-group={ORDINARY}"]
    with mock.patch.object(
        subprocess, "Popen", lambda words, **how: popen([*other, *words], **how)
    ):
        server.start()


def _in_arena(place: Arena, started: Callable[[str], Server], how: str) -> Iterator[Arena]:
    refused = bwrap_refusal() if how == "bwrap" else sandbox.refusal()
    if refused:
        pytest.skip(f"this host offers no {how}: {refused}")
    place.server = started(how)
    place.traces.remember()
    yield place
    assert place.traces.left() == []
    assert place.traces.lost() == []


@pytest.fixture
def arena(place: Arena, started: Callable[[str], Server]) -> Iterator[Arena]:
    """The arena; when the test is over, nothing of its gradings may be left."""
    yield from _in_arena(place, started, "sandbox")


@pytest.fixture(params=["rootless", "bwrap"])
def other_arena(
    place: Arena, started: Callable[[str], Server], request: pytest.FixtureRequest
) -> Iterator[Arena]:
    """The arena with a sandbox that is not root's, and with bwrap's."""
    yield from _in_arena(place, started, request.param)
