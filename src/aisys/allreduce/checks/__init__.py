"""The probes of Lab 4, a module for each stage; importing this package registers them all."""

from aisys.allreduce.checks import (
    compression,
    costs,
    doubling,
    error_feedback,
    hierarchy,
    overlap,
    real_systems,
    ring,
    trees,
)
from aisys.allreduce.checks.real_systems import warm_up

__all__ = [
    "compression",
    "costs",
    "doubling",
    "error_feedback",
    "hierarchy",
    "overlap",
    "real_systems",
    "ring",
    "trees",
    "warm_up",
]
