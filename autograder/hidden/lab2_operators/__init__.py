"""The catalogue of Lab 2, a module for each stage."""

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

STAGES = (
    stage_2_1,
    stage_2_2,
    stage_2_3,
    stage_2_4,
    stage_2_5,
    stage_2_6,
    stage_2_7,
    stage_2_8,
)
