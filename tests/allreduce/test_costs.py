"""What a message costs: ping-pongs, the fit, what is chosen by it, and the parts of a message."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from aisys.allreduce import rdma_experiments
from aisys.allreduce.checks.costs import POWERS, cheapest, exactly
from aisys.allreduce.cost_experiments import (
    SIZES,
    StagedTransport,
    chain_seconds,
    pass_along,
    plain_fit,
    round_trips,
    staged,
)
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import (
    best_pieces,
    fit_alpha_beta,
    one_way_seconds,
    ping_pong,
    size_for_share,
)
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.ports import Link
from aisys.allreduce.rdma_model import (
    Observed,
    Parts,
    cores_to_fill,
    rdma_cpu_seconds,
    register_from,
    tcp_parts,
)
from aisys.course.slots import recording

LINK = Link(alpha=2e-5, beta=1e-9)
MODEL = CostModel(LINK.alpha, LINK.beta)
PARTS = Parts(
    program=5e-6,
    system_call=2e-7,
    copy=4e-11,
    kernel=CostModel(8e-6, 2e-10),
    registration=CostModel(1e-5, 7e-11),
    how="made up",
)


def timed(transport, nbytes: int, repeats: int, late: float = 0.0) -> list[float]:
    """A ping-pong on the simulated clock, to which rank 1 comes late."""
    if transport.rank == 1:
        transport.work(late)
    return ping_pong(transport, nbytes, repeats, lambda: transport.clock)


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("nbytes", [0, 1, 12_345])
def test_a_round_trip_takes_two_messages_of_the_model(nbytes: int, synchronous: bool) -> None:
    done = run(3, timed, nbytes, 4, links=LINK, synchronous=synchronous)
    assert done.results[0] == pytest.approx([2 * LINK.seconds(nbytes)] * 4)
    assert done.results[1:] == [[], []]
    assert [m.nbytes for m in done.trace.messages] == [nbytes] * 10


def test_a_rank_that_is_late_costs_the_first_round_trip_only() -> None:
    assert run(2, timed, 100, 3, 0.5, links=LINK).results[0] == pytest.approx(
        [2 * LINK.seconds(100)] * 3
    )


def test_outliers_do_not_move_the_time_of_a_message() -> None:
    trips = np.full((9, 2), [2e-5, 4e-3])
    trips[[1, 4], 0], trips[8, 1] = 3.0, 7.0
    assert one_way_seconds(trips) == pytest.approx([1e-5, 2e-3])


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_has_the_least_sum_of_squared_relative_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array(SIZES)
    seconds = (3e-5 + 4e-10 * sizes) * rng.lognormal(0, 0.2, len(sizes))

    def loss(alpha: float, beta: float) -> float:
        return float((((alpha + sizes * beta - seconds) / seconds) ** 2).sum())

    model = fit_alpha_beta(sizes, seconds)
    least = loss(model.alpha, model.beta)
    for factors in [(0.999, 1), (1.001, 1), (1, 0.999), (1, 1.001), (1.001, 0.999)]:
        assert loss(model.alpha * factors[0], model.beta * factors[1]) > least


def test_plain_least_squares_loses_alpha_where_relative_errors_keep_it() -> None:
    rng = np.random.default_rng(0)
    sizes, off = np.array(SIZES), {"plain": [], "relative": []}
    for _ in range(20):
        seconds = (2e-5 + 5e-10 * sizes) * rng.lognormal(0, 0.05, len(sizes))
        off["plain"].append(abs(plain_fit(sizes, seconds).alpha / 2e-5 - 1))
        off["relative"].append(abs(fit_alpha_beta(sizes, seconds).alpha / 2e-5 - 1))
    assert max(off["relative"]) < 0.1
    assert np.median(off["plain"]) > 1


def test_exact_times_give_the_exact_model() -> None:
    sizes = np.array(POWERS)
    model = fit_alpha_beta(sizes, 3e-6 + 2e-10 * sizes)
    assert (model.alpha, model.beta) == pytest.approx((3e-6, 2e-10))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_message_of_that_size_moves_that_share_of_the_bandwidth(share: float) -> None:
    nbytes = size_for_share(MODEL, share)
    assert nbytes / MODEL.seconds(1, nbytes) * MODEL.beta == pytest.approx(share)


@pytest.mark.parametrize("seed", range(40))
def test_no_other_number_of_pieces_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = CostModel(10 ** rng.uniform(-6, -4), 10 ** rng.uniform(-11, -9))
    nbytes, hops = int(10 ** rng.uniform(0, 6)), int(rng.integers(1, 20))
    pieces = np.arange(1, 4000)
    steps = hops - 1 + pieces
    seconds = steps * (model.alpha + nbytes / pieces * model.beta)
    chosen = best_pieces(model, nbytes, hops)
    assert seconds[chosen - 1] == pytest.approx(seconds.min(), rel=1e-12)


@pytest.mark.parametrize(("hops", "pieces"), [(1, 1), (1, 4), (5, 1), (5, 8), (3, 64)])
def test_a_chain_on_the_simulated_clock_takes_the_closed_form(hops: int, pieces: int) -> None:
    steps = hops - 1 + pieces
    expected = MODEL.seconds(steps, steps * 6400 / pieces)
    assert chain_seconds(MODEL, 6400, hops, pieces) == pytest.approx(expected)


def test_a_chain_delivers_the_array_to_every_rank() -> None:
    array = np.arange(103.0)
    for result in run(4, pass_along, array, 7).results:
        assert (result == array).all()


@pytest.mark.parametrize("pieces", [0, -1, 2.5, True, None, [2], 3, 5])
def test_any_but_the_cheapest_number_of_pieces_is_refused(pieces: object) -> None:
    case = {"alpha": 1.0, "beta": 1.0, "nbytes": 16, "hops": 2}  # 4 pieces, exactly
    expected = {"pieces": 4, "case": case}
    assert cheapest({"pieces": 4, "case": {}}, expected) is None
    assert cheapest({"pieces": 4.0, "case": {}}, expected) is None
    assert cheapest({"pieces": pieces, "case": {}}, expected) is not None


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"messages": [4, 5], "bytes": [50, 50]}, "messages"),
        ({"steps": 5}, "steps"),
        ({"messages": [6, 6]}, "too many messages"),
        ({"bytes": [40, 40]}, "too few bytes"),
        ({"unreceived": 1}, "unreceived"),
    ],
)
def test_other_messages_than_asked_for_are_refused(change: dict, kind: str) -> None:
    run_ = {"messages": [5, 5], "bytes": [50, 50], "steps": 10, "unreceived": 0}
    expected = {"returned": [4, 0], "witnessed": [run_]}
    assert exactly(expected, expected) is None
    difference = exactly({"returned": [4, 0], "witnessed": [run_ | change]}, expected)
    assert difference is not None and difference.kind == kind


@pytest.mark.parametrize("copies", [(False, False), (True, False), (True, True)])
def test_additional_copies_change_nothing_in_what_arrives(copies: tuple[bool, bool]) -> None:
    def swap(transport) -> bool:
        staging = StagedTransport(transport, *copies)
        other, right = 1 - transport.rank, True
        for number in range(3):
            mine = np.full((2, 50), 10 * transport.rank + number)
            theirs = np.empty((2, 50), mine.dtype)
            staging.sendrecv(mine, other, theirs, other)
            right &= bool((theirs == 10 * other + number).all())
        return right

    assert run(2, swap).results == [True, True]


@pytest.mark.usefixtures("nothing_is_left_behind")
def test_round_trips_between_processes_come_by_way_and_size() -> None:
    ways = {"tcp": "tcp", "shared": "shared", "staged": staged(2)}
    with recording() as calls:
        seen = round_trips(ways, [8, 4096], rounds=2)
    assert {name: trips.shape for name, trips in seen.items()} == dict.fromkeys(ways, (2, 2))
    assert all((trips > 0).all() for trips in seen.values())
    assert calls == {"4.1 ping_pong": False}  # ran in the ranks, and is known here


@pytest.mark.usefixtures("nothing_is_left_behind")
def test_the_system_calls_of_a_message_grow_with_its_bytes() -> None:
    small, large = rdma_experiments.observe_tcp([8, 8 << 20], seconds=0.01)
    assert small.calls["send"] == 1
    assert small.calls["receive"] >= 1
    assert large.calls["send"] >= 8
    assert 0 < small.cpu_seconds < large.cpu_seconds


@pytest.mark.parametrize("looks", [0, 1000])
@pytest.mark.usefixtures("nothing_is_left_behind")
def test_a_rank_that_sleeps_and_one_that_looks_on_get_the_same(looks: int) -> None:
    array = np.arange(1000)
    results = launch(2, pass_along, array, 3, transport=rdma_experiments.patient(looks))
    assert all((result == array).all() for result in results)


def test_the_parts_of_a_message_add_up_to_what_was_observed() -> None:
    seen = Observed(1 << 20, 3e-4, 5e-4, {"send": 1.0, "receive": 2.0, "wait": 1.0})
    shares = tcp_parts(PARTS, seen)
    assert sum(shares.values()) == pytest.approx(seen.cpu_seconds)
    assert shares["two copies"] == pytest.approx(2 * (1 << 20) * PARTS.copy)
    assert shares["system calls"] == pytest.approx(4 * PARTS.system_call)
    both = shares["network code"] + shares["two copies"] + 2 * PARTS.system_call
    assert both == pytest.approx(PARTS.kernel.seconds(1, 1 << 20))


def test_no_part_is_less_than_nothing() -> None:
    seen = Observed(8, 1e-6, 1e-6, {"send": 1.0, "receive": 1.0, "wait": 0.0})
    assert min(tcp_parts(PARTS, seen).values()) == 0


@pytest.mark.parametrize("uses", [2, 10, 100])
def test_from_that_size_on_registering_costs_what_copying_does(uses: int) -> None:
    nbytes = register_from(PARTS, uses)
    copied = 2 * PARTS.copy * nbytes
    assert 2 * PARTS.registration.seconds(1, nbytes) / uses == pytest.approx(copied)
    assert rdma_cpu_seconds(PARTS, 2 * int(nbytes), uses) < 2 * copied


def test_where_pinning_takes_longer_than_copying_one_use_never_repays_it() -> None:
    assert register_from(PARTS, 1) == float("inf")


def test_a_link_that_moves_a_message_in_a_tenth_of_its_processor_time_takes_ten_cores() -> None:
    assert cores_to_fill(1e9, cpu_seconds=1e-2, nbytes=1_000_000) == pytest.approx(10)


@pytest.mark.parametrize(
    "measure", [rdma_experiments.program_seconds, rdma_experiments.system_call_seconds]
)
def test_measured_parts_are_short_times(measure: Callable[[], float]) -> None:
    assert 0 < measure() < 1e-2


@pytest.mark.parametrize(
    ("status", "how"), [(0, "mlock of memory in use"), (-1, "touching fresh pages")]
)
def test_where_pinning_is_refused_touched_pages_take_its_place(
    status: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        def mlock(self, *where: object) -> int:
            np.zeros(int(where[1].value), np.uint8).sum()  # takes longer for more
            return status

        def munlock(self, *where: object) -> int:
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda *name, **how: Libc())
    model, said = rdma_experiments.measure_registration([1 << 16, 1 << 18, 1 << 20])
    assert said == how
    assert model.beta > 0
