"""The broker: what it counts, whom it believes, and what a hostile rank costs."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import aisys
from aisys.allreduce import broker_transport, in_process
from aisys.allreduce.broker import Broker
from aisys.allreduce.broker_server import STRANGER_SECONDS
from aisys.allreduce.broker_transport import BrokerTransport, open_run
from aisys.allreduce.counting import MOST_BYTES
from aisys.allreduce.frames import HEADER, NOBODY, Kind
from aisys.allreduce.transport import TransportError
from tests.support import rank_programs as programs
from tests.support.rank_programs import Outcome, outcome
from tests.support.rank_runners import over_a_broker_run

MIB = 1 << 20


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """One for all tests of this module: what one of them does to it, the others would see."""
    with Broker() as started:
        yield started
        assert set(over_a_broker_run(started.open(2), programs.ring_of_large, 100)[0]) == {"value"}


def head(kind: int, dtype: int = 0, tag: int = 0, peer: int = 1, nbytes: int = 0) -> bytes:
    return HEADER.pack(kind, dtype, tag, peer, nbytes)


@contextlib.contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection that has shown its token and can now misbehave."""
    path, _, token = address.partition("#")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        connection.sendall(head(Kind.HELLO, nbytes=16) + bytes.fromhex(token))
        yield connection


def ended(connection: socket.socket) -> bytes:
    """What the other side still has to say before it ends the connection."""
    said = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            said += part
    return bytes(said)


