"""Ranks for a probe whose faults are told alike, whichever rank sees them first."""

from collections.abc import Callable, Sequence
from typing import Any

from aisys.allreduce.checks.ranks import on_ranks
from aisys.allreduce.transport import TransportError
from aisys.course import Plain
from aisys.course.errors import CourseError


def on_ranks_alike(
    case: dict[str, Any], program: Callable[..., Plain], *shares: Sequence
) -> list[Plain]:
    """As `on_ranks`; which rank sees a fault first depends on chance and is not said.

    Args:
        case: As of `on_ranks`.
        program: As of `on_ranks`.
        shares: As of `on_ranks`.

    Raises:
        CourseError: A message went wrong; what else a rank raised is raised as it is.
    """
    try:
        return on_ranks(case, program, *shares)
    except TransportError:
        raise CourseError(
            "A rank waits for a message that another rank never sends, or gets one of another size."
        ) from None
