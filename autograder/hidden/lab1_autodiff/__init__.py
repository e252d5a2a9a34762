"""The catalogue of Lab 1, a module for each stage."""

from autograder.hidden.lab1_autodiff import (
    convolution,
    gradients,
    graph,
    stage_1_1,
    stage_1_2,
    stage_1_6,
    stage_1_7,
    stage_1_8,
)

STAGES = (stage_1_1, stage_1_2, convolution, graph, gradients, stage_1_6, stage_1_7, stage_1_8)

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {
    **stage_1_1.ANSWERS,
    **stage_1_2.ANSWERS,
    "1.5-written": gradients.WRITTEN,
    **stage_1_7.ANSWERS,
}
