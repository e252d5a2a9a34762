"""Whose file it is: the names that Canvas and Moodle give to downloaded submissions.

Canvas, "Download Submissions": `lovelaceada_LATE_4711_98765_lab1_autodiff-2.ipynb`, which is name,
whether it is late, the person's number, the upload's number, the student's own name for the file.
Moodle, "Download all submissions": `Ada Lovelace_1234567_assignsubmission_file_/lab1.ipynb`, or
without a folder `Ada Lovelace_1234567_assignsubmission_file_lab1.ipynb`; the number is another one
in every assignment. Everything else is nbgrader's: `STUDENT/LAB/LAB.ipynb`.
"""

import re
from dataclasses import dataclass

from .pages import safe_name
from .roster import People, Person, id_from_name

_CANVAS = re.compile(r"([^_]+)(_LATE)?_(\d+)_(\d+)_(.+)", re.DOTALL)
_MOODLE = re.compile(r"(.+)_(\d+)_assignsubmission_([a-z]+)_?(.*)", re.DOTALL)
_WRAPPERS = ("submissions", "submitted")


@dataclass(frozen=True)
class Sender:
    """Who handed in a file.

    Attributes:
        system: `"canvas"`, `"moodle"` or `"folder"`.
        name: The name as it stands in the file's path.
        number: The system's number, or `""`.
        upload: The upload's number, or 0.
        late: Whether Canvas says that it is late.
        file: The file's name without what the system put before it.
    """

    system: str
    name: str
    number: str = ""
    upload: int = 0
    late: bool = False
    file: str = ""

    def student(self, people: People) -> tuple[str, Person | None]:
        """The student's id in the course, and the person where the roster has them.

        Raises:
            RosterError: Several people may be meant.
        """
        person = None
        if self.system == "canvas":
            person = people.by_canvas(self.number)
        elif self.system == "moodle":
            person = people.by_moodle(self.number, self.name)
        if person is not None:
            return person.student, person
        if self.system == "canvas":
            # Canvas's short names are not unique, its numbers are.
            return f"{id_from_name(self.name)}-{self.number}", None
        return id_from_name(self.name) if self.system == "moodle" else safe_name(self.name), None


def sender_of(parts: tuple[str, ...]) -> Sender | None:
    """Who handed in the file with this path, or None where it does not say."""
    for place, part in enumerate(parts):
        match = _MOODLE.fullmatch(part)
        if match:
            name, number, kind, file = match.groups()
            inside = place < len(parts) - 1
            return (
                Sender("moodle", name, number, file=parts[-1] if inside else file)
                if kind == "file"
                else None
            )
    if len(parts) > 1 and parts[0].casefold() in _WRAPPERS:
        parts = parts[1:]
    if len(parts) == 1:
        match = _CANVAS.fullmatch(parts[0])
        if match:
            name, late, number, upload, file = match.groups()
            return Sender("canvas", name, number, int(upload), bool(late), file)
        return None
    return Sender("folder", parts[0], file="/".join(parts[1:]))
