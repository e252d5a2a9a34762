"""Ranks in a probe: what they return, what is counted of them, and what ends them."""

import threading
from typing import Any

import numpy as np
import pytest

from aisys.allreduce.checks.ranks import WITNESS, counted, on_ranks, rank_data
from aisys.allreduce.transport import Transport
from aisys.course import Case
from aisys.course.probes import Outcome, Probe, judge, run_case

KEY = "4.3 ring"


def outcome_of(program: Any, ranks: int = 4, n: int = 10, seconds: float = 5.0) -> Outcome:
    return run_case(probe_of(program, seconds), Case("a case", {"ranks": ranks, "n": n}, 1))


def probe_of(program: Any, seconds: float = 5.0, **limits: Any) -> Probe:
    def run(case: dict, rng: np.random.Generator) -> Any:
        return on_ranks(case, program, rank_data(case, rng))

    return Probe(KEY, "run", run, (), counted(**limits), seconds, WITNESS)


def everything_to_the_left(transport: Transport, mine: np.ndarray) -> np.ndarray:
    """Every rank's array once around the ring: the sum, in n - 1 steps."""
    right = (transport.rank + 1) % transport.world_size
    arrays = {transport.rank: mine}
    for step in range(transport.world_size - 1):
        out = np.empty_like(mine)
        sent = arrays[(transport.rank + step) % transport.world_size]
        transport.sendrecv(sent, (transport.rank - 1) % transport.world_size, out, right)
        arrays[(transport.rank + step + 1) % transport.world_size] = out
    return sum(arrays[rank] for rank in range(transport.world_size))


def through_rank_0(transport: Transport, mine: np.ndarray) -> np.ndarray:
    total = mine.copy()
    others = range(1, transport.world_size)
    if transport.rank:
        transport.send(mine, 0)
        transport.recv(total, 0)
        return total
    for other in others:
        out = np.empty_like(mine)
        transport.recv(out, other)
        total += out
    for other in others:
        transport.send(total, other)
    return total


def past_the_transport() -> Any:
    shared, meeting = [], threading.Barrier(4)

    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        shared.append(mine)
        meeting.wait(10)
        return np.sort(np.array(shared), axis=0).sum(axis=0)

    return program


def test_what_ranks_send_is_counted_by_another_process():
    outcome = outcome_of(everything_to_the_left)
    (run,) = outcome.value["witnessed"]
    assert (run["steps"], run["messages"], run["bytes"]) == (3, [3] * 4, [240] * 4)
    assert (run["unreceived"], run["fault"]) == (0, "")
    assert [pair[:2] for pair in run["pairs"]] == [[0, 3], [1, 0], [2, 1], [3, 2]]


def judged(program: Any, reference: Any = everything_to_the_left, **limits: Any) -> str:
    found = judge(probe_of(program, **limits), outcome_of(program), outcome_of(reference))
    return "" if found is None else found.kind


def test_the_same_algorithm_passes_and_a_dearer_one_does_not():
    assert judged(everything_to_the_left) == ""
    assert judged(through_rank_0) == "too many steps"
    assert judged(through_rank_0, steps=10, messages=1) == ""
    assert judged(everything_to_the_left, through_rank_0, steps=0.1) == "too many steps"
    assert judged(everything_to_the_left, nbytes=0.5) == "too many bytes"
    assert judged(everything_to_the_left, messages=0.5) == "too many messages"


def test_a_sum_that_went_past_the_transport_does_not_pass():
    assert judged(past_the_transport()) == "too few bytes"


def test_ranks_that_differ_in_their_last_digits_do_not_pass():
    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        total = everything_to_the_left(transport, mine)
        return np.nextafter(total, np.inf) if transport.rank == 2 else total

    assert judged(program) == "not the same"
    assert judged(program, same=False) == ""


def test_a_message_that_nobody_receives_does_not_pass():
    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        if transport.rank == 0:
            transport.send(mine[:1], 1, tag=7)
        return everything_to_the_left(transport, mine)

    assert judged(program) == "unreceived"


def test_an_error_of_a_rank_is_the_error_of_the_probe_and_not_what_others_saw_of_it():
    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        if transport.rank == 2:
            raise KeyError("chunk")
        transport.recv(mine, (transport.rank + 1) % transport.world_size)
        return mine

    outcome = outcome_of(program)
    assert (outcome.status, outcome.error) == ("raised", "KeyError")


def test_a_deadlock_is_said_at_once():
    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        transport.recv(mine, (transport.rank + 1) % transport.world_size)
        return mine

    outcome = outcome_of(program)
    assert outcome.error == "TransportError" and outcome.message.startswith("Deadlock")


@pytest.mark.parametrize("caught", [(), Exception])
def test_a_rank_that_computes_for_ever_is_ended_by_the_time_limit(caught):
    def program(transport: Transport, mine: np.ndarray) -> np.ndarray:
        while not given_up.is_set():
            try:
                mine = mine + 1
            except caught:
                pass
        return mine

    given_up, before = threading.Event(), set(threading.enumerate())
    assert outcome_of(program, seconds=0.3).status == "timeout"
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        is_left = thread.is_alive()
        given_up.set()  # a thread that is left must not slow the tests that follow
        assert not is_left
