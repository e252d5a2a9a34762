"""The student's side of a slot: `@attempt`, `%%attempt`, and loading a file of attempts."""

import inspect
import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from .errors import AttemptError
from .fitting import adopt, unwrapped
from .slots import Slot, find, of_stage, slots

T = TypeVar("T")

ENVIRONMENT_VARIABLE = "AISYS_ATTEMPTS"

_helpers: dict[tuple[type, str], list[str]] = {}


def attempt(stage: str) -> Callable[[T], T]:
    """Put the function or class below into its exercise's slot.

    Args:
        stage: The stage, such as `"1.5"`; the exercise is found by the name of what is decorated.
            A class may hold one or several methods that are exercises of that stage; helper methods
            beside them are added to the class.

    Returns:
        A decorator that gives back the slot itself, so that the notebook's name and the course's
        are one and the same.

    Raises:
        AttemptError: Unknown stage, wrong name, wrong signature, or wrong kind.
    """

    def put(thing: T) -> T:
        of_stage(stage)
        source = _source(thing, sys._getframe(1).f_code.co_filename)
        name = getattr(thing, "__name__", repr(thing))
        methods = [s for s in slots(stage) if s.kind == "method" and s.name.startswith(f"{name}.")]
        if isinstance(thing, type) and methods:
            return _fill_methods(stage, thing, methods, source)  # type: ignore[return-value]
        slot = find(f"{stage} {name}")
        slot.fill(thing, source)
        return _standing(slot)

    return put


def attempt_text(key: str, text: str) -> None:
    """Put a text into its exercise's slot; what `%%attempt` does with its cell."""
    find(key).fill(text, text)


def attempt_magic(line: str, cell: str) -> None:
    """The cell magic `%%attempt STAGE NAME` for exercises in another language."""
    key = " ".join(line.split())
    if " " not in key:
        raise AttemptError(f"Begin the cell with `%%attempt STAGE NAME`; this says {line!r}.")
    slot = find(key)
    if slot.kind != "text":
        raise AttemptError(f"{key} is Python: write it below `@attempt({slot.stage!r})`.")
    attempt_text(key, cell)


def load_attempts(path: str | os.PathLike[str]) -> None:
    """Load a file that `export_attempts` wrote; raises AttemptError where it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise AttemptError(
            f"{ENVIRONMENT_VARIABLE} names {file}, which cannot be read ({error.strerror}); "
            "write it with export_attempts()."
        ) from None
    linecache.cache[str(file)] = (len(text), None, text.splitlines(True), str(file))
    module = ModuleType("aisys_attempts")
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up
    exec(compile(text, str(file), "exec"), vars(module))


def load_from_environment() -> None:
    """Load the attempts that `AISYS_ATTEMPTS` names, if it is set."""
    path = os.environ.get(ENVIRONMENT_VARIABLE)
    if path:
        load_attempts(path)


def clear_attempts() -> None:
    """Take every attempt of this process out again."""
    for slot in slots():
        slot.clear()
    for owner, stage in list(_helpers):
        _drop_helpers(owner, stage)


def _fill_methods(stage: str, thing: type, methods: list[Slot], source: str) -> type:
    name, members = thing.__name__, vars(thing)
    exercises = {slot.name.partition(".")[2]: slot for slot in methods}
    given = {short: slot for short, slot in exercises.items() if short in members}
    if not given:
        names = ", ".join(f"`{short}`" for short in exercises)
        raise AttemptError(f"`{name}` in stage {stage} has the exercises {names}; yours has none.")
    owner: type = getattr(sys.modules[methods[0].module], name)
    helpers = [
        short for short, member in members.items() if short not in given and _is_own(short, member)
    ]
    for short, slot in given.items():
        slot.fit(unwrapped(members[short]))
    for short in helpers:
        if short in vars(owner) and short not in _helpers.get((owner, stage), []):
            raise AttemptError(_taken(owner, short))
    _drop_helpers(owner, stage)
    for short in [*given, *helpers]:
        adopt(members[short], thing, owner)
    for short, slot in given.items():
        slot.fill(unwrapped(members[short]), source)
    for short in helpers:
        setattr(owner, short, members[short])
    _helpers[owner, stage] = helpers
    return owner


def _is_own(name: str, member: Any) -> bool:
    """Whether a member of a class was written by its author; every class has some that were not."""
    if not (name.startswith("__") and name.endswith("__")):
        return True
    return isinstance(unwrapped(member), FunctionType) and not name.startswith("__annotate")


def _taken(owner: type, name: str) -> str:
    """Why a helper method cannot have this name."""
    full = f"{owner.__name__}.{name}"
    stages = [s.stage for s in slots() if s.name == full]
    stages += [s for (other, s), names in _helpers.items() if other is owner and name in names]
    if stages:
        return f"`{full}` is yours in stage {stages[0]} already; choose another name."
    return f"`{full}` is given by the course; choose another name."


def _drop_helpers(owner: type, stage: str) -> None:
    for name in _helpers.pop((owner, stage), []):
        delattr(owner, name)


def _standing(slot: Slot) -> Any:
    """What the course's module has under the exercise's name."""
    return getattr(sys.modules[slot.module], slot.name, slot.standing)


def _source(thing: Any, caller: str) -> str:
    """The text that an attempt was written in: its whole cell, or its whole file."""
    code = getattr(inspect.unwrap(thing), "__code__", None) if callable(thing) else None
    for file in (code.co_filename if code else "", caller):
        lines = linecache.getlines(file) if file else []
        if lines:
            return "".join(lines)
    return ""
