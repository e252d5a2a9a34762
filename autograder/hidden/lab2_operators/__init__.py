"""The catalogue of Lab 2, a module for each stage."""

from typing import Any

from autograder.hidden.lab2_operators import (
    stage_2_1,
    stage_2_2,
    stage_2_3,
    stage_2_4,
    stage_2_5,
    stage_2_6,
    stage_2_7,
    stage_2_8,
)

STAGES: tuple[Any, ...] = (
    stage_2_1,
    stage_2_2,
    stage_2_3,
    stage_2_4,
    stage_2_5,
    stage_2_6,
    stage_2_7,
    stage_2_8,
)

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
VERDICTS = {
    name: verdict for stage in STAGES for name, verdict in getattr(stage, "VERDICTS", {}).items()
}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {name: text for stage in STAGES for name, text in getattr(stage, "ANSWERS", {}).items()}
