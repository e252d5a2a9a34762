"""Collecting submissions into a course: from a folder, or the zip that Canvas or Moodle gives."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from .archive import ArchiveError, File, files_of, files_of_zip
from .course import Course
from .gradebook import save_people
from .lateness import TIMESTAMP, due, parse_time
from .lms import Sender, sender_of
from .roster import People, Person, RosterError, read_roster
from .text import lab_names
from .versions import SUBMITTED, keep_version, versions_of


class CollectError(Exception):
    """Nothing can be collected; the message says why and what to do."""


@dataclass(frozen=True)
class Collected:
    """What came of collecting.

    Attributes:
        new: Student, lab and version of what was not there before.
        known: How many notebooks were there already.
        notes: What the instructor should know, one sentence each.
    """

    new: tuple[tuple[str, str, str], ...]
    known: int
    notes: tuple[str, ...]


@dataclass
class _Bag:
    """What one student handed in."""

    student: str
    person: Person
    files: list[tuple[Sender, File]] = field(default_factory=list)


@dataclass(frozen=True)
class _Notebook:
    """One notebook on its way into the course; `order` is its place among those of one moment."""

    lab: str
    data: bytes
    moment: datetime
    order: tuple[int, str]


def collect(
    course: Course, source: Path, labs: Sequence[str] = (), people: Path | None = None
) -> Collected:
    """Collect every notebook of a source into `submitted/STUDENT/LAB/LAB.ipynb`.

    What is wrong with one student's files costs nobody else anything; it is said in the notes.

    Args:
        course: The course.
        source: A folder or zip.
        labs: The labs that are wanted; by default those of the course.
        people: A CSV of people; by default the course's roster.

    Raises:
        CollectError: There is nothing to collect, or it is not clear whose it is.
        ArchiveError: The source cannot be read, or is refused.
        RosterError: The roster cannot be read.
    """
    wanted = list(labs or course.labs or lab_names())
    unknown = sorted(set(wanted) - set(lab_names()))
    if unknown:
        raise CollectError(
            f"There is no lab {unknown[0]!r}; the labs are {', '.join(lab_names())}."
        )
    known_people = read_roster(people) if people else course.people()
    files, notes = files_of(source, course.policies.timezone)
    bags = _bags(files, People(known_people), notes)
    if not bags:
        raise CollectError(
            f"{source} holds no submissions: expected STUDENT/LAB/LAB.ipynb, or the names that "
            "Canvas or Moodle gives."
        )
    on_roster = {person.student for person in known_people}
    new, count = [], 0
    times = _times(files)
    for bag in bags:
        if on_roster and bag.student not in on_roster:
            notes.append(f"{bag.student} is not on the roster; the submission was collected.")
        notebooks = list(_notebooks(course, bag, wanted, times, notes))
        for entry in sorted(notebooks, key=lambda entry: (entry.moment, entry.order)):
            version = keep_version(course.folder, bag.student, entry.lab, entry.data, entry.moment)
            if version is not None:
                new.append((bag.student, entry.lab, version.name))
        count += len(notebooks)
        _note_none(course, bag, wanted, notebooks, notes)
    if any(sender.system == "canvas" for bag in bags for sender, _ in bag.files):
        notes.append(
            "Canvas's zip does not say when something was submitted: the dates of its files were "
            "taken, and what Canvas does not call late is not late."
        )
    save_people(course.folder, [bag.person for bag in bags if bag.person.name])
    return Collected(tuple(new), count - len(new), tuple(notes))


def _bags(files: list[File], people: People, notes: list[str]) -> list[_Bag]:
    """The files by student."""
    bags: dict[str, _Bag] = {}
    numbers: dict[str, str] = {}
    for file in files:
        sender = sender_of(file.parts)
        if sender is None:
            if file.kind in (".ipynb", ".zip"):
                notes.append(f"{'/'.join(file.parts)}: it is not clear whose it is; left out.")
            continue
        try:
            student, person = sender.student(people)
        except RosterError as error:
            notes.append(str(error))
            continue
        if numbers.setdefault(student, sender.number) != sender.number:
            raise CollectError(
                f"Two submissions are by {sender.name!r} ({numbers[student]} and {sender.number}): "
                "say who they are with --people and the assignment's grading worksheet."
            )
        if person is None:
            named = sender.name if sender.system != "folder" else ""
            number = sender.number if sender.system == "canvas" else ""
            person = Person(student, named, canvas_id=number)
        bags.setdefault(student, _Bag(student, person)).files.append((sender, file))
    return [bags[student] for student in sorted(bags)]


def _notebooks(
    course: Course,
    bag: _Bag,
    wanted: list[str],
    times: dict[tuple[str, ...], datetime],
    notes: list[str],
) -> Iterator[_Notebook]:
    """A student's notebooks, those in zips of their own included."""
    for sender, file in bag.files:
        if file.kind not in (".ipynb", ".zip"):
            continue
        try:
            for name, data in _contents(file, sender, course):
                lab = _lab_of(data, name, wanted)
                if lab is None:
                    notes.append(
                        f"{bag.student}: {name!r} does not say which lab it is; collect it with "
                        "--lab."
                    )
                elif lab not in wanted:
                    notes.append(f"{bag.student}: {name!r} is {lab}, which was left out.")
                else:
                    moment = _moment(course, bag.student, lab, sender, file, times)
                    yield _Notebook(lab, data, moment, (sender.upload, _natural(name)))
        except ArchiveError as error:
            notes.append(f"{bag.student}: {error}")


