"""The probes of Lab 2, a module for each stage; importing this package registers them all."""

from aisys.operators.checks import (
    citizenship,
    convolution,
    cpp,
    linear,
    memory,
    placement,
    stability,
    straight_through,
)
from aisys.operators.checks.citizenship import warm_up

__all__ = [
    "citizenship",
    "convolution",
    "cpp",
    "linear",
    "memory",
    "placement",
    "stability",
    "straight_through",
    "warm_up",
]
