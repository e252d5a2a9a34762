"""Exercises as slots: a call reaches the student's attempt where there is one, else the reference.

The decorator `exercise` stands on the reference, the only place where signature, docstring and
solution are written. What it returns has the same name, signature and identity for the whole life
of the process; only the code behind it changes.
"""

import functools
import importlib
import importlib.resources
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

from .errors import AttemptError, CourseError, Hole
from .kitinfo import is_open, kit

T = TypeVar("T")

LABS = {
    1: "autodiff",
    2: "operators",
    3: "cuda",
    4: "allreduce",
    5: "containers",
    6: "scheduling",
    7: "distributed",
    8: "automl",
    9: "rl",
}
"""The nine labs by number, with the subpackage of `aisys` that each is about."""

BEGIN_SOLUTION, END_SOLUTION = "BEGIN SOLUTION", "END SOLUTION"
BEGIN_START, END_START = "BEGIN START", "END START"

_slots: dict[str, "Slot"] = {}
_recorded: list[dict[str, bool]] = []


class Slot:
    """One exercise: its reference, the attempt that replaces it, and which of the two is in place.

    Attributes:
        key: Stage and name, such as `"1.5 multiply_gradient"`.
        stage: The stage, such as `"1.5"`.
        name: The function's name, `"Class.method"`, the class's name, or a text's name.
        kind: `"function"`, `"method"`, `"class"` or `"text"`.
        points: What the exercise is worth.
        module: The module that holds the reference.
        attempt: The student's object, or None.
        source: The text of the attempt, or None.
    """

    def __init__(self, stage: str, name: str, kind: str, points: float, module: str) -> None:
        self.key = f"{stage} {name}"
        self.stage, self.name, self.kind = stage, name, kind
        self.points, self.module = points, module
        self.attempt: Any = None
        self.source: str | None = None
        self.runs = 0
        known = _slots.get(self.key)
        if known is not None and known.module != module:
            raise CourseError(f"{self.key} is defined twice: in {known.module} and in {module}.")
        _slots[self.key] = self

    @property
    def order(self) -> tuple[int, int, int]:
        """The exercise's place in the course: lab, stage, and order of definition."""
        lab, _, stage = self.stage.partition(".")
        return int(lab), int(stage), list(_slots).index(self.key)

    def fill(self, attempt: Any, source: str) -> None:
        """Put the student's attempt in place; raises AttemptError where it does not fit."""
        self._fit(attempt)
        self._install(attempt)
        self.attempt, self.source = attempt, source
        self.runs += 1

    def clear(self) -> None:
        """Take the attempt out again, so that the reference (in a kit, the hole) is in place."""
        if self.attempt is not None:
            self._install(None)
        self.attempt = self.source = None

    def record(self) -> None:
        """Note, for every recording that is under way, that this exercise was called."""
        for recording in _recorded:
            recording[self.key] = self.attempt is not None

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off."""

    def _fit(self, attempt: Any) -> None:
        raise NotImplementedError

    def _install(self, attempt: Any) -> None:
        raise NotImplementedError


class FunctionSlot(Slot):
    """A function, or one method of a class that is otherwise given."""

    def __init__(self, stage: str, function: Callable[..., Any], points: float) -> None:
        name = function.__qualname__.rpartition("<locals>.")[2]
        kind = "method" if "." in name else "function"
        super().__init__(stage, name, kind, points, function.__module__)
        self.reference = function
        self.parameters = list(inspect.signature(function).parameters)
        self.current = function

    def call(self) -> Callable[..., Any]:
        """The function that stands in the module for good and calls whatever is in place."""

        @functools.wraps(self.reference)
        def slot(*args: Any, **kwargs: Any) -> Any:
            return self.current(*args, **kwargs)

        slot.__aisys_slot__ = self  # type: ignore[attr-defined]
        return slot

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off."""
        target = self.attempt if self.attempt is not None else self.reference
        self.current = _noting(self, target) if on else target

    def _fit(self, attempt: Any) -> None:
        if not callable(attempt) or isinstance(attempt, type):
            raise AttemptError(f"{self.key} is a function; yours is {_kind(attempt)}.")
        parameters = list(inspect.signature(attempt).parameters)
        if parameters != self.parameters:
            short = self.name.rpartition(".")[2]
            raise AttemptError(
                f"`{short}` takes ({', '.join(self.parameters)}); "
                f"yours takes ({', '.join(parameters)})."
            )

    def _install(self, attempt: Any) -> None:
        if self.kind == "method" and attempt is not None:
            owner = getattr(importlib.import_module(self.module), self.name.split(".")[0], None)
            _retarget_super(attempt, owner)
        self.current = attempt if attempt is not None else self.reference
        if _recorded:
            self.current = _noting(self, self.current)


