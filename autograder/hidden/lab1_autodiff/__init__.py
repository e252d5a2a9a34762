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
