"""The in-process transport: its clock, its turns, and how it ends."""

import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from aisys.allreduce.in_process import InProcessTransport, Message, run
from aisys.allreduce.ports import Link, SerialPorts, two_levels
from aisys.allreduce.transport import Transport, TransportError
from aisys.course.errors import TimeLimit
from aisys.course.limits import time_limit
from tests.support import rank_programs as programs

LINK = Link(alpha=1e-5, beta=1e-9)


def pass_on(transport, array: np.ndarray) -> None:
    """Rank 0 sends to rank 1, that to rank 2, and so on."""
    if transport.rank:
        transport.recv(array.copy(), transport.rank - 1)
    if transport.rank < transport.world_size - 1:
        transport.send(array, transport.rank + 1)


def send_to_all(transport, array: np.ndarray) -> None:
    for other in range(1, transport.world_size):
        if transport.rank == 0:
            transport.send(array, other)
        elif transport.rank == other:
            transport.recv(array.copy(), 0)


def collect_from_all(transport, array: np.ndarray) -> None:
    for other in range(1, transport.world_size):
        if transport.rank == 0:
            transport.recv(array.copy(), other)
        elif transport.rank == other:
            transport.send(array, 0)


@pytest.mark.parametrize("ranks", [2, 5, 8])
def test_a_ring_all_reduce_takes_the_time_and_the_steps_of_the_closed_form(ranks):
    trace = run(ranks, programs.ring_sum, 1000 * ranks, "float64", links=LINK).trace
    assert trace.steps == 2 * (ranks - 1)
    assert trace.seconds == pytest.approx(2 * (ranks - 1) * LINK.seconds(8000))
    assert trace.bytes_sent == (2 * (ranks - 1) * 8000,) * ranks


@pytest.mark.parametrize("program", [pass_on, send_to_all, collect_from_all])
def test_one_message_after_another_through_a_chain_or_a_port_takes_a_step_each(program):
    trace = run(6, program, np.zeros(100), links=LINK).trace
    assert trace.steps == 5
    assert trace.seconds == pytest.approx(5 * LINK.seconds(800))


def test_a_port_sends_and_receives_at_the_same_time_but_not_two_of_a_kind():
    def exchange(transport, others):
        for other in others:
            x = np.zeros(1)
            transport.sendrecv(x, other[transport.rank], x.copy(), other[transport.rank])

    assert run(2, exchange, [{0: 1, 1: 0}]).trace.seconds == 1
    assert run(2, exchange, [{0: 1, 1: 0}] * 3).trace.seconds == 3


def test_a_message_that_came_while_its_receiver_was_busy_costs_no_more_waiting():
    def program(transport):
        if transport.rank == 0:
            transport.send(np.zeros(1), 1)
        else:
            transport.work(10.0)
            transport.recv(np.zeros(1), 0)
        return transport.clock

    assert run(2, program).results == [1, 10]


def test_work_and_messages_that_are_under_way_overlap():
    def program(transport):
        if transport.rank == 0:
            request = transport.isend(np.zeros(1), 1)
            transport.work(0.75)
            request.wait()
        else:
            request = transport.irecv(np.zeros(1), 0)
            transport.work(5.0)
            request.wait()
        return transport.clock

    assert run(2, program).results == [1, 5]


def test_two_levels_make_the_links_between_nodes_slow():
    slow = Link(1.0, 1.0)
    links = two_levels(2, inside=LINK, between=slow)
    messages = run(4, pass_on, np.zeros(2), links=links).trace.messages
    took = [message.end - message.start for message in messages]
    assert took == pytest.approx([LINK.seconds(16), 17.0, LINK.seconds(16)])


def test_links_may_be_a_matrix():
    links = [[LINK, Link(3, 0)], [LINK, LINK]]
    assert run(2, pass_on, np.zeros(1), links=links).trace.seconds == 3


def test_the_trace_says_every_message_in_the_order_of_sending():
    messages = run(3, pass_on, np.zeros(2)).trace.messages
    assert messages == (Message(0, 1, 0, 16, 0, 1, 1), Message(1, 2, 0, 16, 1, 2, 2))


@pytest.mark.parametrize("program", ["ring_sum", "random_traffic"])
def test_times_and_steps_do_not_depend_on_whose_turn_it_is(program):
    arguments = {"ring_sum": (1001, "float64"), "random_traffic": (3, 80)}[program]
    links = two_levels(2, LINK, Link(3e-5, 7e-9))

    def trace(seed):
        found = run(5, getattr(programs, program), *arguments, links=links, seed=seed).trace
        return found.clocks, found.steps, sorted(found.messages)

    assert trace(None) == trace(1) == trace(2)


def test_the_same_seed_gives_the_same_turns_and_another_seed_others():
    def turns(seed):
        order: list[int] = []

        def program(transport):
            for _ in range(5):
                order.append(transport.rank)
                programs.ring_of_large(transport, 1)

        run(4, program, seed=seed)
        return order

    assert turns(1) == turns(1)
    assert turns(1) != turns(2)


