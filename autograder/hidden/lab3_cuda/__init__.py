"""The catalogue of Lab 3, a module for each stage."""

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

STAGES = (
    stage_3_1,
    stage_3_2,
    stage_3_3,
    stage_3_4,
    stage_3_5,
    stage_3_6,
    stage_3_7,
    stage_3_8,
)
