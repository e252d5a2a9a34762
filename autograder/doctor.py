"""`autograder doctor`: what this machine can do for grading, and what to install where not."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aisys.course.compiling import NoCompiler, find_compiler

from . import sandbox
from .course import CourseFileError, course_here
from .isolation import bwrap_refusal
from .text import lab_names

NEEDED = ("nbgrader", "nbclient", "jupytext", "torch", "numpy", "msgpack", "psutil", "nh3")
OPTIONAL = {
    "pyseccomp": "the sandbox has no filter on system calls",
    "ray": "grading runs on this machine alone",
    "playwright": "browser tests are skipped",
}
PROGRAMS = {
    "bwrap": "there is no second sandbox where the first is refused",
    "chromium": "browser tests are skipped",
}
LEAST_FREE = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What was looked at.
        state: `"ok"`, `"note"` (something optional is missing) or `"fault"`.
        words: What was found, and what to do.
    """

    what: str
    state: str
    words: str


def examine(folder: str | None = None) -> list[Finding]:
    """Look at everything that grading needs.

    Args:
        folder: The course's folder; by default the one that the current folder is in.
    """
    return [
        _python(),
        *_packages(),
        _isolation(),
        _memory_limit(),
        *_programs(),
        _compiler(),
        _space(),
        _labs(),
        _course(folder),
    ]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    words = sys.version.split()[0]
    return Finding("Python", "ok" if good else "fault", words if good else f"{words}; need 3.11")


def _packages() -> list[Finding]:
    found = []
    for name in (*NEEDED, *OPTIONAL):
        try:
            found.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            if name in OPTIONAL:
                found.append(Finding(name, "note", f"not installed: {OPTIONAL[name]}"))
            else:
                found.append(Finding(name, "fault", "not installed: pip install 'aisys[grading]'"))
    return found


def _isolation() -> Finding:
    refused = sandbox.refusal()
    if not refused:
        return Finding("sandbox", "ok", "a submission's process sandboxes itself")
    reason = bwrap_refusal()
    if not reason:
        return Finding("sandbox", "note", f"by bwrap, with cold kernels ({refused})")
    words = f"refused ({refused}), and bwrap too ({reason}): allow user namespaces"
    return Finding("sandbox", "fault", words)


def _memory_limit() -> Finding:
    groups = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]
    if any(os.access(group, os.W_OK) for group in groups if group.is_dir()):
        return Finding("cgroups", "ok", "memory can be limited for a whole submission")
    return Finding("cgroups", "note", "not writable: memory is limited for each process alone")


def _programs() -> list[Finding]:
    return [
        Finding(name, "ok" if path else "note", path or f"not installed: {lost}")
        for name, lost in PROGRAMS.items()
        for path in [shutil.which(name)]
    ]


def _compiler() -> Finding:
    try:
        return Finding("C++ compiler", "ok", find_compiler())
    except NoCompiler:
        how = "install g++ (apt), gcc-c++ (dnf) or cxx-compiler (conda)"
        lost = "what is written in C++ can neither be built nor graded"
        return Finding("C++ compiler", "note", f"none: {lost}; {how}")


def _space() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    words = f"{free / 2**30:.1f} GiB free here"
    if free >= LEAST_FREE:
        return Finding("disk", "ok", words)
    return Finding("disk", "fault", f"{words}; a class needs {LEAST_FREE >> 30} GiB")


def _labs() -> Finding:
    names = lab_names()
    return Finding("labs", "ok" if names else "fault", ", ".join(names) or "none")


def _course(folder: str | None) -> Finding:
    try:
        course = course_here(folder)
    except CourseFileError as error:
        return Finding("course", "fault", str(error))
    if course is None:
        return Finding("course", "note", "none here: `autograder init DIR` makes one")
    private = (course.folder / "course.toml").stat().st_mode & 0o077 == 0
    words = f"{course.name}, {len(course.labs)} labs"
    if private:
        return Finding("course", "ok", words)
    return Finding("course", "fault", f"{words}; others can read its secret: chmod 600 course.toml")
