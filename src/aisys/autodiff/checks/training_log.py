"""Probe of 1.1: the slow step of a log that is made up from the case."""

import json
from typing import Any

import numpy as np

from aisys.autodiff.training_log import slow_step
from aisys.course import Case, Plain, probe

USUAL = {"load": 2.0, "forward": 6.0, "backward": 9.0, "update": 0.5}
NOISE = ["UserWarning: the loader is slow", "", "null", "[3, 4]", '"phase"', '{"event": "ph']


def log_case(name: str, seed: int, extra: list[list[Any]], **inputs: object) -> Case:
    """A case of a log.

    Args:
        name: Of the case.
        seed: Of the small differences from the usual time.
        extra: [step, phase, milliseconds longer than usual].
        inputs: What differs from the log of eight steps that begins with step 0 and is in order.
    """
    usual = {
        "usual_ms": USUAL,
        "first": 0,
        "steps": 8,
        "rare": [],
        "others": False,
        "noise": False,
        "shuffled": False,
    }
    return Case(name, {**usual, "longer_ms": extra, **inputs}, seed)


def log_lines(case: dict, rng: np.random.Generator) -> list[str]:
    """The lines of the case's log: phases of steps, of which the first is slow, and what else."""
    longer = {(step, phase): extra for step, phase, extra in case["longer_ms"]}
    entries: list[dict[str, Any]] = []
    for step in range(case["first"], case["first"] + case["steps"]):
        for phase, usual in case["usual_ms"].items():
            if phase in case["rare"] and step % 3:
                continue
            milliseconds = usual * rng.uniform(0.95, 1.05) + longer.get((step, phase), 0.0)
            milliseconds *= 10 if step == case["first"] else 1
            entry = {"event": "phase", "step": step, "phase": phase}
            entries.append({**entry, "seconds": round(milliseconds / 1000, 7)})
        if case["others"]:
            entries.append({"event": "loss", "step": step, "loss": 2.3})
            entries.append({"event": "test", "step": step, "phase": "test", "seconds": step * 0.1})
    lines = [json.dumps({"time": 1000.0 + i, **entry}) for i, entry in enumerate(entries)]
    if case["noise"]:
        for number, text in enumerate(NOISE):
            lines.insert(3 * number + 2, text)
    if case["shuffled"]:
        lines = [lines[i] for i in rng.permutation(len(lines))]
    return lines


@probe(
    "1.1 slow_step",
    cases=[
        log_case("a slow backward pass", 1, [[5, "backward", 40.0]]),
        log_case("a short phase that loses little", 2, [[2, "update", 3.0], [6, "load", 9.0]]),
        log_case(
            "a test every third step takes long",
            3,
            [[4, "forward", 25.0]],
            usual_ms={**USUAL, "test": 90.0},
            rare=["test"],
            steps=11,
        ),
        log_case(
            "other lines, and step 40 is the first",
            4,
            [[44, "load", 30.0]],
            first=40,
            others=True,
            noise=True,
            shuffled=True,
        ),
    ],
)
def slow_step_found(case: dict, rng: np.random.Generator) -> Plain:
    """The step, the phase, and both times."""
    found = slow_step(log_lines(case, rng))
    names = ("step", "phase", "seconds", "usual_seconds")
    return {name: getattr(found, name, None) for name in names}
