"""The small mechanism that exercises and checks are made of.

Read in this order: `slots` (an exercise is a slot that an attempt fills; `fitting` says what fits),
`attempts` (the student's side), `failed_cells` (what did not become an attempt), `exporting`
(attempts that travel), `plain` (what may cross the border), `probes` (one run of a check beside an
attempt), `compare`, `outcomes` (what the builder recorded), `checking`, `values` and `display`
(what a student sees).
"""

from typing import Any

from .attempts import attempt, attempt_magic, attempt_text, clear_attempts
from .checking import check
from .compare import Difference, compare
from .errors import (
    AttemptError,
    CheckFailed,
    CourseError,
    Hole,
    PlainDataError,
    TimeLimit,
)
from .exporting import export_attempts
from .failed_cells import watch
from .plain import Plain
from .probes import Case, Probe, probe
from .progress import progress, whole_system
from .resuming import resume
from .shell import current_shell
from .slots import TextSlot, exercise, text_exercise

__all__ = [
    "AttemptError",
    "Case",
    "CheckFailed",
    "CourseError",
    "Difference",
    "Hole",
    "Plain",
    "PlainDataError",
    "Probe",
    "TextSlot",
    "TimeLimit",
    "attempt",
    "attempt_text",
    "check",
    "clear_attempts",
    "compare",
    "exercise",
    "export_attempts",
    "probe",
    "progress",
    "resume",
    "text_exercise",
    "whole_system",
]


def load_ipython_extension(shell: Any) -> None:
    """Give a shell the cell magic `%%attempt`, and watch its cells.

    Importing this package does it for the shell that it is imported in.
    """
    shell.register_magic_function(attempt_magic, "cell", "attempt")
    watch(shell)


if current_shell() is not None:
    load_ipython_extension(current_shell())
