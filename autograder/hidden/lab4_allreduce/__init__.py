"""The catalogue of Lab 4, a module for each stage."""

from typing import Any

STAGES: tuple[Any, ...] = ()

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
VERDICTS = {
    name: verdict for stage in STAGES for name, verdict in getattr(stage, "VERDICTS", {}).items()
}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {name: text for stage in STAGES for name, text in getattr(stage, "ANSWERS", {}).items()}
