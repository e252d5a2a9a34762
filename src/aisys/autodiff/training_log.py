"""Structured logs: one JSON object a line, so that a program can ask them questions.

    {"time": 1764000000.25, "event": "phase", "step": 12, "phase": "forward", "seconds": 0.0041}

Python's own `logging` writes them: the message is the event, the rest comes in `extra`.
"""

import json
import logging
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisys.course import exercise


@dataclass(frozen=True)
class SlowStep:
    """Where a training run lost the most time at once.

    Attributes:
        step: The step's number.
        phase: The phase of the step, such as "backward".
        seconds: How long it took.
        usual_seconds: How long this phase usually takes.
    """

    step: int
    phase: str
    seconds: float
    usual_seconds: float


@exercise("1.1", points=2)
def slow_step(lines: Iterable[str]) -> SlowStep:
    """Find the phase of a step that lost the most time, from the log of a training run.

    A line with "event": "phase" is a JSON object that says how long one phase of one step took,
    in "seconds"; its "step" and "phase" say which. Lines come in any order. To be passed over are

    - other events, which may have a "step" and "seconds" of their own;
    - lines that are no JSON object: libraries print into the same stream, and the last line of a
      program that was killed is cut off;
    - the first step (the smallest number in a phase line). It warms up: memory is allocated,
      libraries choose their algorithms.

    A phase's usual time is the median over its steps. What a step lost in a phase is its time
    minus the usual time of that phase: a phase that always takes long loses nothing, and a short
    one that takes three times as long loses little.

    Args:
        lines: The lines of the log; every phase has at least one step after the first.

    Returns:
        The step and phase that lost the most.
    """
    seconds: dict[str, dict[int, float]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == "phase":
            seconds.setdefault(entry["phase"], {})[entry["step"]] = entry["seconds"]

    first = min(step for of_phase in seconds.values() for step in of_phase)
    found = []
    for phase, of_phase in seconds.items():
        of_phase.pop(first, None)
        usual = statistics.median(of_phase.values())
        found += [SlowStep(step, phase, taken, usual) for step, taken in of_phase.items()]
    return max(found, key=lambda each: each.seconds - each.usual_seconds)


class JsonLines(logging.Formatter):
    """Writes a log record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, its message as "event", and its fields."""
        entry: dict[str, Any] = {"time": round(record.created, 6), "event": record.getMessage()}
        return json.dumps(entry | getattr(record, "fields", {}))


def open_log(path: str | os.PathLike[str]) -> logging.Logger:
    """A logger that writes JSON lines into a file, which is emptied first.

    Args:
        path: The file.
    """
    log = logging.getLogger(f"aisys.training.{Path(path).name}")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    return log


def note(log: logging.Logger, event: str, **fields: object) -> None:
    """Write one event with its fields."""
    log.info(event, extra={"fields": fields})


def read_log(path: str | os.PathLike[str], event: str) -> list[dict[str, Any]]:
    """All entries of one event, of a log that is complete.

    Args:
        path: The file.
        event: Such as "phase".
    """
    entries = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
    return [entry for entry in entries if entry["event"] == event]


def to_tensorboard(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Copy losses and times of a log into TensorBoard's format, where TensorBoard is installed.

    Args:
        path: The log.
        folder: Receives the files for TensorBoard.

    Returns:
        One sentence: how to look at them, or what is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return (
            "TensorBoard is not installed; `pip install tensorboard` brings it. The rest goes on."
        )
    with SummaryWriter(str(folder)) as writer:
        for entry in read_log(path, "loss"):
            writer.add_scalar("loss", entry["loss"], entry["step"])
        for entry in read_log(path, "phase"):
            writer.add_scalar(f"seconds/{entry['phase']}", entry["seconds"], entry["step"])
    return f"To look at it, run `tensorboard --logdir {folder}` in a terminal."
