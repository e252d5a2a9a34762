"""Recorded outcomes of the visible cases: what the reference and each catalogued mistake return.

The builder records them, because a student's process has neither. A record is one file a lab,
`aisys/outcomes/labN_topic.msgpack` in a kit and `build/outcomes/` in a clone.
"""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CourseError
from .plain import pack, unpack
from .probes import Case, Outcome, Probe, same
from .slots import LABS, Slot


@dataclass(frozen=True)
class Recorded:
    """What is known of one case of one probe.

    Attributes:
        expected: The outcome of the reference.
        calls: The keys of the exercises that the reference's run called.
        mistakes: A hint and an outcome for every catalogued mistake.
    """

    expected: Outcome
    calls: tuple[str, ...]
    mistakes: tuple[tuple[str, Outcome], ...]


def lab_name(number: int) -> str:
    """A lab's name, such as `"lab1_autodiff"`."""
    return f"lab{number}_{LABS.get(number, 'unknown')}"


def outcomes_file(lab: int) -> Path:
    """Where the record of a lab is, in a kit or in a clone."""
    packaged = Path(__file__).parents[1] / "outcomes" / f"{lab_name(lab)}.msgpack"
    if packaged.exists():
        return packaged
    return Path(__file__).parents[3] / "build" / "outcomes" / packaged.name


def write_outcomes(path: Path, records: dict[str, Recorded], exercises: Sequence[str] = ()) -> None:
    """Write a lab's record.

    Args:
        path: The file.
        records: What is known of each case, by its `case_key`.
        exercises: The keys of the lab's exercises in its notebook's order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = {
        key: {
            "expected": outcome_to_plain(record.expected),
            "calls": list(record.calls),
            "mistakes": [[hint, outcome_to_plain(outcome)] for hint, outcome in record.mistakes],
        }
        for key, record in records.items()
    }
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(pack({"cases": cases, "exercises": list(exercises)}))
    unfinished.replace(path)  # a reader sees the old record or the new one
    _read.cache_clear()


def recorded(lab: int, probe: Probe, case: Case) -> Recorded:
    """The record of a visible case; raises CourseError where it was never made."""
    path = outcomes_file(lab)
    if not path.exists():
        raise CourseError(
            f"The expected results of {lab_name(lab)} are missing ({path.name}): "
            "in a clone run `make build`, in a kit install its wheel again."
        )
    records = _read(path, path.stat().st_mtime_ns).cases
    key = case_key(probe, case)
    if key not in records:
        raise CourseError(
            f"The expected results of {probe.key} are older than its check: run `make build`."
        )
    return records[key]


def place_in_notebook(slot: Slot) -> tuple[int, int, int, int]:
    """By what exercises are sorted to stand as in the notebooks, also those of several labs.

    Exercises that the record does not name come last in their stage, in the order of definition.
    """
    lab, stage, defined = slot.order
    path = outcomes_file(lab)
    listed = _read(path, path.stat().st_mtime_ns).exercises if path.exists() else ()
    return lab, stage, listed.index(slot.key) if slot.key in listed else len(listed), defined


def case_key(probe: Probe, case: Case) -> str:
    """The key of a case in a record."""
    return f"{probe.name}/{case.name}/{case.seed}"


def hint_for(probe: Probe, got: Outcome, mistakes: tuple[tuple[str, Outcome], ...]) -> str:
    """The hint of the catalogued mistake that returns what came back, or `""`."""
    if got.status in ("timeout", "hole"):
        return ""
    return next((hint for hint, outcome in mistakes if same(probe, got, outcome)), "")


def outcome_to_plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a dict of plain data."""
    return {
        "status": outcome.status,
        "value": outcome.value,
        "error": outcome.error,
        "message": outcome.message,
        "frames": list(outcome.frames),
    }


def outcome_from_plain(data: Any) -> Outcome:
    """An outcome from an untrusted dict; raises CourseError where it is malformed."""
    texts = ("status", "error", "message")
    if (
        not isinstance(data, dict)
        or any(not isinstance(data.get(name), str) for name in texts)
        or not isinstance(data.get("frames"), list)
        or any(not isinstance(frame, str) for frame in data["frames"])
        or data["status"] not in ("returned", "raised", "timeout", "hole")
    ):
        raise CourseError("The answer is no outcome of a probe.")
    frames = tuple(frame[:300] for frame in data["frames"][:6])
    error, message = data["error"][:100], data["message"][:500]
    return Outcome(data["status"], data.get("value"), error, message, frames)


@dataclass(frozen=True)
class _Record:
    """A lab's record."""

    cases: dict[str, Recorded]
    exercises: tuple[str, ...]


@functools.lru_cache(maxsize=16)
def _read(path: Path, modified: int) -> _Record:
    record = unpack(path.read_bytes())
    cases = {
        key: Recorded(
            outcome_from_plain(data["expected"]),
            tuple(data["calls"]),
            tuple((hint, outcome_from_plain(outcome)) for hint, outcome in data["mistakes"]),
        )
        for key, data in record.get("cases", {}).items()  # older records have no such part
    }
    return _Record(cases, tuple(record.get("exercises", ())))