def in_background(function: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Start a function in a thread; the result waits for what it returns."""
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()

    def result() -> Outcome:
        thread.join(30)
        return found[0]

    return result


def receive_from_0(address: str) -> Outcome:
    with BrokerTransport(address) as transport:
        return outcome(transport, lambda t: t.recv(np.empty(1), 0))


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_counts_of_a_ring_are_those_of_the_closed_form(broker, ranks):
    run = broker.open(ranks)
    over_a_broker_run(run, programs.ring_sum, 100 * ranks, "float64")
    counts = broker.counts(run.number)
    assert counts.is_over and counts.fault is None and counts.unreceived == 0
    assert counts.steps == 2 * (ranks - 1)
    assert counts.messages_sent == (2 * (ranks - 1),) * ranks
    assert counts.bytes_sent == counts.bytes_received == (2 * (ranks - 1) * 800,) * ranks
    assert set(counts.pairs) == {(rank, (rank + 1) % ranks) for rank in range(ranks)}


@pytest.mark.parametrize(
    "program, arguments",
    [("ring_sum", (999, "int8", 5)), ("random_traffic", (7, 60)), ("two_tags", (10,))],
)
def test_the_counts_do_not_depend_on_when_messages_come(broker, program, arguments):
    simulated = in_process.run(3, getattr(programs, program), *arguments).trace
    for _ in range(3):
        run = broker.open(3)
        over_a_broker_run(run, getattr(programs, program), *arguments)
        counts = broker.counts(run.number)
        assert counts.steps == simulated.steps
        assert counts.bytes_sent == simulated.bytes_sent


def test_messages_that_nobody_received_are_counted_as_such(broker):
    run = broker.open(2)
    with BrokerTransport(run.addresses[0]) as transport:
        transport.send(np.zeros(2), 1)
        transport.send(np.zeros(3), 1)
    with BrokerTransport(run.addresses[1]) as transport:
        transport.recv(np.empty(2), 0)
    assert broker.counts(run.number).unreceived == 1


def test_a_token_is_good_for_one_connection_and_one_place(broker):
    run = broker.open(2)
    path, _, token = run.addresses[0].partition("#")
    with BrokerTransport(run.addresses[0]) as transport:
        assert (transport.rank, transport.world_size) == (0, 2)
        for address in (run.addresses[0], f"{path}#{'00' * 16}", f"{path}#{token[:-2]}"):
            with pytest.raises(TransportError):
                BrokerTransport(address)


@pytest.mark.parametrize(
    "frame",
    [
        head(Kind.SEND, peer=0),
        head(Kind.SEND, peer=2),
        head(Kind.SEND, peer=-1),
        head(Kind.SEND, dtype=200),
        head(Kind.SEND, tag=60_000),
        head(Kind.SEND, dtype=12, nbytes=3) + b"abc",
        head(Kind.SEND, nbytes=1 << 62),
        head(Kind.SEND, nbytes=MOST_BYTES + 1),
        head(Kind.RECV, peer=0, nbytes=8) + bytes(8),
        head(Kind.RECV, nbytes=8) + b"\xff" * 8,
        head(Kind.RECV, nbytes=7) + bytes(7),
        head(Kind.MESSAGE),
        head(Kind.FAULT),
        head(Kind.OPEN, nbytes=12) + bytes(12),
        head(77),
    ],
    ids=range(15),
)
def test_a_frame_that_cannot_be_meant_ends_the_run_and_names_its_sender(broker, frame):
    run = broker.open(2)
    other = in_background(lambda: receive_from_0(run.addresses[1]))
    with connected(run.addresses[0]) as connection:
        connection.sendall(frame)
        ended(connection)
    assert other()["rank"] == 0
    assert "Rank 0" in (broker.counts(run.number).fault or "")


@pytest.mark.parametrize("seed", range(5))
def test_noise_costs_only_the_run_that_it_is_sent_in(broker, seed):
    run, calm = broker.open(2), broker.open(2)
    noise = random.Random(seed).randbytes(50_000)
    stranger_path = run.addresses[0].partition("#")[0]
    with socket.socket(socket.AF_UNIX) as stranger, connected(run.addresses[0]) as rank:
        stranger.connect(stranger_path)
        for connection in (stranger, rank):
            with contextlib.suppress(OSError):
                connection.sendall(noise)
        ended(stranger)
        ended(rank)
    assert receive_from_0(run.addresses[1])["rank"] == 0
    outcomes = over_a_broker_run(calm, programs.ring_sum, 100, "float64")
    assert all("value" in each for each in outcomes)


@pytest.mark.parametrize("size", [0, 100, MIB])
def test_a_rank_that_floods_costs_only_its_run_and_little_memory(size):
    with Broker() as broker:
        run, calm = broker.open(2), broker.open(2)
        process = psutil.Process(broker._process.pid)
        before = process.memory_info().rss
        with BrokerTransport(run.addresses[0]) as transport:
            array = np.zeros(size, np.uint8)
            with pytest.raises(TransportError, match="Rank 0 sends more than") as caught:
                for _ in range(1_000_000):
                    transport.send(array, 1)
        assert caught.value.rank == 0
        assert receive_from_0(run.addresses[1])["rank"] == 0
        assert process.memory_info().rss - before < 4 * MOST_BYTES
        outcomes = over_a_broker_run(calm, programs.ring_sum, 100, "float64")
        assert all("value" in each for each in outcomes)


def test_a_run_may_pass_on_more_in_all_than_may_be_under_way(broker):
    run = broker.open(2)
    size, count = 4 * MIB // 8, 2 * MOST_BYTES // (4 * MIB)
    outcomes = over_a_broker_run(run, lambda t: [exchange(t, size) for _ in range(count)])
    assert all("value" in each for each in outcomes), outcomes
    assert sum(broker.counts(run.number).bytes_sent) == 4 * MOST_BYTES


def exchange(transport, size: int) -> None:
    other = 1 - transport.rank
    transport.sendrecv(np.zeros(size), other, np.empty(size), other)


def test_a_rank_that_does_not_read_what_it_asked_for_cannot_ask_on(broker):
    run = broker.open(2)
    with connected(run.addresses[0]) as deaf, BrokerTransport(run.addresses[1]) as transport:
        for _ in range(3):
            transport.send(np.zeros(4 * MIB, np.uint8), 0)
        ask = head(Kind.RECV, dtype=2, nbytes=8) + (4 * MIB).to_bytes(8, "little")
        deaf.sendall(ask * 3)
        with pytest.raises(TransportError, match="Rank 0 asks on before") as caught:
            transport.recv(np.empty(1), 0)
    assert caught.value.rank == 0


def test_strangers_cannot_keep_ranks_out(broker, monkeypatch):
    monkeypatch.setattr(broker_transport, "PLACE_SECONDS", STRANGER_SECONDS / 2)
    run = broker.open(2)
    path = run.addresses[0].partition("#")[0]
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stranger = stack.enter_context(socket.socket(socket.AF_UNIX))
            stranger.settimeout(5)
            with contextlib.suppress(OSError):
                stranger.connect(path)
        outcomes = over_a_broker_run(run, programs.ring_sum, 100, "float64")
    assert all("value" in each for each in outcomes)


@pytest.mark.parametrize("who", [0, 2])
def test_a_rank_that_dies_is_named_by_all_others(broker, who):
    run = broker.open(3, timeout=30)
    child = os.fork()
    if child == 0:
        try:
            with BrokerTransport(run.addresses[who]) as transport:
                programs.killed(transport, who, at=2, rounds=5)
        finally:
            os._exit(1)
    others = [
        in_background(lambda rank=rank: survive(run.addresses[rank], who))
        for rank in range(3)
        if rank != who
    ]
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert [other()["rank"] for other in others] == [who] * 2
    assert broker.counts(run.number).fault == f"Rank {who} died: its connection ended."


def survive(address: str, who: int) -> Outcome:
    with BrokerTransport(address) as transport:
        return programs.killed(transport, who, at=2, rounds=5)


def test_a_deadlock_is_said_at_once(broker):
    run = broker.open(3, timeout=3600)
    outcomes = over_a_broker_run(run, lambda t: t.recv(np.empty(1), programs.neighbours(t)[1]))
    assert len({each["error"] for each in outcomes}) == 1
    assert outcomes[0]["rank"] is None
    assert "Deadlock: rank" in outcomes[0]["error"]


def test_a_rank_that_never_came_is_named_once_the_time_is_up(broker):
    run = broker.open(2, timeout=0.1)
    with BrokerTransport(run.addresses[1]) as transport:
        with pytest.raises(TransportError, match="Rank 0 did not send") as caught:
            transport.recv(np.empty(1), 0)
    assert caught.value.rank == 0


def test_whoever_has_the_door_opens_runs_whose_counts_only_the_owner_sees(broker):
    before = broker.runs()
    run = open_run(broker.door, 2)
    over_a_broker_run(run, programs.ring_sum, 100, "float64")
    assert run.number == before == broker.runs() - 1
    assert broker.counts(run.number).steps == 2
    with pytest.raises(TransportError, match="does not open runs"):
        open_run(broker.open(2).addresses[0], 2)
    with pytest.raises(TransportError, match="1 to 256 ranks"):
        open_run(broker.door, 0)


def test_runs_that_are_open_are_bounded():
    with Broker() as broker:
        with pytest.raises(TransportError, match="runs may be under way"):
            for _ in range(100):
                open_run(broker.door, 2)
        with pytest.raises(TransportError, match="no run 5000"):
            broker.counts(5000)


def test_ranks_learn_that_the_broker_has_ended():
    with Broker() as broker:
        address = broker.open(2).addresses[0]
        transport = BrokerTransport(address)
    for _ in range(2):
        with pytest.raises(TransportError, match="The broker has ended"):
            transport.recv(np.empty(1), 1)
    transport.close()
    with pytest.raises(TransportError, match="no broker"):
        BrokerTransport(address)
    with pytest.raises(TransportError, match="start another"):
        broker.open(2)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path: that of a socket has little room."""
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as name:
        yield Path(name)


def test_a_broker_leaves_nothing_behind(folder: Path):
    with Broker(folder) as broker:
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []
    assert not psutil.pid_exists(broker._process.pid)


def test_a_broker_ends_with_its_owner(folder: Path):
    program = (
        "from aisys.allreduce.broker import Broker; from pathlib import Path; import os, sys;"
        "broker = Broker(Path(sys.argv[1])); print(broker._process.pid, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={"PYTHONPATH": str(Path(aisys.__file__).parents[1])},
        stdout=subprocess.PIPE,
    )
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(20)
    assert list(folder.iterdir()) == []


def test_a_broker_runs_nobodys_attempts(tmp_path: Path, folder: Path, monkeypatch):
    ran = tmp_path / "ran"
    attempts = tmp_path / "attempts.py"
    attempts.write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.setenv("AISYS_ATTEMPTS", str(attempts))
    with Broker(folder):
        assert not ran.exists()


def test_a_folder_with_too_long_a_path_is_refused(tmp_path: Path):
    with pytest.raises(TransportError, match="shorter folder"):
        Broker(tmp_path / ("x" * 100))


def test_the_door_is_nobodys_rank(broker):
    with connected(broker.door) as connection:
        connection.sendall(head(Kind.SEND, peer=NOBODY))
        assert ended(connection) == b""
