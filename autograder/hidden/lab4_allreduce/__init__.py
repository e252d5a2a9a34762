"""The catalogue of Lab 4, a module for each stage."""

from typing import Any

from autograder.hidden.lab4_allreduce import (
    stage_4_1,
    stage_4_2,
    stage_4_3,
    stage_4_4,
    stage_4_5,
    stage_4_6,
    stage_4_7,
    stage_4_8,
)

STAGES: tuple[Any, ...] = (
    stage_4_1,
    stage_4_2,
    stage_4_3,
    stage_4_4,
    stage_4_5,
    stage_4_6,
    stage_4_7,
    stage_4_8,
)

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
VERDICTS = {
    name: verdict for stage in STAGES for name, verdict in getattr(stage, "VERDICTS", {}).items()
}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {name: text for stage in STAGES for name, text in getattr(stage, "ANSWERS", {}).items()}
