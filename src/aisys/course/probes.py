"""Checks as data: a probe, its visible cases, and one run of it beside an attempt.

A probe uses the system under test and returns plain data. It contains no expected value: the same
probe is run on the reference elsewhere, and a verdict compares what the two returned.
"""

import contextlib
import io
import linecache
import os
import re
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .compare import Difference, compare
from .errors import CourseError, Hole, PlainDataError, TextError, TimeLimit
from .limits import time_limit
from .plain import Plain, canonical
from .shell import current_shell, no_display
from .slots import find
from .witness import Witness, local

Verdict = Callable[[Plain, Plain], Difference | None]

_OURS = str(Path(__file__).parents[1])
_FOLDERS = (_OURS, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")))
_NOT_THEIRS = tuple(folder + os.sep for folder in _FOLDERS)
_LINE = re.compile(r"\bline \d+")
"""The same error stands in another line of another text."""
_INSTALLED = {"site-packages", "dist-packages"}


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
    witness: str = ""


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
    witness: str = "",
) -> Callable[[Callable[[dict[str, Any], np.random.Generator], Plain]], Probe]:
    """Make a probe of a function that takes a case's inputs and a seeded generator.

    Args:
        key: The exercise that it checks, such as `"1.3 im2col"`.
        cases: The visible cases: they ship with the lab and earn nothing.
        verdict: Judges `(got, expected)`; by default `compare` within `rtol` and `atol`.
        rtol: Relative tolerance of the default verdict.
        atol: Absolute tolerance of the default verdict.
        seconds: The time that one case may take.
        witness: The module of the process that counts beside the probe, see `witness`; the probe
            finds its address in `case["witness"]`, and what it counted is judged, too.
    """

    def judge(got: Plain, expected: Plain) -> Difference | None:
        return compare(got, expected, rtol, atol)

    def make(function: Callable[[dict[str, Any], np.random.Generator], Plain]) -> Probe:
        name = function.__name__
        known = _probes.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise CourseError(f"The probe {name} is defined twice; give one another name.")
        if len({(case.name, case.seed) for case in cases}) < len(cases):
            raise CourseError(f"Two cases of the probe {name} have the same name and seed.")
        made = Probe(key, name, function, tuple(cases), verdict or judge, seconds, witness)
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


def run_case(probe: Probe, case: Case, address: str | None = None) -> Outcome:
    """Run a probe on a case in this process, with whatever code its exercises have here.

    Args:
        probe: The probe.
        case: The case.
        address: Of its witness, for a probe that has one; None: it gets one here, whose report is
            then part of the outcome.
    """
    if not probe.witness or address is not None:
        return _run(probe, case, address or "")
    with local(probe.witness, os.getpid()).of_case(case.inputs) as witness:
        return witnessed(_run(probe, case, witness.address), witness)


def witnessed(outcome: Outcome, witness: Witness) -> Outcome:
    """What a probe returned together with what its witness counted."""
    report = witness.report()
    if outcome.status != "returned":
        return outcome
    return replace(outcome, value={"returned": outcome.value, "witnessed": report})


def judge(probe: Probe, got: Outcome, expected: Outcome) -> Difference | None:
    """Judge an outcome against the reference's; None where they agree."""
    if got.status == "returned" and expected.status == "returned":
        return safe_verdict(probe.verdict, got.value, expected.value)
    if got.status != "returned":
        kind = "error" if got.status == "raised" else got.status
        name = f"{got.error}: " if got.status == "raised" else ""
        return Difference(kind, f"{name}{got.message}")
    return Difference("error", f"a result came back where {expected.error} was expected.")


def safe_verdict(verdict: Verdict, got: Plain, expected: Plain) -> Difference | None:
    """A verdict on data of any form: where it stumbles over what came back, that is a difference.

    An error of the verdict's own, one that the expected value meets too, is raised.
    """
    try:
        return verdict(got, expected)
    except Exception as error:
        verdict(expected, expected)
        reason = f"{type(error).__name__}: {_text_of(error)}"
        return Difference("type", f"the result has another form than expected ({reason}).")


def same(probe: Probe, left: Outcome, right: Outcome) -> bool:
    """Whether two outcomes are alike, as a catalogued mistake's and a student's."""
    if left.status != right.status:
        return False
    if left.status == "raised":
        messages = (_LINE.sub("line", outcome.message) for outcome in (left, right))
        return left.error == right.error and len(set(messages)) == 1
    return left.status == "returned" and compare(left.value, right.value, 1e-6, 1e-9) is None


NOT_WRITTEN = " is not written yet"
"""How the message of an untouched skeleton ends."""


def students_frames(error: BaseException) -> tuple[str, ...]:
    """The lines of the traceback that the student wrote, as `where: line`, innermost last."""
    frames = []
    for frame in traceback.extract_tb(error.__traceback__):
        file = frame.filename
        generated = file.startswith("<") and not file.startswith(("<ipython-input", "<timed"))
        if generated or file.startswith(_NOT_THEIRS) or _INSTALLED & set(Path(file).parts):
            continue
        line = frame.line or linecache.getline(file, frame.lineno or 0).strip()
        frames.append(f"{_cell_name(file)}, line {frame.lineno}, in {frame.name}: {line}")
    return tuple(frames[-6:])


def _run(probe: Probe, case: Case, address: str) -> Outcome:
    rng = np.random.default_rng(case.seed)
    inputs = canonical(case.inputs | ({"witness": address} if probe.witness else {}))
    try:
        with np.errstate(all="ignore"), _quiet(), time_limit(probe.seconds):
            value = canonical(probe.function(inputs, rng))
    except TimeLimit:
        limit = f"{probe.seconds:g} s"
        return Outcome("timeout", message=f"no result after {limit}; look for a loop without end.")
    except Hole as hole:
        return Outcome("hole", error=str(hole.key), message=_text_of(hole))
    except PlainDataError as error:
        return Outcome("raised", error="PlainDataError", message=_text_of(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit among them: an attempt may call exit()
        return _raised(error)
    return Outcome("returned", value)


def _raised(error: BaseException) -> Outcome:
    text = _text_of(error)
    if isinstance(error, NotImplementedError) and text.endswith(NOT_WRITTEN):
        return Outcome("hole", error=text.removesuffix(NOT_WRITTEN), message=text)
    if isinstance(error, TextError):
        status = "timeout" if error.is_timeout else "raised"
        return Outcome(status, None, type(error).__name__, error.sentence[:500], error.frames)
    return Outcome("raised", None, type(error).__name__, text, students_frames(error))


def _text_of(error: BaseException) -> str:
    """An exception's text in one line; its class may be the attempt's own."""
    try:
        return " ".join(str(error).split())[:500]
    except Exception:
        return ""


def _cell_name(file: str) -> str:
    shell = current_shell()
    named = shell.compile.format_code_name(file) if shell is not None else None
    return " ".join(named) if named else Path(file).name


class _Nowhere(io.TextIOBase):
    """Takes what is printed and keeps nothing of it."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings, prints and displays of the attempt out of the check's display."""
    nowhere = _Nowhere()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        no_display(),
    ):
        warnings.simplefilter("ignore")
        yield
