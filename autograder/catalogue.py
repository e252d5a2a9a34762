"""The catalogue of a lab: hidden cases, mistakes with their hints, alternatives, model answers.

It is written in `autograder/hidden/labN_topic.py`, which exists only where grading happens.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aisys.course import Case
from aisys.course.probes import Verdict

Draw = Callable[[np.random.Generator], list[Case]]


class CatalogueError(Exception):
    """A lab's catalogue does not fit its exercises."""


@dataclass(frozen=True)
class Mistake:
    """A wrong attempt that students make: it must lose points, and it gets a hint of its own.

    Attributes:
        key: The exercise, such as `"1.3 im2col"`.
        title: What is wrong, in a few words, for the instructor's report.
        hint: One or two sentences for the student.
        replace: Edits that turn the reference's source into the mistake; each old text must occur
            exactly once.
        source: The whole attempt instead, where edits do not serve.
    """

    key: str
    title: str
    hint: str
    replace: dict[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Alternative:
    """A correct attempt, written differently from the reference; it must get full points."""

    key: str
    source: str
    title: str = "written differently"


@dataclass(frozen=True)
class Catalogue:
    """Everything that is hidden about a lab."""

    lab: str
    cases: dict[str, Draw]
    verdicts: dict[str, Verdict]
    mistakes: tuple[Mistake, ...]
    alternatives: tuple[Alternative, ...]
    answers: dict[str, str]

    def mistakes_of(self, key: str) -> list[Mistake]:
        """The mistakes catalogued for an exercise."""
        return [mistake for mistake in self.mistakes if mistake.key == key]

    def alternatives_of(self, key: str) -> list[Alternative]:
        """The alternatives catalogued for an exercise."""
        return [alternative for alternative in self.alternatives if alternative.key == key]


def load_catalogue(lab: str) -> Catalogue:
    """Load a lab's catalogue; raises CatalogueError where there is none.

    It stands in one module, or in several that the lab's package names in `STAGES`.
    """
    try:
        module = importlib.import_module(f"autograder.hidden.{lab}")
    except ModuleNotFoundError as error:
        if error.name != f"autograder.hidden.{lab}":
            raise
        raise CatalogueError(
            f"{lab} has no catalogue: autograder/hidden/{lab}.py is missing."
        ) from None
    stages = getattr(module, "STAGES", (module,))

    def by_name(what: str) -> dict[str, Any]:
        return {name: value for stage in stages for name, value in getattr(stage, what, {}).items()}

    def listed(what: str) -> tuple[Any, ...]:
        return tuple(entry for stage in stages for entry in getattr(stage, what, ()))

    return Catalogue(
        lab,
        by_name("CASES"),
        by_name("VERDICTS"),
        listed("MISTAKES"),
        listed("ALTERNATIVES"),
        by_name("ANSWERS"),
    )
