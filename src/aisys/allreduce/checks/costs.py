"""Probes of 4.1: times on the simulated clock, messages at the broker, fits of drawn data.

No clock of the machine is read.
"""

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from aisys.allreduce.checks.ranks import WITNESS, counted, on_ranks
from aisys.allreduce.checks.sums import plainly
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.costs import (
    best_pieces,
    fit_alpha_beta,
    one_way_seconds,
    ping_pong,
    size_for_share,
)
from aisys.allreduce.in_process import InProcessTransport, run
from aisys.allreduce.ports import Link
from aisys.allreduce.transport import Transport
from aisys.course import Case, Difference, Plain, probe
from aisys.course.compare import compare

CLOSE = 1e-9
FIT = 1e-4
"""Relative: the minimum is one point, however it is found; other fits are some per cent away."""

COST = 1e-9
"""What a number of pieces may cost above the best one, relative to it."""


def clock_case(name: str, seed: int, nbytes: int, repeats: int, **inputs: object) -> Case:
    """A case on the simulated clock; what is left out is as here."""
    default = {"ranks": 2, "alpha": [2e-5, 2e-5], "beta": [1e-9, 1e-9], "late": 0.0, "first": 0.0}
    rest = {"jitter": 0.0, "synchronous": False}
    return Case(name, {"nbytes": nbytes, "repeats": repeats, **default, **rest, **inputs}, seed)


def message_case(name: str, ranks: int, nbytes: int, repeats: int) -> Case:
    """A case whose messages are counted."""
    return Case(name, {"ranks": ranks, "nbytes": nbytes, "repeats": repeats})


def trips_case(name: str, seed: int, rounds: int, sizes: int, outliers: float = 0.0) -> Case:
    """A case of measured round trips, a share of which is far too long."""
    return Case(name, {"rounds": rounds, "sizes": sizes, "outliers": outliers}, seed)


def fit_case(
    name: str, seed: int, sizes: list[int], alpha: float, beta: float, noise: float = 0.0
) -> Case:
    """A case of the fit: times of the model, each off by a factor of about 1 + `noise`."""
    inputs = {"sizes": sizes, "alpha": alpha, "beta": beta, "noise": noise}
    return Case(name, inputs, seed, weight=2 if noise else 1)


def share_case(name: str, alpha: float, beta: float, shares: list[float]) -> Case:
    """A case of a link and shares of its bandwidth."""
    return Case(name, {"alpha": alpha, "beta": beta, "shares": shares})


def chain_case(name: str, alpha: float, beta: float, nbytes: int, hops: int) -> Case:
    """A case of a message along a chain."""
    return Case(name, {"alpha": alpha, "beta": beta, "nbytes": nbytes, "hops": hops})


POWERS = [8 * 4**k for k in range(12)]
"""From 8 B to 32 MiB."""


