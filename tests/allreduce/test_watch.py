"""The watch and the mesh: who is at fault, and who may join."""

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from aisys.allreduce import watch as watch_module
from aisys.allreduce.mesh import connect_all
from aisys.allreduce.tcp import TcpTransport
from aisys.allreduce.transport import TransportError
from aisys.allreduce.watch import Watch, watch_file


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    with watch_file(5) as file:
        made = [Watch(file.fileno(), rank, 5) for rank in range(5)]
    yield made
    for each in made:
        each.close()


def test_ranks_that_wait_for_each_other_all_name_the_one_that_does_not_wait(watches):
    for rank in (1, 2, 3):
        watches[rank].waiting(rank - 1)
    errors = [watches[rank].late(rank - 1, 1.0) for rank in (1, 2, 3)]
    assert [error.rank for error in errors] == [0, 0, 0]
    assert "rank 3 waits for rank 2, which waits for rank 1, which waits" in str(errors[2])


def test_a_rank_that_says_that_it_waits_but_does_not_look_around_hangs(watches, monkeypatch):
    watches[1].waiting(0)
    watches[2].waiting(1)
    assert watches[3].late(2, 10.0).rank == 0
    later = watch_module.time.monotonic_ns() + 2_000_000_000
    monkeypatch.setattr(watch_module.time, "monotonic_ns", lambda: later)
    watches[2].waiting(1)
    assert watches[3].late(2, 10.0).rank == 1


def test_the_error_of_the_first_that_fails_is_that_of_all(watches):
    assert watches[0].trouble() is None
    watches[2].failed("Rank 4 sent nonsense: ä.", 4)
    for rank in (0, 1, 3, 4):
        error = watches[rank].trouble()
        assert (str(error), error.rank) == ("Rank 4 sent nonsense: ä.", 4)
    assert watches[2].trouble() is None
    assert str(watches[3].late(1, 1.0)) == "Rank 4 sent nonsense: ä."


def test_a_failure_for_which_no_rank_is_at_fault_names_none(watches):
    watches[2].failed("Deadlock.", None)
    assert watches[0].trouble().rank is None


def test_a_long_error_is_cut(watches):
    watches[2].failed("x" * 5000, 2)
    assert 500 < len(str(watches[0].trouble())) < 1024


def test_death_is_said_of_a_rank_that_did_not_say_why_it_failed(watches):
    watches[1].failed("I know why.", 1)
    for rank in (1, 2):
        watches[0].died(rank)
    assert str(watches[3].lost(1)) == "I know why."
    assert str(watches[3].lost(2)) == "Rank 2 died while rank 3 was waiting for it."


def in_threads(program) -> list:
    """Run `program(rank, rendezvous)` for two ranks in threads; results or errors."""
    addresses = ["", ""]
    told, results = threading.Barrier(2), [None, None]

    def run(rank: int) -> None:
        def rendezvous(text: str) -> list[str]:
            addresses[rank] = text
            told.wait(30)
            return addresses

        try:
            results[rank] = program(rank, rendezvous)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_transport_needs_no_launcher():
    def exchange(rank, rendezvous):
        out = np.empty(3)
        with TcpTransport(rank, 2, rendezvous) as transport:
            transport.sendrecv(np.full(3, float(rank)), 1 - rank, out, 1 - rank)
        return out.tolist()

    assert in_threads(exchange) == [[1.0] * 3, [0.0] * 3]


def test_without_a_launcher_too_a_rank_that_leaves_is_named():
    def leave(rank, rendezvous):
        with TcpTransport(rank, 2, rendezvous) as transport:
            if rank == 0:
                transport.recv(np.empty(3), 1)

    error, _ = in_threads(leave)
    assert isinstance(error, TransportError) and error.rank == 1


def test_a_stranger_that_connects_is_not_taken_for_a_rank(watches):
    def join(rank, rendezvous):
        def meet(text: str) -> list[str]:
            addresses = rendezvous(text)
            if rank == 1:
                host, _, port = addresses[0].split()[0].rpartition(":")
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(bytes(16) + (1).to_bytes(4, "little"))
            return addresses

        made = connect_all(rank, 2, meet, watches[rank], 30.0, "127.0.0.1")[1 - rank]
        made.setblocking(True)
        made.sendall(b"%d" % rank)
        got = made.recv(1)
        made.close()
        return got

    assert in_threads(join) == [b"1", b"0"]


def test_a_rank_that_does_not_come_is_named(watches):
    def join(rank, rendezvous):
        rendezvous("nobody is here")
        if rank == 0:
            connect_all(0, 2, lambda text: [text, ""], watches[0], 0.3, "127.0.0.1")

    error, _ = in_threads(join)
    assert isinstance(error, TransportError) and error.rank == 1
    assert "Rank 1 did not connect to rank 0" in str(error)
