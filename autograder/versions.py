"""Every version of every submission: `collected/STUDENT/LAB/VERSION/LAB.ipynb` in a course.

A version is never changed and never deleted. The last one lies in `submitted/` too, where nbgrader
looks for it.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .course import Course
from .lateness import moment_of, read_timestamp, stamp, write_timestamp

if TYPE_CHECKING:
    from .graded import Submission

COLLECTED, SUBMITTED = "collected", "submitted"


@dataclass(frozen=True)
class Version:
    """One version of one submission.

    Attributes:
        name: `20261014T215900Z-01-1a2b3c4d`: when, which of that second, and a hash of the content.
        path: The notebook.
    """

    name: str
    path: Path

    @property
    def moment(self) -> datetime:
        """When it was submitted (UTC)."""
        return moment_of(self.name) or datetime.fromtimestamp(0, UTC)

    @property
    def content(self) -> str:
        """The hash of its content."""
        return self.name.rpartition("-")[2]


def versions_of(course: Path, student: str, lab: str) -> list[Version]:
    """The versions that were collected, the oldest first; a mere repetition is none."""
    folder = course / COLLECTED / student / lab
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    every = [Version(name, folder / name / f"{lab}.ipynb") for name in names if moment_of(name)]
    before = [None, *(version.content for version in every)]
    return [v for v, content in zip(every, before, strict=False) if v.content != content]


def keep_version(
    course: Path, student: str, lab: str, data: bytes, moment: datetime
) -> Version | None:
    """Keep one more version, and put the last one into `submitted/`.

    The same content as the last version's is the same submission: the earlier time stands.

    Args:
        course: The course's folder.
        student: The student's id, a harmless name.
        lab: The lab's name.
        data: The notebook's bytes.
        moment: When it was submitted.

    Returns:
        The new version, or None where it is kept already.
    """
    _take_in(course, student, lab)
    made = _keep(course, student, lab, data, moment)
    _put_last(course, student, lab)
    return made


def handed_in(course: Course, submitted: Path, found: Iterable["Submission"]) -> list["Submission"]:
    """What is graded for a course: with their times, every version where the best counts, and
    everybody on the roster.

    Args:
        course: The course.
        submitted: The folder of submissions.
        found: What is in that folder.
    """
    entries: list[Submission] = []
    found = list(found)
    own = submitted.resolve() == (course.folder / SUBMITTED).resolve()
    for entry in found:
        moment = read_timestamp(entry.path.parent)
        entry = replace(entry, version=stamp(moment) if moment else "")
        every = []
        if own and course.policies.of(entry.lab).submissions == "best":
            every = versions_of(course.folder, entry.student, entry.lab)
        kept = {version.content for version in every}
        if not every or (entry.path.exists() and _hash(entry.path.read_bytes()) not in kept):
            entries.append(entry)
        entries += [replace(entry, path=v.path, version=v.name) for v in every]
    students = {entry.student for entry in found}
    for lab in dict.fromkeys(entry.lab for entry in found):
        first = next(entry for entry in found if entry.lab == lab)
        for student in course.students():
            if student not in students:
                path = submitted / student / lab / f"{lab}.ipynb"
                entries.append(replace(first, student=student, path=path, version=""))
    return entries


def _take_in(course: Path, student: str, lab: str) -> None:
    """Keep what lies in `submitted/` already, however it came there."""
    folder = course / SUBMITTED / student / lab
    path = folder / f"{lab}.ipynb"
    if path.is_file():
        moment = read_timestamp(folder)
        if moment is None:
            moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        _keep(course, student, lab, path.read_bytes(), moment)


def _keep(course: Path, student: str, lab: str, data: bytes, moment: datetime) -> Version | None:
    content, earlier = _hash(data), versions_of(course, student, lab)
    moment = moment.astimezone(UTC).replace(microsecond=0)
    before = [version for version in earlier if version.moment <= moment]
    if before and before[-1].content == content:
        return None
    same_second = [version for version in earlier if version.moment == moment]
    if any(version.content == content for version in same_second):
        return None
    name = f"{stamp(moment)}-{len(same_second) + 1:02}-{content}"
    folder = course / COLLECTED / student / lab
    fresh = folder / f".{name}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    (fresh / f"{lab}.ipynb").write_bytes(data)
    write_timestamp(fresh, moment)
    fresh.rename(folder / name)
    return Version(name, folder / name / f"{lab}.ipynb")


def _put_last(course: Path, student: str, lab: str) -> None:
    every = versions_of(course, student, lab)
    folder = course / SUBMITTED / student / lab
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / f"{lab}.ipynb", folder / f".{lab}.{os.getpid()}.part"
    data = every[-1].path.read_bytes()
    if not path.is_file() or path.read_bytes() != data:
        part.write_bytes(data)
        part.replace(path)
    if read_timestamp(folder) != every[-1].moment:
        write_timestamp(folder, every[-1].moment)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
