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
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

from .errors import AttemptError, CourseError, Hole
from .fitting import adopt, kind_of, misfit, unwrapped
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
YOUR_CODE, COMMENT_MARKS = "YOUR CODE HERE", ("//", "#", "--")

_STAGE = re.compile("[0-9]+[.][0-9]+")

_slots: dict[str, "Slot"] = {}
_recorded: list[dict[str, bool]] = []
_turns = itertools.count(1)


class Slot:
    """One exercise: its reference, the attempt that replaces it, and which of the two is in place.

    Attributes:
        key: Stage and name, such as `"1.5 multiply_gradient"`.
        stage: The stage, such as `"1.5"`.
        name: The function's name, `"Class.method"`, the class's name, or a text's name.
        kind: `"function"`, `"method"`, `"class"` or `"text"`.
        points: What the exercise is worth.
        module: The module that holds the reference.
        standing: The function or class that stands in that module for good.
        attempt: The student's object, or None.
        source: The text of the attempt, or None.
        turn: When it was last filled; a number that no other filling in this process has.
    """

    def __init__(self, stage: str, name: str, kind: str, points: float, module: str) -> None:
        self.key = f"{stage} {name}"
        self.stage, self.name, self.kind = stage, name, kind
        self.points, self.module = points, module
        self.standing: Any = None
        self.attempt: Any = None
        self.source: str | None = None
        self.turn = 0
        if not _STAGE.fullmatch(stage):
            raise CourseError(f'{name}: a stage is written like "1.5"; this is {stage!r}.')
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
        self.fit(attempt)
        self.attempt, self.source, self.turn = attempt, source, next(_turns)
        self._install()

    def clear(self) -> None:
        """Take the attempt out again, so that the reference (in a kit, the hole) is in place."""
        if self.attempt is not None:
            self.attempt = self.source = None
            self._install()

    def record(self) -> None:
        """Note, for every recording that is under way, that this exercise was called."""
        for recording in _recorded:
            recording[self.key] = self.attempt is not None

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off."""

    def fit(self, attempt: Any) -> None:
        """Raise AttemptError where an attempt does not fit."""
        raise NotImplementedError

    def _install(self) -> None:
        """Put the attempt in place, or the reference where there is none."""


class FunctionSlot(Slot):
    """A function, or one method of a class that is otherwise given."""

    def __init__(self, stage: str, function: Callable[..., Any], points: float) -> None:
        name = function.__qualname__.rpartition("<locals>.")[2]
        kind = "method" if "." in name else "function"
        super().__init__(stage, name, kind, points, function.__module__)
        self.reference = self.current = function

        @functools.wraps(function)
        def slot(*args: Any, **kwargs: Any) -> Any:
            return self.current(*args, **kwargs)

        self.standing = slot

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off."""
        target = self.attempt if self.attempt is not None else self.reference
        self.current = _noting(self, target) if on else target

    def fit(self, attempt: Any) -> None:
        """Raise AttemptError unless it is a function that takes what the reference takes."""
        if not callable(attempt) or isinstance(attempt, type):
            raise AttemptError(f"{self.key} is a function; yours is {kind_of(attempt)}.")
        if attempt is self.standing:
            raise AttemptError(f"{self.key}: this is the course's own; write yours with `def`.")
        sentence = misfit(self.name.rpartition(".")[2], self.reference, attempt)
        if sentence:
            raise AttemptError(sentence)

    def _install(self) -> None:
        self.watch(bool(_recorded))


