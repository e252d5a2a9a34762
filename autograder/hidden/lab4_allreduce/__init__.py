"""The catalogue of Lab 4, a module for each stage."""

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

STAGES = (
    stage_4_1,
    stage_4_2,
    stage_4_3,
    stage_4_4,
    stage_4_5,
    stage_4_6,
    stage_4_7,
    stage_4_8,
)
