"""The catalogue of Lab 3, a module for each stage."""

from typing import Any

from autograder.hidden.lab3_cuda import (
    stage_3_1,
    stage_3_2,
    stage_3_3,
    stage_3_4,
    stage_3_5,
    stage_3_6,
    stage_3_7,
    stage_3_8,
)

STAGES: tuple[Any, ...] = (
    stage_3_1,
    stage_3_2,
    stage_3_3,
    stage_3_4,
    stage_3_5,
    stage_3_6,
    stage_3_7,
    stage_3_8,
)

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
VERDICTS = {
    name: verdict for stage in STAGES for name, verdict in getattr(stage, "VERDICTS", {}).items()
}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {name: text for stage in STAGES for name, text in getattr(stage, "ANSWERS", {}).items()}
