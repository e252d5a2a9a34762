"""Checks as data: a probe, its visible cases, and one run of it beside an attempt.

A probe uses the system under test and returns plain data. It contains no expected value: the same
probe is run on the reference elsewhere, and a verdict compares what the two returned.
"""

import contextlib
import io
import linecache
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from .compare import Difference, compare
from .errors import CourseError, Hole, PlainDataError, TimeLimit
from .plain import Plain, pack, unpack
from .slots import find

Verdict = Callable[[Plain, Plain], Difference | None]

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


@dataclass(frozen=True)
class Case:
    """One input of a check.

    Attributes:
        name: What is special about it, in a few words; shown to the student.
        inputs: Plain data that the probe works from.
        seed: Seeds the random generator that the probe is given.
        weight: Its share of the exercise's points, relative to the other cases.
    """

    name: str
    inputs: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class Probe:
    """The half of a check that runs beside the attempt; made by the decorator `probe`."""

    key: str
    name: str
    function: Callable[[dict[str, Any], np.random.Generator], Plain]
    cases: tuple[Case, ...]
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of one run of a probe on one case; plain data throughout.

    Attributes:
        status: `"returned"`, `"raised"`, `"timeout"` or `"hole"` (an exercise was not attempted).
        value: What the probe returned, where it did.
        error: The exception's type, or the hole's key.
        message: The exception's text, or what was wrong with the returned value.
        frames: The student's own lines that led to the exception, innermost last.
    """

    status: str
    value: Plain = None
    error: str = ""
    message: str = ""
    frames: tuple[str, ...] = ()


_probes: dict[str, Probe] = {}


def probe(
    key: str,
    *,
    cases: list[Case],
    verdict: Verdict | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    seconds: float = 5.0,
) -> Callable[[Callable[[dict[str, Any], np.random.Generator], Plain]], Probe]:
    """Make a probe of a function that takes a case's inputs and a seeded generator.

    Args:
        key: The exercise that it checks, such as `"1.3 im2col"`.
        cases: The visible cases: they ship with the lab and earn nothing.
        verdict: Judges `(got, expected)`; by default `compare` within `rtol` and `atol`.
        rtol: Relative tolerance of the default verdict.
        atol: Absolute tolerance of the default verdict.
        seconds: The time that one case may take.
    """

    def judge(got: Plain, expected: Plain) -> Difference | None:
        return compare(got, expected, rtol, atol)

    def make(function: Callable[[dict[str, Any], np.random.Generator], Plain]) -> Probe:
        name = function.__name__
        known = _probes.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise CourseError(f"The probe {name} is defined twice; give one another name.")
        made = Probe(key, name, function, tuple(cases), verdict or judge, seconds)
        _probes[name] = made
        return made

    return make


def probes_of(key: str) -> list[Probe]:
    """The probes of an exercise, in the order of their definition."""
    find(key)
    return [probe for probe in _probes.values() if probe.key == key]


def find_probe(name: str) -> Probe:
    """The probe with this name; raises CourseError where there is none."""
    if name not in _probes:
        raise CourseError(f"There is no probe {name!r} in this process.")
    return _probes[name]


def run_case(probe: Probe, case: Case) -> Outcome:
    """Run a probe on a case in this process, with whatever code its exercises have here."""
    rng = np.random.default_rng(case.seed)
    inputs = unpack(pack(case.inputs))
    try:
        with time_limit(probe.seconds), np.errstate(all="ignore"), _quiet():
            value = unpack(pack(probe.function(inputs, rng)))
    except TimeLimit:
        limit = f"{probe.seconds:g} s"
        return Outcome("timeout", message=f"no result after {limit}; look for a loop without end.")
    except Hole as hole:
        return Outcome("hole", error=hole.key, message=str(hole))
    except PlainDataError as error:
        return Outcome("raised", error="PlainDataError", message=str(error))
    except NotImplementedError as error:
        text = str(error)
        if text.endswith(NOT_WRITTEN):
            return Outcome("hole", error=text.removesuffix(NOT_WRITTEN), message=text)
        return _raised(error)
    except Exception as error:
        return _raised(error)
    return Outcome("returned", value)


def judge(probe: Probe, got: Outcome, expected: Outcome) -> Difference | None:
    """Judge an outcome against the reference's; None where they agree."""
    if got.status == "returned" and expected.status == "returned":
        return probe.verdict(got.value, expected.value)
    if got.status != "returned":
        kind = "error" if got.status == "raised" else got.status
        name = f"{got.error}: " if got.status == "raised" else ""
        return Difference(kind, f"{name}{got.message}")
    return Difference("error", f"a result came back where {expected.error} was expected.")


def same(probe: Probe, left: Outcome, right: Outcome) -> bool:
    """Whether two outcomes are alike, as a catalogued mistake's and a student's."""
    if left.status != right.status:
        return False
    if left.status == "raised":
        return left.error == right.error and left.message == right.message
    return left.status == "returned" and compare(left.value, right.value, 1e-6, 1e-9) is None


NOT_WRITTEN = " is not written yet"
"""How the message of an untouched skeleton ends."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in this thread after so many seconds; without effect off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def students_frames(error: BaseException) -> tuple[str, ...]:
    """The lines of the traceback that the student wrote, as `where: line`, innermost last."""
    frames = []
    for frame in traceback.extract_tb(error.__traceback__):
        file = frame.filename
        if file.startswith((_OURS, "<frozen", "<string", "<__array_function__", *_LIBRARIES)):
            continue
        line = frame.line or linecache.getline(file, frame.lineno or 0).strip()
        frames.append(f"{_cell_name(file)}, line {frame.lineno}, in {frame.name}: {line}")
    return tuple(frames[-6:])


def _raised(error: Exception) -> Outcome:
    message = " ".join(str(error).split())[:500]
    return Outcome("raised", None, type(error).__name__, message, students_frames(error))


def _cell_name(file: str) -> str:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        named = shell.compile.format_code_name(file)
        if named:
            return " ".join(named)
    return Path(file).name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings and prints of the attempt out of the check's display."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