def _contents(file: File, sender: Sender, course: Course) -> Iterator[tuple[str, bytes]]:
    """The notebooks of a file by their names; it is one, or a zip with some in it."""
    if file.kind == ".ipynb":
        yield sender.file, file.read()
        return
    inside = files_of_zip(file.read(), repr(sender.file), course.policies.timezone)
    for entry in inside:
        if entry.kind == ".zip":
            raise ArchiveError(f"{sender.file!r} holds the zip {entry.name!r}; that is too deep.")
    for entry in inside:
        if entry.kind == ".ipynb":
            yield entry.name, entry.read()


def _lab_of(data: bytes, name: str, wanted: list[str]) -> str | None:
    """The lab that a notebook is of: by its metadata, else its name, else the only one wanted."""
    try:
        lab = json.loads(data)["metadata"]["aisys"]["lab"]
    except (ValueError, TypeError, KeyError, RecursionError):
        lab = None
    if isinstance(lab, str) and lab in lab_names():
        return lab
    named = [lab for lab in lab_names() if lab in name]
    return named[0] if named else wanted[0] if len(wanted) == 1 else None


def _moment(
    course: Course,
    student: str,
    lab: str,
    sender: Sender,
    file: File,
    times: dict[tuple[str, ...], datetime],
) -> datetime:
    """When a notebook was submitted; never a time that the student could have written."""
    if sender.system == "folder":
        return times.get(file.parts[:-1], file.moment)
    deadline = due(course.policies.of(lab), student)
    if sender.system == "canvas" and deadline is not None:
        if sender.late:
            return max(file.moment, deadline + timedelta(seconds=1))
        return min(file.moment, deadline)
    return file.moment


def _times(files: list[File]) -> dict[tuple[str, ...], datetime]:
    """The times in nbgrader's `timestamp.txt`, by folder."""
    found = {}
    for file in files:
        sender = sender_of(file.parts) if file.name == TIMESTAMP else None
        if sender is not None and sender.system == "folder":
            with suppress(ArchiveError):
                moment = parse_time(file.read().decode("utf-8", "replace"))
                if moment is not None:
                    found[file.parts[:-1]] = moment
    return found


def _note_none(
    course: Course, bag: _Bag, wanted: list[str], notebooks: list[_Notebook], notes: list[str]
) -> None:
    """Note a student who handed in files but no notebook, and several notebooks at once."""
    labs = [entry.lab for entry in notebooks]
    for lab in dict.fromkeys(labs):
        moments = [entry.moment for entry in notebooks if entry.lab == lab]
        if len(moments) > 1 and len(set(moments)) == 1:
            notes.append(
                f"{bag.student} handed in {len(moments)} notebooks of {lab} at once; the last by "
                "name is the latest."
            )
    if notebooks or not bag.files:
        return
    named = ", ".join(sorted({sender.file for sender, _ in bag.files}))
    notes.append(f"{bag.student} handed in no notebook that can be collected: {named}.")
    if len(wanted) == 1 and not versions_of(course.folder, bag.student, wanted[0]):
        # So that grading counts the student, with nothing handed in.
        (course.folder / SUBMITTED / bag.student / wanted[0]).mkdir(parents=True, exist_ok=True)


def _natural(name: str) -> str:
    """A name for sorting in which numbers count as numbers."""
    return re.sub(r"\d+", lambda match: match[0].zfill(12), name.casefold())
