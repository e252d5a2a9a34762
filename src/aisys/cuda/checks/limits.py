"""Verdicts on what was counted of a launch: at most what the reference needs, with some slack."""

from aisys.course import Difference, Plain
from aisys.cuda.emulator import Launch

SLACK = 1.1
"""So many times what the reference needs is enough."""


def moved(launch: Launch, access: str) -> dict[str, int]:
    """The requests and sectors of a launch's reads or writes of global memory, as plain data."""
    cost = launch.total("global", access)
    return {"requests": cost.requests, "sectors": cost.sectors}


def shared(launch: Launch) -> dict[str, int]:
    """What a launch does to shared memory, as plain data.

    Its passes and how many it would be without conflicts, the requests of warps and their lanes.
    """
    cost = launch.total("shared")
    return {
        "passes": cost.wavefronts,
        "without conflicts": cost.least_wavefronts,
        "requests": cost.requests,
        "lanes": cost.lanes,
    }


def too_many_sectors(what: str, got: Plain, enough: Plain, slack: float = SLACK) -> str:
    """A sentence if a launch moves more than `slack` times as many sectors, otherwise `""`.

    Args:
        what: Such as `"reads of input"`.
        got: What `moved` returned of the attempt.
        enough: What it returned of the reference.
        slack: How many times as many sectors are accepted.
    """
    seen, needed = counts_of(got), counts_of(enough)
    if seen["sectors"] <= slack * needed["sectors"]:
        return ""
    return (
        f"{what}: {_per_request(seen)} sectors per request, {seen['sectors']:,} in all; "
        f"{_per_request(needed)} per request, {needed['sectors']:,} in all, are enough."
    )


def too_many_conflicts(got: Plain, slack: float = SLACK) -> str:
    """A sentence if shared memory needs more than `slack` times as many passes, otherwise `""`."""
    seen = counts_of(got)
    if seen["passes"] <= slack * seen["without conflicts"]:
        return ""
    return (
        f"shared memory: {seen['passes']:,} passes, of which "
        f"{seen['passes'] - seen['without conflicts']:,} are bank conflicts; "
        f"{seen['without conflicts']:,} would do without conflicts."
    )


def counts_of(value: Plain) -> dict[str, int]:
    """Counts as they travel; raises TypeError for anything else."""
    if not isinstance(value, dict) or any(not isinstance(n, int) for n in value.values()):
        raise TypeError("expected counts by name")
    return value


def part(value: Plain, name: str) -> Plain:
    """One part of what a probe returned; raises TypeError where there is none."""
    if not isinstance(value, dict) or name not in value:
        raise TypeError(f"expected {name!r} among what was counted")
    return value[name]


def first_of(*sentences: tuple[str, str]) -> Difference | None:
    """A difference for the first pair of a kind and a sentence whose sentence is not empty."""
    return next((Difference(kind, said) for kind, said in sentences if said), None)


def _per_request(counts: dict[str, int]) -> str:
    return f"{counts['sectors'] / counts['requests'] if counts['requests'] else 0:.1f}"
