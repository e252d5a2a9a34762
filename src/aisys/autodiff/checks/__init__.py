"""The probes of Lab 1, a module for each part; importing this package registers them all.

`evaluation` holds what the probes of graphs share.
"""

from aisys.autodiff.checks import (
    convolution,
    execution,
    gradients,
    graph,
    prefetch,
    profiling,
    roofline,
    training_log,
)

__all__ = [
    "convolution",
    "execution",
    "gradients",
    "graph",
    "prefetch",
    "profiling",
    "roofline",
    "training_log",
]
