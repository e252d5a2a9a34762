"""How late a submission is and what that costs: deadlines, extensions, free late days."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .policies import LabPolicy, Late, Policies

TIMESTAMP = "timestamp.txt"
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Lateness:
    """How late a submission is.

    Attributes:
        days: Started days after the student's own deadline; 0: in time.
        free: How many of them are covered by free late days.
    """

    days: int = 0
    free: int = 0


def due(policy: LabPolicy, student: str) -> datetime | None:
    """When a lab is due for a student."""
    return policy.extensions.get(student, policy.deadline)


def closed(policy: LabPolicy, now: datetime) -> bool:
    """Whether nobody can gain by a submission any more, so that hidden values may be shown."""
    if policy.deadline is None:
        return False
    last = max([policy.deadline, *policy.extensions.values()])
    if policy.late.most_days is None:
        return now > last
    return now > last + timedelta(days=policy.late.most_days)


def days_late(policy: LabPolicy, student: str, submitted: datetime | None) -> int:
    """The started days after the student's own deadline; 0 where a time is unknown."""
    deadline = due(policy, student)
    if deadline is None or submitted is None or submitted <= deadline:
        return 0
    return math.ceil((submitted - deadline) / timedelta(days=1))


def lateness(
    policies: Policies, student: str, submitted: Mapping[str, datetime | None]
) -> dict[str, Lateness]:
    """How late a student's submissions are, free late days spent in the order of the deadlines.

    A lab whose lateness costs nothing spends none, and so does one that came too late to count.

    Args:
        policies: The course's.
        student: The student's id.
        submitted: When each lab was submitted, by its name.
    """
    left = policies.late_days
    found: dict[str, Lateness] = {}
    last = datetime.max.replace(tzinfo=UTC)
    for lab in sorted(submitted, key=lambda lab: (policies.of(lab).deadline or last, lab)):
        policy = policies.of(lab)
        days = days_late(policy, student, submitted[lab])
        most = policy.late.most_days
        accepted = most is None or days <= most
        free = min(days, left) if policy.late.charges and accepted else 0
        left -= free
        found[lab] = Lateness(days, free)
    return found


def penalty(late: Late, points: float, max_points: float, how: Lateness) -> float:
    """The points that lateness takes off `points`.

    Args:
        late: What lateness costs.
        points: What was earned.
        max_points: What the lab is worth.
        how: How late it is.
    """
    if late.most_days is not None and how.days > late.most_days:
        return points
    charged = how.days - how.free
    if charged <= 0:
        return 0.0
    kept = min(points - late.cost * charged * max_points, late.cap * max_points)
    return round(points - min(points, max(0.0, kept)), 2)


def words(late: Late, how: Lateness, taken: float) -> str:
    """What is said of a late submission, or `""`."""
    if not how.days:
        return ""
    text = f"{_days(how.days)} late"
    if late.most_days is not None and how.days > late.most_days:
        return f"{text}: at most {_days(late.most_days)} are accepted, so it counts nothing."
    if how.free:
        text += f", {how.free} covered by free late days"
    return f"{text}: {taken:g} points off." if taken else f"{text}."


def _days(count: int) -> str:
    return f"{count} day" if count == 1 else f"{count} days"


def stamp(moment: datetime) -> str:
    """A time as it names the folder of a version: `20261014T215900Z`."""
    return moment.astimezone(UTC).strftime(_STAMP)


def moment_of(version: str) -> datetime | None:
    """The time that a version's name begins with, or None."""
    try:
        return datetime.strptime(version.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def write_timestamp(folder: Path, moment: datetime) -> None:
    """Write nbgrader's `timestamp.txt`."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC\n")
    (folder / TIMESTAMP).write_text(text, encoding="utf-8")


def read_timestamp(folder: Path) -> datetime | None:
    """The time in a submission's `timestamp.txt`, whoever wrote it, or None."""
    try:
        return parse_time((folder / TIMESTAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def parse_time(text: str) -> datetime | None:
    """A time as nbgrader writes and reads it, or None."""
    from nbgrader.utils import parse_utc

    try:
        moment: datetime = parse_utc(text.strip())
        return moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError):
        return None
