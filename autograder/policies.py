"""What an instructor decides about a course: the policies in `course.toml`, read and checked.

Reading gives frozen records. What they do to results is in `settle.py`, what a late day costs in
`lateness.py`, which stages a notebook has in `choice.py`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .choice import Choice

COURSE_KEYS = ("name", "secret", "roster", "labs", "timezone", "late_days", "late")
LAB_KEYS = (
    "stages",
    "weights",
    "deadline",
    "extensions",
    "submissions",
    "late",
    "waive",
    "column",
)
LATE_KEYS = ("cost", "cap", "most_days")
WAIVER_KEYS = ("stage", "exercise", "case", "students", "reason")


class PolicyError(Exception):
    """A policy in `course.toml` cannot be used; the message is one clear sentence."""


@dataclass(frozen=True)
class Late:
    """What lateness costs; by default nothing.

    Attributes:
        cost: The share of a lab's points that each started day costs, free late days apart.
        cap: The largest share of its points that a late lab keeps.
        most_days: After so many days a lab counts nothing; None: it always counts.
    """

    cost: float = 0.0
    cap: float = 1.0
    most_days: int | None = None

    @property
    def charges(self) -> bool:
        """Whether lateness can cost anything at all."""
        return bool(self.cost) or self.cap < 1 or self.most_days is not None


@dataclass(frozen=True)
class Waiver:
    """Something that no longer counts against anybody.

    Attributes:
        stage: A stage or a written answer, or `""`.
        exercise: An exercise's key, or `""`.
        case: A case of that exercise by its name, or `""` for all of it.
        students: Whom it is for; empty: everybody.
        reason: Why, for the feedback.
    """

    stage: str = ""
    exercise: str = ""
    case: str = ""
    students: tuple[str, ...] = ()
    reason: str = ""

    def holds_for(self, student: str) -> bool:
        """Whether it is for this student."""
        return not self.students or student in self.students


@dataclass(frozen=True)
class LabPolicy:
    """The policies of one lab.

    Attributes:
        lab: The lab's name.
        choice: The chosen stages and their weights.
        deadline: When it is due (UTC), or None.
        extensions: When it is due for single students (UTC).
        submissions: Which of several submissions counts: `"latest"` or `"best"`.
        late: What lateness costs.
        waivers: What no longer counts.
        column: The lab's column in the learning management system, or `""`.
    """

    lab: str
    choice: Choice = Choice()
    deadline: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    submissions: str = "latest"
    late: Late = Late()
    waivers: tuple[Waiver, ...] = ()
    column: str = ""


@dataclass(frozen=True)
class Policies:
    """The policies of a course.

    Attributes:
        labs: The policies of each lab by its name.
        late_days: The free late days that each student has, over all labs.
        timezone: In which times without an offset are meant.
    """

    labs: Mapping[str, LabPolicy] = field(default_factory=dict)
    late_days: int = 0
    timezone: tzinfo = UTC

    def of(self, lab: str) -> LabPolicy:
        """The policies of a lab; of one that `course.toml` does not name, the defaults."""
        return self.labs.get(lab) or LabPolicy(lab)

    def students(self) -> set[str]:
        """Every student whom an extension or a waiver names."""
        labs = self.labs.values()
        waived = {name for lab in labs for waiver in lab.waivers for name in waiver.students}
        return waived | {name for lab in labs for name in lab.extensions}


def read_policies(data: Mapping[str, Any]) -> Policies:
    """The policies in the data of a `course.toml`; raises PolicyError with one clear sentence."""
    _known(data, COURSE_KEYS, "")
    zone = _timezone(data.get("timezone", "UTC"))
    days = _whole(data.get("late_days", 0), "late_days")
    late = _late(data.get("late", {}), "late", Late())
    labs = data.get("labs", [])
    if isinstance(labs, list) and all(isinstance(lab, str) for lab in labs):
        labs = {lab: {} for lab in labs}
    if not isinstance(labs, dict) or not all(isinstance(table, dict) for table in labs.values()):
        raise PolicyError(
            '`labs` is a list of names, such as ["lab1_autodiff"], or a table for each lab, '
            "such as [labs.lab1_autodiff]."
        )
    read = {name: _lab(name, table, late, zone) for name, table in labs.items()}
    return Policies(read, days, zone)


def _lab(name: str, table: dict[str, Any], late: Late, zone: tzinfo) -> LabPolicy:
    where = f"labs.{name}"
    _known(table, LAB_KEYS, where)
    deadline = None
    if "deadline" in table:
        deadline = _moment(table["deadline"], f"{where}.deadline", zone)
    submissions = table.get("submissions", "latest")
    if submissions not in ("latest", "best"):
        raise PolicyError(f'{where}.submissions is "latest" or "best", not {submissions!r}.')
    waivers = table.get("waive", [])
    if not isinstance(waivers, list):
        raise PolicyError(f'{where}.waive is a list, such as [{{ stage = "1.3" }}].')
    return LabPolicy(
        name,
        Choice(_stages(table, where), _weights(table, where)),
        deadline,
        _extensions(table.get("extensions", {}), where, deadline, zone),
        submissions,
        _late(table.get("late", {}), f"{where}.late", late),
        tuple(_waiver(entry, f"{where}.waive") for entry in waivers),
        _text(table.get("column", ""), f"{where}.column"),
    )


def _stages(table: dict[str, Any], where: str) -> tuple[str, ...]:
    stages = table.get("stages", [])
    if not isinstance(stages, list) or not all(isinstance(stage, str) for stage in stages):
        raise PolicyError(f'{where}.stages is a list of stages in quotes, such as ["1.3", "1.4"].')
    if "stages" in table and not stages:
        raise PolicyError(f"{where}.stages chooses no stage; leave it out to choose all.")
    return tuple(dict.fromkeys(stages))


def _weights(table: dict[str, Any], where: str) -> dict[str, float]:
    weights = table.get("weights", {})
    if not isinstance(weights, dict) or not all(_is_number(value) for value in weights.values()):
        raise PolicyError(
            f'{where}.weights gives each stage in quotes a number from 0, such as {{ "1.3" = 2 }}.'
        )
    return {stage: float(value) for stage, value in weights.items()}


def _late(table: Any, where: str, default: Late) -> Late:
    if not isinstance(table, dict):
        raise PolicyError(f"{where} is a table, such as {{ cost = 0.1, most_days = 5 }}.")
    _known(table, LATE_KEYS, where)
    for name in ("cost", "cap"):
        if name in table and not (_is_number(table[name]) and table[name] <= 1):
            raise PolicyError(f"{where}.{name} is a share from 0 to 1, not {table[name]!r}.")
    days = table.get("most_days", default.most_days)
    return Late(
        float(table.get("cost", default.cost)),
        float(table.get("cap", default.cap)),
        None if days is None else _whole(days, f"{where}.most_days"),
    )


def _extensions(
    table: Any, where: str, deadline: datetime | None, zone: tzinfo
) -> dict[str, datetime]:
    where = f"{where}.extensions"
    if not isinstance(table, dict):
        raise PolicyError(f"{where} gives a student a date or days, such as {{ ada = 3 }}.")
    if deadline is None:
        if table:
            raise PolicyError(f"{where} extends a deadline, and the lab has none.")
        return {}
    until: dict[str, datetime] = {}
    for student, value in table.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            until[student] = deadline + timedelta(days=value)
        else:
            until[student] = _moment(value, f"{where}.{student}", zone, " or a number of days")
        if until[student] <= deadline:
            raise PolicyError(f"{where}.{student} is not after the deadline.")
    return until


def _waiver(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, dict):
        raise PolicyError(f'{where} lists tables, such as {{ stage = "1.3" }}.')
    _known(entry, WAIVER_KEYS, where)
    students = entry.get("students", [])
    if not isinstance(students, list) or not all(isinstance(name, str) for name in students):
        raise PolicyError(f'{where}: `students` is a list of students, such as ["ada"].')
    if "students" in entry and not students:
        raise PolicyError(f"{where}: `students` names nobody; leave it out to mean everybody.")
    texts = {
        key: _text(entry.get(key, ""), f"{where}: `{key}`")
        for key in ("stage", "exercise", "case", "reason")
    }
    waiver = Waiver(students=tuple(students), **texts)
    if bool(waiver.stage) == bool(waiver.exercise):
        raise PolicyError(f"{where}: each entry names either a `stage` or an `exercise`.")
    if waiver.case and not waiver.exercise:
        raise PolicyError(f"{where}: the case {waiver.case!r} needs the `exercise` it belongs to.")
    return waiver


def _moment(value: Any, where: str, zone: tzinfo, more: str = "") -> datetime:
    """A date and time in UTC; a date alone means its last second."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(23, 59, 59), zone).astimezone(UTC)
    raise PolicyError(
        f"{where} is a date and time without quotes, such as 2026-10-14T23:59:00{more}; "
        f"this is {value!r}."
    )


def _timezone(name: Any) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise PolicyError(
            f'timezone is a name such as "Europe/Berlin" or "UTC", not {name!r}.'
        ) from None


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PolicyError(f"{where} is a whole number from 0, not {value!r}.")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"{where} is a text in quotes, not {value!r}.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6


def _known(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Refuse a key that means nothing, so that no policy is lost to a slip of the pen."""
    for name in table:
        if name not in keys:
            place = f" in {where}" if where else ""
            stage = re.fullmatch(r"\d+(\.\d+)*", name)
            hint = " (a stage stands in quotes)" if stage else ""
            raise PolicyError(
                f"`{name}`{place} is no policy{hint}; known are {', '.join(sorted(keys))}."
            )
