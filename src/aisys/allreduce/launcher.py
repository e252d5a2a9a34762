"""`launch`: run a program as N processes of this machine, and get their results or one clear error.

The launcher passes the ranks' logs on, introduces them to each other, notices who died, ends the
others, and leaves nothing behind: ranks end with the process that started them, however it ends.
"""

from collections.abc import Callable
from typing import Any

from aisys.course.errors import CourseError

from .links import Network
from .rank_process import Connect
from .running import Outcome, Ranks


def launch(
    ranks: int,
    target: Callable[..., Any],
    *arguments: Any,
    transport: str | Connect = "tcp",
    timeout: float = 30.0,
    seconds: float | None = None,
    start: str | None = None,
    network: Network | None = None,
) -> list[Any]:
    """Run `target(transport, *arguments)` on every rank, each a process of its own with one thread.

    The ranks run the student's attempts of this process. What they print appears with `[rank 2]`
    before each line. Exercises that a rank called count as called here.

    Args:
        ranks: How many.
        target: The program. Where processes are started afresh it is a function at the top level of
            a module or a notebook, and of a notebook it takes what it needs along.
        arguments: What the program gets after its transport, the same on every rank.
        transport: `"tcp"`, `"shared"` (memory), `"gloo"`, or a function that makes one.
        timeout: How long a rank waits for another, in seconds.
        seconds: How long the whole run may take, in seconds.
        start: `"fork"`: copies of this process, at once there, with all that is in it; `"spawn"`:
            fresh processes. By default forks where that is safe.
        network: Nodes with links of their own, see `links`.

    Returns:
        What each rank's program returned, in the order of the ranks: plain data and NumPy arrays.

    Raises:
        RankError: A rank raised an error, died or hung; it names the rank.
    """
    with Ranks(
        ranks, target, *arguments, transport=transport, timeout=timeout, start=start,
        network=network,
    ) as running:  # fmt: skip
        outcomes = running.wait(seconds)
    if any(outcome.kind for outcome in outcomes):
        raise _cause(outcomes, running.failed_first)
    return [outcome.value for outcome in outcomes]


class RankError(CourseError):
    """A rank failed, and with it the run.

    Attributes:
        rank: The rank at fault; None where no single one is, as in a deadlock.
        outcomes: How every rank ended.
    """

    def __init__(self, message: str, rank: int | None, outcomes: list[Outcome]) -> None:
        super().__init__(message)
        self.rank, self.outcomes = rank, outcomes


def _cause(outcomes: list[Outcome], failed_first: list[int]) -> RankError:
    """The error of a run: of who failed by itself, otherwise of who is blamed."""
    failures = [(rank, outcomes[rank]) for rank in failed_first]
    own = [(rank, outcome) for rank, outcome in failures if not outcome.passed_on]
    rank, outcome = (own or failures)[0]
    if outcome.passed_on:
        return RankError(outcome.message, outcome.at_fault, outcomes)
    if outcome.kind in ("Died", "Late", "Nonsense", "Hole"):
        return RankError(outcome.message, rank, outcomes)
    return RankError(f"Rank {rank} raised {outcome.kind}: {outcome.message}", rank, outcomes)
