"""The people of a course: a CSV of the instructor's own, or one exported from Canvas or Moodle."""

import csv
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .pages import safe_name

_COLUMNS = {
    "student": ("student", "student_id", "username", "id number", "id"),
    "name": ("name", "full name", "student"),
    "email": ("email", "email address"),
    "canvas_id": ("canvas_id",),
    "sis_id": ("sis_id", "sis user id"),
    "section": ("section",),
    "moodle_id": ("moodle_id", "identifier"),
}
"""For each field, the columns that it is read from, the first that there is."""


class RosterError(Exception):
    """A roster cannot be read; the message says why."""


@dataclass(frozen=True)
class Person:
    """One person; what is not known is `""`.

    Attributes:
        student: The student's id in this course: a folder's name, the gradebook's key.
        name: The full name.
        email: The address.
        canvas_id: Canvas's number for them.
        sis_id: The registrar's id, as Canvas knows it.
        section: The section, as Canvas knows it.
        moodle_id: Moodle's number for them in one assignment.
    """

    student: str
    name: str = ""
    email: str = ""
    canvas_id: str = ""
    sis_id: str = ""
    section: str = ""
    moodle_id: str = ""


def read_roster(path: Path) -> list[Person]:
    """Read a roster.

    It has at least a column `student`, or is Canvas's gradebook export or Moodle's grading
    worksheet. Where there is no id, the part of the address before the @ is one, else the name.

    Raises:
        RosterError: There is no such file, or it names nobody, or one student twice.
    """
    rows = read_table(path)
    people = [person for person in map(person_of, rows) if person is not None]
    if not people:
        raise RosterError(f"{path} names nobody: expected a column `student`, or `name`.")
    ids = [person.student for person in people]
    twice = next((name for name in ids if ids.count(name) > 1), None) if ids else None
    if twice is not None:
        raise RosterError(f"{path} names the student {twice!r} twice.")
    return people


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV as spreadsheets write them: with commas, semicolons or tabs.

    Raises:
        RosterError: The file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RosterError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    return [
        {str(k): (v or "") for k, v in row.items() if k is not None and not isinstance(v, list)}
        for row in rows
    ]


def plain_name(name: str) -> str:
    """A name for comparison: without accents, case, order of its words, or anything but letters."""
    bare = unicodedata.normalize("NFKD", name.casefold())
    bare = "".join(c for c in bare if not unicodedata.combining(c))
    return " ".join(sorted(re.findall(r"\w+", bare.replace("_", " "))))


def id_from_name(name: str) -> str:
    """A student's id made of a name: `ada-lovelace`."""
    words = re.findall(r"[\w.@+]+", name.casefold())
    return safe_name("-".join(words) or name)


class People:
    """People to look up by what a learning management system calls them."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._people = list(people)

    def by_canvas(self, canvas_id: str) -> Person | None:
        """The person with this number in Canvas."""
        return next((p for p in self._people if p.canvas_id == canvas_id), None)

    def by_moodle(self, moodle_id: str, name: str) -> Person | None:
        """The person with this number or, as it changes with the assignment, with this name.

        Raises:
            RosterError: Several have the name and none the number.
        """
        numbered = [p for p in self._people if re.findall(r"\d+", p.moodle_id) == [moodle_id]]
        if numbered:
            return numbered[0]
        named = [p for p in self._people if p.name and plain_name(p.name) == plain_name(name)]
        if len(named) > 1:
            ids = " and ".join(person.student for person in named)
            raise RosterError(
                f"{name!r} may be {ids}: give this assignment's grading worksheet with --people."
            )
        return named[0] if named else None


def person_of(row: dict[str, str]) -> Person | None:
    """The person whom a row of a roster is about, or None where it is about nobody."""
    columns = {name.strip().casefold(): value.strip() for name, value in row.items()}
    names = dict(_COLUMNS)
    if "sis login id" in columns or "sis user id" in columns:
        # Canvas: the column `Student` is the name, and the second row is the points possible.
        names |= {"student": ("sis login id", "sis user id"), "canvas_id": ("id",)}
        if columns.get("student", "").casefold() in ("points possible", "student, test"):
            return None
    found = {
        key: next((columns[name] for name in named if columns.get(name)), "")
        for key, named in names.items()
    }
    if "moodle_id" not in columns and not re.search(r"\d", found["moodle_id"]):
        found["moodle_id"] = ""
    if not found["name"]:
        parts = (columns.get(part, "") for part in ("first name", "last name", "surname"))
        found["name"] = " ".join(part for part in parts if part)
    if not (found["student"] or found["email"] or found["name"]):
        return None
    name = found["student"] or found["email"].partition("@")[0] or id_from_name(found["name"])
    if found["name"] == found["student"]:
        found["name"] = ""
    return Person(**{**found, "student": safe_name(name)})
