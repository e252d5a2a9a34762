"""A rank is killed or stopped at a random moment: every other one names it, and nothing remains."""

import signal
import sys

import pytest

from aisys.allreduce.running import Ranks
from tests.support import launched

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.usefixtures("nothing_is_left_behind"),
]

SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(5, 50))]


def end_one(transport: str, seed: int, number: int, timeout: float) -> None:
    """All ranks but the one that gets a signal must raise an error that names it."""
    ranks = 2 + seed % 4
    victim = seed % ranks
    program, options = launched.stops_at_random, {"transport": transport, "timeout": timeout}
    with Ranks(ranks, program, victim, seed, number, start="fork", **options) as running:
        ended = running.wait(seconds=60)
    kind = "Ended" if number == signal.SIGSTOP else "Died"
    assert ended.pop(victim).kind == kind
    said = [(one.kind, one.at_fault) for one in ended]
    assert said == [("TransportError", victim)] * (ranks - 1), ended


@pytest.mark.parametrize("transport", ["tcp", "shared"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rank_killed_at_a_random_moment_is_named_by_all_others(transport, seed):
    end_one(transport, seed, signal.SIGALRM, timeout=30.0)


@pytest.mark.parametrize("transport", ["tcp", "shared"])
@pytest.mark.parametrize("seed", SEEDS[:2] + SEEDS[5:15])
def test_a_rank_stopped_at_a_random_moment_is_named_by_all_others(transport, seed):
    end_one(transport, seed, signal.SIGSTOP, timeout=1.0)
