"""The probes of Lab 3, a module for each stage; importing this package registers them all."""

from aisys.cuda.checks import (
    array_module,
    debugging,
    matmul,
    operator,
    reduction,
    threads,
    transpose,
    tuning,
)
from aisys.cuda.emulator.building import remember_host

__all__ = [
    "array_module",
    "debugging",
    "matmul",
    "operator",
    "reduction",
    "threads",
    "transpose",
    "tuning",
    "warm_up",
]


def warm_up() -> None:
    """Compile the emulator, which takes seconds, before kernels are forked."""
    import torch._dynamo  # noqa: F401 – a second, when a custom operator is first called

    remember_host()
