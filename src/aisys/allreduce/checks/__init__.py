"""The probes of Lab 4, a module for each stage; importing this package registers them all."""

from aisys.allreduce.checks import (
    buckets,
    compression,
    costs,
    doubling,
    error_feedback,
    hierarchy,
    real_systems,
    reducer,
    ring,
    trees,
)
from aisys.allreduce.checks.real_systems import warm_up

__all__ = [
    "buckets",
    "compression",
    "costs",
    "doubling",
    "error_feedback",
    "hierarchy",
    "real_systems",
    "reducer",
    "ring",
    "trees",
    "warm_up",
]