class ClassSlot(Slot):
    """A whole class. It is filled in place, so that every reference to it stays valid."""

    _KEPT = {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__"}

    def __init__(self, stage: str, cls: type, points: float) -> None:
        if "__slots__" in vars(cls):
            raise CourseError(f"{stage} {cls.__name__}: a class exercise cannot have __slots__.")
        name = cls.__qualname__.rpartition("<locals>.")[2]
        super().__init__(stage, name, "class", points, cls.__module__)
        self.cls = cls
        self.reference = self._members(cls)

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off, for every function of the class."""
        members = self._members(self.attempt) if self.attempt is not None else self.reference
        for name, member in members.items():
            if on and isinstance(member, FunctionType):
                type.__setattr__(self.cls, name, _noting(self, member))
            elif on and isinstance(member, staticmethod):
                noting = staticmethod(_noting(self, member.__func__))
                type.__setattr__(self.cls, name, noting)
            else:
                type.__setattr__(self.cls, name, member)

    def _members(self, cls: type) -> dict[str, Any]:
        return {name: value for name, value in vars(cls).items() if name not in self._KEPT}

    def _fit(self, attempt: Any) -> None:
        if not isinstance(attempt, type):
            raise AttemptError(f"{self.key} is a class; yours is {_kind(attempt)}.")
        if "__slots__" in vars(attempt):
            raise AttemptError(f"{self.key}: leave __slots__ out, they cannot be filled in place.")
        if attempt.__bases__ != self.cls.__bases__:
            bases = ", ".join(base.__name__ for base in self.cls.__bases__)
            yours = ", ".join(base.__name__ for base in attempt.__bases__)
            raise AttemptError(f"`{self.name}` inherits from {bases}; yours inherits from {yours}.")
        for name, member in self.reference.items():
            inner = getattr(member, "__func__", member)
            theirs = vars(attempt).get(name)
            theirs = getattr(theirs, "__func__", theirs)
            if not isinstance(inner, FunctionType) or not isinstance(theirs, FunctionType):
                continue
            expected = list(inspect.signature(inner).parameters)
            got = list(inspect.signature(theirs).parameters)
            if got != expected:
                raise AttemptError(
                    f"`{self.name}.{name}` takes ({', '.join(expected)}); "
                    f"yours takes ({', '.join(got)})."
                )

    def _install(self, attempt: Any) -> None:
        for name in self._members(self.cls):
            type.__delattr__(self.cls, name)
        members = self.reference if attempt is None else self._members(attempt)
        for name, member in members.items():
            _retarget_super(member, self.cls)
            type.__setattr__(self.cls, name, member)
        if _recorded:
            self.record()


class TextSlot(Slot):
    """A text in another language: a CUDA kernel, a C++ operator, a Containerfile, a manifest.

    The file stands beside the module. The lines between `BEGIN SOLUTION` and `END SOLUTION` are
    the solution; lines between `BEGIN START` and `END START`, if any, are what the student begins
    from instead (the faulty text of a find-the-bug exercise).
    """

    def __init__(
        self, stage: str, name: str, file: str, points: float, language: str, module: str
    ) -> None:
        super().__init__(stage, name, "text", points, module)
        self.file, self.language = file, language

    @property
    def path(self) -> Any:
        """Where the marked file stands."""
        return importlib.resources.files(self.module.rpartition(".")[0]) / self.file

    @property
    def marked(self) -> str:
        """The file as it is written, markers included."""
        return self.path.read_text(encoding="utf-8")

    @property
    def text(self) -> str:
        """The student's text where there is one, otherwise the reference; in a kit a Hole."""
        self.record()
        if self.attempt is not None:
            return self.attempt
        if kit() and not is_open(self.key):
            raise Hole(self.key)
        return solved(self.marked)

    def _fit(self, attempt: Any) -> None:
        if not isinstance(attempt, str):
            raise AttemptError(f"{self.key} is a text; yours is {_kind(attempt)}.")
        if not attempt.strip():
            raise AttemptError(
                f"{self.key}: the cell is empty; write the text below its first line."
            )

    def _install(self, attempt: Any) -> None:
        pass


def exercise(stage: str, *, points: float) -> Callable[[T], T]:
    """Mark a reference function, method or class as an exercise of a stage.

    Args:
        stage: The stage, such as `"1.5"`.
        points: What the exercise is worth; the points of a stage are the sum over its exercises.

    Returns:
        A decorator whose result calls the attempt where there is one, the reference otherwise.
    """

    def mark(reference: T) -> T:
        if isinstance(reference, type):
            ClassSlot(stage, reference, points)
            return reference
        if not isinstance(reference, FunctionType):
            raise CourseError(f"exercise({stage!r}) marks functions, methods and classes only.")
        return FunctionSlot(stage, reference, points).call()  # type: ignore[return-value]

    return mark


def text_exercise(stage: str, name: str, file: str, *, points: float, language: str) -> TextSlot:
    """Declare a text exercise whose reference is a file beside the calling module.

    Args:
        stage: The stage, such as `"3.3"`.
        name: The exercise's name, such as `"transpose_tiled"`.
        file: The file's name, relative to the package of the calling module.
        points: What the exercise is worth.
        language: The language's name, as in `"cuda"`, `"cpp"`, `"yaml"`.
    """
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    module = frame.f_back.f_globals["__name__"]
    return TextSlot(stage, name, file, points, language, module)


def slots(stage: str | None = None) -> list[Slot]:
    """Every exercise that is known in this process, or those of one stage, in the course's order."""
    chosen = [slot for slot in _slots.values() if stage is None or slot.stage == stage]
    return sorted(chosen, key=lambda slot: slot.order)


def find(key: str) -> Slot:
    """The exercise with this key; raises AttemptError, naming the choices, where there is none."""
    stage, _, name = key.partition(" ")
    of_stage(stage)
    if key not in _slots:
        names = ", ".join(f"`{slot.name}`" for slot in slots(stage))
        raise AttemptError(f"Stage {stage} has no exercise `{name}`; its exercises are {names}.")
    return _slots[key]


def of_stage(stage: str) -> list[Slot]:
    """The exercises of a stage; its lab is imported first. Raises AttemptError where there is none."""
    number = stage.partition(".")[0]
    if not stage.replace(".", "", 1).isdigit() or "." not in stage:
        raise AttemptError(f'A stage is written like "1.5"; this is {stage!r}.')
    load_lab(int(number))
    if not slots(stage):
        known = sorted(
            {slot.stage for slot in slots()}, key=lambda s: tuple(map(int, s.split(".")))
        )
        of_lab = [s for s in known if s.startswith(number + ".")]
        raise AttemptError(
            f"There is no stage {stage}; the stages of lab {number} are {', '.join(of_lab)}."
            if of_lab
            else f"There is no lab {number} here; the stages that exist are {', '.join(known)}."
        )
    return slots(stage)


def load_lab(number: int) -> None:
    """Import a lab's checks, and with them its exercises, where this installation has the lab."""
    package = LABS.get(number)
    if package and importlib.util.find_spec(f"aisys.{package}") is not None:
        importlib.import_module(f"aisys.{package}.checks")


@contextmanager
def recording() -> Iterator[dict[str, bool]]:
    """Record which exercises are called: key to whether an attempt (True) or a reference ran."""
    calls: dict[str, bool] = {}
    _recorded.append(calls)
    for slot in _slots.values():
        slot.watch(True)
    try:
        yield calls
    finally:
        _recorded.pop()
        for slot in _slots.values():
            slot.watch(bool(_recorded))


def solved(marked: str) -> str:
    """A marked text with its solution in place: markers and the start text are taken out."""
    return _select(marked, keep_solution=True)


def started(marked: str, stub: str) -> str:
    """A marked text as the student begins: the start text, or `stub` in place of the solution."""
    has_start = BEGIN_START in marked
    return _select(marked, keep_solution=False, stub=None if has_start else stub)


def _select(marked: str, keep_solution: bool, stub: str | None = None) -> str:
    lines, region = [], ""
    for line in marked.splitlines():
        if BEGIN_SOLUTION in line or BEGIN_START in line:
            region = "solution" if BEGIN_SOLUTION in line else "start"
            if region == "solution" and not keep_solution and stub is not None:
                indent = line[: len(line) - len(line.lstrip())]
                lines += [indent + part for part in stub.splitlines()]
        elif END_SOLUTION in line or END_START in line:
            region = ""
        elif region == "" or (region == "solution") == keep_solution:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _noting(slot: Slot, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        slot.record()
        return function(*args, **kwargs)

    return noting


def _retarget_super(member: Any, cls: type | None) -> None:
    """Make zero-argument `super()` of a function written in another class body mean `cls`."""
    for function in (member, getattr(member, "__func__", None), getattr(member, "fget", None)):
        if isinstance(function, FunctionType) and "__class__" in function.__code__.co_freevars:
            index = function.__code__.co_freevars.index("__class__")
            assert function.__closure__ is not None
            function.__closure__[index].cell_contents = cls


def _kind(thing: Any) -> str:
    if isinstance(thing, type):
        return "a class"
    return "a function" if callable(thing) else f"a value of type {type(thing).__name__}"
