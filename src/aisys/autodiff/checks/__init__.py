"""The probes of Lab 1, a module for each part; importing this package registers them all.

`evaluation` holds what the probes of graphs share, `programs` the language of those of 1.7.
"""

from aisys.autodiff.checks import (
    convolution,
    execution,
    fusion,
    gradients,
    graph,
    handwritten,
    lenet,
    passes,
    prefetch,
    profiling,
    roofline,
    training_log,
)

__all__ = [
    "convolution",
    "execution",
    "fusion",
    "gradients",
    "graph",
    "handwritten",
    "lenet",
    "passes",
    "prefetch",
    "profiling",
    "roofline",
    "training_log",
]