class ClassSlot(Slot):
    """A whole class. It is filled in place, so that every reference to it stays valid."""

    _KEPT = {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__"}

    def __init__(self, stage: str, cls: type, points: float) -> None:
        if "__slots__" in vars(cls):
            raise CourseError(f"{stage} {cls.__name__}: a class exercise cannot have __slots__.")
        name = cls.__qualname__.rpartition("<locals>.")[2]
        super().__init__(stage, name, "class", points, cls.__module__)
        self.cls = self.standing = cls
        self.reference = self._members(cls)

    def watch(self, on: bool) -> None:
        """Switch the noting of calls on or off, for every function of the class."""
        for name, member in self._in_place().items():
            if isinstance(member, FunctionType):
                noting: Any = _noting(self, member)
            elif isinstance(member, (staticmethod, classmethod)):
                noting = type(member)(_noting(self, member.__func__))
            else:
                continue
            type.__setattr__(self.cls, name, noting if on else member)

    def fit(self, attempt: Any) -> None:
        """Raise AttemptError unless it is a class with the same bases, its methods alike."""
        if not isinstance(attempt, type):
            raise AttemptError(f"{self.key} is a class; yours is {kind_of(attempt)}.")
        if attempt is self.cls:
            raise AttemptError(f"{self.key}: this is the course's own; write yours with `class`.")
        if "__slots__" in vars(attempt):
            raise AttemptError(f"{self.key}: leave __slots__ out, they cannot be filled in place.")
        if attempt.__bases__ != self.cls.__bases__:
            bases = ", ".join(base.__name__ for base in self.cls.__bases__)
            yours = ", ".join(base.__name__ for base in attempt.__bases__)
            raise AttemptError(f"`{self.name}` inherits from {bases}; yours inherits from {yours}.")
        for name, member in self.reference.items():
            ours, theirs = unwrapped(member), unwrapped(vars(attempt).get(name))
            if isinstance(ours, FunctionType) and isinstance(theirs, FunctionType):
                sentence = misfit(f"{self.name}.{name}", ours, theirs)
                if sentence:
                    raise AttemptError(sentence)

    def _install(self) -> None:
        for name in self._members(self.cls):
            type.__delattr__(self.cls, name)
        for name, member in self._in_place().items():
            if self.attempt is not None:
                adopt(member, self.attempt, self.cls)
            type.__setattr__(self.cls, name, member)
        if _recorded:
            self.watch(True)

    def _in_place(self) -> dict[str, Any]:
        return self.reference if self.attempt is None else self._members(self.attempt)

    def _members(self, cls: type) -> dict[str, Any]:
        return {name: value for name, value in vars(cls).items() if name not in self._KEPT}


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
        """The student's text where one was written, otherwise the reference; in a kit a Hole."""
        self.record()
        if self.attempt is not None:
            if is_skeleton(self.attempt, self.marked):
                raise Hole(self.key)
            return self.attempt
        if kit() and not is_open(self.key):
            raise Hole(self.key)
        return solved(self.marked)

    @property
    def as_in_cell(self) -> str:
        """The text for a compiler: a student's lines have the numbers that they have in the cell.

        The cell has one more line, the first one, with the magic.
        """
        return self.text if self.attempt is None else f"\n{self.text}"

    def fit(self, attempt: Any) -> None:
        """Raise AttemptError unless it is a text with something in it."""
        if not isinstance(attempt, str):
            raise AttemptError(f"{self.key} is a text; yours is {kind_of(attempt)}.")
        if not attempt.strip():
            raise AttemptError(
                f"{self.key}: the cell is empty; write the text below its first line."
            )


def exercise(stage: str, *, points: float) -> Callable[[T], T]:
    """Mark a reference function, method or class as an exercise of a stage.

    Args:
        stage: The stage, such as `"1.5"`.
        points: What the exercise is worth; the points of a stage are the sum over its exercises.

    Returns:
        A decorator whose result calls the attempt where there is one, the reference otherwise.
    """

    def mark(reference: T) -> T:
        slot: ClassSlot | FunctionSlot
        if isinstance(reference, type):
            slot = ClassSlot(stage, reference, points)
        elif isinstance(reference, FunctionType):
            slot = FunctionSlot(stage, reference, points)
        else:
            raise CourseError(f"exercise({stage!r}) marks functions, methods and classes only.")
        slot.watch(bool(_recorded))  # a module may be imported while calls are being recorded
        return slot.standing

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
    """Every exercise known in this process, or those of one stage, in the course's order."""
    chosen = [slot for slot in _slots.values() if stage is None or slot.stage == stage]
    return sorted(chosen, key=lambda slot: slot.order)


def latest_turn() -> int:
    """The turn of the exercise that was filled last in this process; 0 where none was."""
    return max((slot.turn for slot in _slots.values()), default=0)


def find(key: str) -> Slot:
    """The exercise with this key; raises AttemptError, naming the choices, where there is none."""
    stage, _, name = key.partition(" ")
    of_stage(stage)
    if key not in _slots:
        names = ", ".join(f"`{slot.name}`" for slot in slots(stage))
        raise AttemptError(f"Stage {stage} has no exercise `{name}`; its exercises are {names}.")
    return _slots[key]


def of_stage(stage: str) -> list[Slot]:
    """The exercises of a stage; its lab is imported first. Raises AttemptError if there is none."""
    if not isinstance(stage, str) or not _STAGE.fullmatch(stage):
        raise AttemptError(f'A stage is written like "1.5"; this is {stage!r}.')
    number = stage.partition(".")[0]
    load_lab(int(number))
    if not slots(stage):
        known = list(dict.fromkeys(slot.stage for slot in slots()))
        of_lab = [other for other in known if other.startswith(f"{number}.")]
        labs = sorted({*filter(_is_installed, LABS), *(slot.order[0] for slot in slots())})
        raise AttemptError(
            f"There is no stage {stage}; the stages of lab {number} are {', '.join(of_lab)}."
            if of_lab
            else f"There is no lab {number} here; the labs are {', '.join(map(str, labs))}."
        )
    return slots(stage)


def load_lab(number: int) -> None:
    """Import a lab's checks, and with them its exercises, where this installation has the lab."""
    if _is_installed(number):
        importlib.import_module(f"aisys.{LABS[number]}.checks")


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


def is_recording() -> bool:
    """Whether a recording is under way, so that what runs in other processes counts, too."""
    return bool(_recorded)


def solved(marked: str) -> str:
    """A marked text with its solution in place: markers and the start text are taken out."""
    lines, skipping = [], False
    for line in marked.splitlines():
        if BEGIN_START in line or END_START in line:
            skipping = BEGIN_START in line
        elif not skipping and BEGIN_SOLUTION not in line and END_SOLUTION not in line:
            lines.append(line)
    return "\n".join(lines) + "\n"


def is_skeleton(text: str, marked: str) -> bool:
    """Whether a text is what a student starts from, however it is spaced.

    Args:
        text: The text.
        marked: The exercise's file as it is written; in a kit it is the skeleton itself.
    """
    if BEGIN_SOLUTION not in marked:
        return text.split() == marked.split()
    outside: list[str] = []
    start: list[str] = []
    place, region = 0, outside
    for line in marked.splitlines():
        if BEGIN_START in line:
            region = start
        elif BEGIN_SOLUTION in line:
            place, region = len(outside), []
        elif END_START in line or END_SOLUTION in line:
            region = outside
        else:
            region.append(line)
    holes = ["\n".join(start)] if start else [f"{mark} {YOUR_CODE}" for mark in COMMENT_MARKS]
    skeletons = ("\n".join([*outside[:place], hole, *outside[place:]]) for hole in holes)
    return any(text.split() == skeleton.split() for skeleton in skeletons)


def _is_installed(lab: int) -> bool:
    if lab not in LABS or importlib.util.find_spec(f"aisys.{LABS[lab]}") is None:
        return False
    return importlib.util.find_spec(f"aisys.{LABS[lab]}.checks") is not None


def _noting(slot: Slot, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        slot.record()
        return function(*args, **kwargs)

    return noting
