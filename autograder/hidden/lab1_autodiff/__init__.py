"""The catalogue of Lab 1, a module for each stage."""

from autograder.hidden.lab1_autodiff import convolution, gradients, graph

STAGES = (convolution, graph, gradients)

CASES = {name: draw for stage in STAGES for name, draw in stage.CASES.items()}
MISTAKES = [mistake for stage in STAGES for mistake in stage.MISTAKES]
ALTERNATIVES = [alternative for stage in STAGES for alternative in stage.ALTERNATIVES]
ANSWERS = {"1.5-written": gradients.WRITTEN}