def test_with_a_seed_ranks_may_take_turns_between_two_sends():
    def order(seed):
        sent: list[int] = []

        def program(transport):
            for _ in range(3):
                if transport.rank < 2:
                    sent.append(transport.rank)
                    transport.send(np.zeros(1), 2)

        run(3, program, seed=seed)
        return sent

    assert order(None) == [0, 0, 0, 1, 1, 1]
    assert any(order(seed)[:3] not in ([0, 0, 0], [1, 1, 1]) for seed in range(10))


def test_ranks_run_one_at_a_time():
    inside, most = 0, 0

    def program(transport):
        nonlocal inside, most
        for _ in range(20):
            inside += 1
            most = max(most, inside)
            sum(range(2000))
            inside -= 1
            programs.ring_of_large(transport, 1)

    run(4, program, seed=3)
    assert most == 1


def test_a_deadlock_is_found_and_says_who_waits_for_whom():
    def program(transport):
        to, source = programs.neighbours(transport)
        transport.recv(np.zeros(1), source)
        transport.send(np.zeros(1), to)

    with pytest.raises(TransportError, match="rank 0 waits for rank 2, which waits for rank 1,"):
        run(3, program)


def test_a_program_that_needs_its_messages_kept_is_a_deadlock_with_synchronous_sends():
    def program(transport):
        to, source = programs.neighbours(transport)
        transport.send(np.zeros(1), to)
        transport.recv(np.zeros(1), source)

    run(3, program)
    with pytest.raises(TransportError, match="Deadlock: rank 0 waits for rank 1, which waits"):
        run(3, program, synchronous=True)


def test_what_a_rank_raises_is_raised_with_its_number_and_named_to_the_others():
    said = {}

    def program(transport):
        if transport.rank == 1:
            raise ValueError("no such thing")
        try:
            transport.recv(np.zeros(1), 1)
        except TransportError as error:
            said[transport.rank] = (error.rank, str(error))

    with pytest.raises(ValueError, match="no such thing") as caught:
        run(3, program)
    assert caught.value.__notes__ == ["(raised by rank 1 of 3)"]
    assert said == dict.fromkeys((0, 2), (1, "Rank 1 failed (ValueError: no such thing)."))


@pytest.fixture
def heard() -> Iterator[None]:
    """Interrupts are heard, also where the tests run in the background of a shell."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("heard")
def test_an_interrupt_ends_all_ranks_also_one_in_an_endless_loop():
    before = threading.active_count()

    def program(transport):
        if transport.rank == 2:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)
            while True:
                pass
        transport.recv(np.zeros(1), 2)

    with pytest.raises(KeyboardInterrupt):
        run(4, program)
    for thread in threading.enumerate():
        if thread.name.startswith("rank "):
            thread.join(10)
    assert threading.active_count() == before


def test_many_ranks_take_turns_in_one_process():
    def program(transport):
        x, out, distance = np.ones(4), np.empty(4), 1
        while distance < transport.world_size:
            peer = transport.rank ^ distance
            transport.sendrecv(x, peer, out, peer)
            x = x + out
            distance *= 2
        return float(x[0])

    made = run(512, program)
    assert made.results == [512.0] * 512
    assert made.trace.steps == made.trace.seconds == 9


def test_a_run_of_no_ranks_is_refused():
    with pytest.raises(TransportError, match="at least one rank"):
        run(0, pass_on)


def test_the_transport_has_no_time_out():
    assert run(1, lambda t: (type(t), t.timeout)).results == [(InProcessTransport, float("inf"))]


def test_a_port_fills_the_gap_before_a_later_message():
    ports = SerialPorts(1)
    assert ports.receive(0, 10.0, 2.0) == 12.0
    assert ports.receive(0, 1.0, 2.0) == 3.0
    assert ports.receive(0, 9.0, 2.0) == 14.0  # the gap from 9 to 10 is too short
    assert ports.receive(0, 3.0, 7.0) == 10.0  # the gap from 3 to 10 is just long enough
    assert ports.receive(0, 0.0, 1.0) == 1.0
    assert ports.receive(0, 0.0, 1.0) == 15.0


def test_a_gap_of_just_the_right_length_is_filled_although_sums_are_rounded():
    ports = SerialPorts(1)
    ports.receive(0, 0.3, 1.0)
    assert 0.1 + 0.2 > 0.3
    assert ports.receive(0, 0.1, 0.2) == pytest.approx(0.3)


def test_ranks_that_compute_for_ever_are_ended_by_a_time_limit():
    def endless(transport: Transport) -> None:
        while not given_up.is_set():
            pass

    given_up, before = threading.Event(), set(threading.enumerate())
    with pytest.raises(TimeLimit), time_limit(0.3):
        run(4, endless)
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        is_left = thread.is_alive()
        given_up.set()  # a thread that is left must not slow the tests that follow
        assert not is_left