def seconds_alike(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: a list of seconds from every rank, and the right ones."""
    returned = got["seconds"]
    return _listed(returned) or compare(returned, expected["seconds"], CLOSE, 0)


@probe(
    "4.1 ping_pong",
    cases=[
        clock_case("1,000 bytes, 3 round trips", 1, 1000, 3),
        clock_case("no two take the same time", 2, 5000, 4, jitter=0.5),
        clock_case("the way back is slower", 3, 100, 2, alpha=[1e-5, 8e-5], beta=[1e-9, 4e-9]),
        clock_case("the other rank comes late", 4, 64, 2, late=0.25),
        clock_case("a send waits for its receiver", 5, 4096, 2, synchronous=True),
    ],
    verdict=seconds_alike,
)
def ping_pong_seconds(case: dict, rng: np.random.Generator) -> Plain:
    """What each rank returns on links whose messages each cost something else."""

    def program(transport: InProcessTransport) -> Plain:
        if transport.rank == 1:
            transport.work(case["late"])
        return _times(ping_pong(transport, case["nbytes"], case["repeats"], _clock_of(transport)))

    done = run(
        case["ranks"], program, links=_links(case, rng), synchronous=bool(case["synchronous"])
    )
    return {"seconds": done.results}


def exactly(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: as many round trips as asked for, of messages that answer each other."""
    found = _listed(got["returned"]) or counted(same=False, least_bytes=1.0)(got, expected)
    if found is not None:
        return found
    for seen, wanted in zip(got["witnessed"], expected["witnessed"], strict=True):
        if seen["messages"] != wanted["messages"]:
            said = f"the ranks send {seen['messages']} messages, expected {wanted['messages']}."
            return Difference("messages", said)
        if seen["steps"] != wanted["steps"]:
            said = f"{seen['steps']} messages wait for each other, expected {wanted['steps']}."
            return Difference("steps", said)
    return None


@probe(
    "4.1 ping_pong",
    cases=[
        message_case("4 round trips of 100 bytes, counted", 2, 100, 4),
        message_case("empty messages, four ranks, counted", 4, 0, 2),
    ],
    verdict=exactly,
    witness=WITNESS,
)
def ping_pong_messages(case: dict, rng: np.random.Generator) -> Plain:
    """How many times each rank returns; what it sends is counted elsewhere."""

    def program(transport: Transport) -> Plain:
        ticks, nbytes, repeats = count(), case["nbytes"], case["repeats"]
        times = _times(ping_pong(transport, nbytes, repeats, lambda: float(next(ticks))))
        return len(times) if isinstance(times, list) else times

    return on_ranks(case, program)


@probe(
    "4.1 one_way_seconds",
    cases=[
        trips_case("5 rounds of 3 sizes", 1, 5, 3),
        trips_case("an even number of rounds", 2, 6, 4),
        trips_case("some are a hundred times as long", 3, 9, 4, outliers=0.2),
    ],
    rtol=CLOSE,
    atol=0,
)
def one_way_values(case: dict, rng: np.random.Generator) -> Plain:
    """The seconds of a message of each size, from drawn round trips."""
    shape = case["rounds"], case["sizes"]
    trips = np.geomspace(2e-5, 1e-1, case["sizes"]) * rng.lognormal(0, 0.1, shape)
    trips = np.where(rng.random(shape) < case["outliers"], 100 * trips, trips)
    seconds = plainly(one_way_seconds(trips))
    return np.array(seconds) if isinstance(seconds, list) else seconds


def models_alike(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: a model, and the right one."""
    if isinstance(got, dict) and "no model" in got:
        said = f"{got['no model']} came back; expected a model, `CostModel(alpha, beta)`."
        return Difference("type", said)
    return compare(got, expected, FIT, 0)


@probe(
    "4.1 fit_alpha_beta",
    cases=[
        fit_case("8 B to 32 MiB, exactly", 1, POWERS, 3e-5, 4e-10),
        fit_case("8 B to 32 MiB, times off by 5 %", 2, POWERS, 3e-5, 4e-10, 0.05),
        fit_case("each size twice, off by 20 %", 3, POWERS * 2, 2e-6, 1e-10, 0.2),
    ],
    verdict=models_alike,
)
def fit_values(case: dict, rng: np.random.Generator) -> Plain:
    """Alpha and beta of drawn times."""
    sizes = np.array(case["sizes"], np.int64)
    exact = case["alpha"] + sizes * case["beta"]
    model: Any = fit_alpha_beta(sizes, exact * rng.lognormal(0, case["noise"], len(sizes)))
    if not hasattr(model, "alpha") or not hasattr(model, "beta"):
        return {"no model": plainly(model)}
    return {"alpha": plainly(model.alpha), "beta": plainly(model.beta)}


@probe(
    "4.1 size_for_share",
    cases=[
        share_case("half of the bandwidth", 2e-5, 1e-9, [0.5]),
        share_case("from a tenth to nine tenths", 1e-6, 4e-11, [0.1, 0.8, 0.9]),
    ],
    rtol=CLOSE,
    atol=0,
)
def share_sizes(case: dict, rng: np.random.Generator) -> Plain:
    """Message sizes, in bytes."""
    model = CostModel(case["alpha"], case["beta"])
    return [plainly(size_for_share(model, share)) for share in case["shares"]]


def cheapest(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: a whole number of pieces, with which the chain is as fast as it can be."""
    link, best = expected["case"], expected["pieces"]
    pieces = got["pieces"] if isinstance(got, dict) else None
    if isinstance(pieces, float) and pieces.is_integer():
        pieces = int(pieces)
    if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1:
        return Difference("pieces", f"{pieces!r} pieces; expected a whole number from 1.")
    seconds, least = _chain_seconds(link, pieces), _chain_seconds(link, best)
    if seconds <= (1 + COST) * least:
        return None
    said = f"{pieces:,} pieces take {seconds:.6g} s in the model; {best:,} take {least:.6g} s."
    return Difference("not the best", said)


@probe(
    "4.1 best_pieces",
    cases=[
        chain_case("1 MB over 7 hops", 2e-5, 1e-9, 1_000_000, 7),
        chain_case("100 bytes over 7 hops", 2e-5, 1e-9, 100, 7),
        chain_case("one hop", 2e-5, 1e-9, 1_000_000, 1),
        chain_case("between two and three pieces", 1e-5, 1e-9, 65_000, 2),
    ],
    verdict=cheapest,
)
def pieces_chosen(case: dict, rng: np.random.Generator) -> Plain:
    """The number of pieces, and the chain that it is for."""
    model = CostModel(case["alpha"], case["beta"])
    pieces = plainly(best_pieces(model, case["nbytes"], case["hops"]))
    return {"pieces": pieces, "case": dict(case)}


def _clock_of(transport: InProcessTransport) -> Callable[[], float]:
    return lambda: transport.clock


def _times(returned: Any) -> Plain:
    """A list of seconds; what is none, in words that `_listed` finds."""
    if isinstance(returned, (list, tuple, np.ndarray)) and np.ndim(returned) == 1:
        return [plainly(seconds) for seconds in returned]
    return {"no list": plainly(returned)}


def _listed(returned: Plain) -> Difference | None:
    """Whether every rank returns a list."""
    for rank, times in enumerate(returned):
        if isinstance(times, dict):
            said = f"rank {rank} returns {times['no list']}; expected a list of seconds"
            rest = "" if rank == 0 else ", an empty one on every rank but 0"
            return Difference("type", f"{said}{rest}.", f"[{rank}]")
    return None


def _links(case: dict, rng: np.random.Generator) -> Callable[[int, int], Link]:
    """Links whose n-th message costs another alpha than the one before."""
    factors = 1 + case["jitter"] * rng.exponential(size=(2, 64))
    sent: Counter[tuple[int, int]] = Counter()

    def link(source: int, to: int) -> Link:
        number = sent[source, to]
        sent[source, to] += 1
        alpha = case["alpha"][source % 2] * factors[source % 2, number % 64]
        return Link(alpha + (case["first"] if number == 0 else 0.0), case["beta"][source % 2])

    return link


def _chain_seconds(case: Any, pieces: int) -> float:
    steps = case["hops"] - 1 + pieces
    return steps * (case["alpha"] + case["nbytes"] / pieces * case["beta"])
