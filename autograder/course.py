"""An instructor's course folder: `course.toml`, and the `nbgrader_config.py` beside it."""

import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .policies import Policies, PolicyError, read_policies
from .roster import Person, RosterError, read_roster

COURSE_FILE = "course.toml"
CONFIG = '''"""nbgrader's configuration: the course's stubs, and its judge in place of `Execute`."""

from autograder.nbgrader_course import configure

c = get_config()  # noqa: F821 (nbgrader defines it)
configure(c, __file__)
'''
POLICIES = """
# timezone = "Europe/Berlin"  # of deadlines without an offset; otherwise UTC
# roster = "roster.csv"       # with a column `student`, or Canvas's or Moodle's own export
# late_days = 4               # free late days of each student, over all labs

# [late]                      # what lateness costs; without it nothing
# cost = 0.1                  # the share of a lab's points that each started day costs
# cap = 0.8                   # a late lab keeps at most this share of its points
# most_days = 7               # what comes later counts nothing
"""
LAB_POLICIES = """# stages = ["1.3", "1.5"]     # the others come with their references
# weights = { "1.3" = 2, "1.5-written" = 0.5 }
# deadline = 2026-10-14T23:59:00
# extensions = { ada = 3, alan = 2026-10-20T12:00:00 }  # days, or until when
# submissions = "best"        # of several; otherwise the latest
# late = { cost = 0.2 }       # instead of what stands in [late]
# column = "Lab 1 (4711)"     # its column in the learning management system
# waive = [
#   { stage = "1.4", reason = "The text was wrong." },
#   { exercise = "1.3 im2col", case = "stride 3", students = ["ada"], reason = "Bad case." },
# ]
"""


class CourseFileError(Exception):
    """A course folder is missing or its `course.toml` cannot be used."""


@dataclass(frozen=True)
class Course:
    """A course as its folder describes it.

    Attributes:
        folder: The course's folder.
        name: The course's name.
        secret: What hidden cases are drawn from; whoever has it can draw them.
        labs: The labs that the course uses.
        policies: What the instructor decided.
        roster: The CSV of the course's people, or None.
    """

    folder: Path
    name: str
    secret: str
    labs: tuple[str, ...]
    policies: Policies = Policies()
    roster: Path | None = None

    def people(self) -> list[Person]:
        """The people of the roster; nobody where there is none."""
        return read_roster(self.roster) if self.roster is not None else []

    def students(self) -> list[str]:
        """The ids on the roster."""
        return [person.student for person in self.people()]


def init_course(folder: Path, name: str, labs: list[str]) -> Path:
    """Make a course folder with a fresh secret; raises CourseFileError where one exists already."""
    path = folder / COURSE_FILE
    if path.exists():
        raise CourseFileError(f"{path} exists already; a new course needs a folder of its own.")
    folder.mkdir(parents=True, exist_ok=True)
    title = name.replace("\\", "").replace('"', "")
    text = (
        f'name = "{title}"\n'
        "# Hidden cases are drawn from this secret: keep it from students, and keep it the same.\n"
        f'secret = "{secrets.token_hex(32)}"\n'
        f"{POLICIES}"
    )
    for lab in labs:
        text += f"\n[labs.{lab}]\n" + (LAB_POLICIES if lab == labs[0] else "")
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    write_nbgrader_config(folder)
    return path


def write_nbgrader_config(folder: Path) -> None:
    """Write the `nbgrader_config.py` that makes stock nbgrader use the course's judge."""
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")


def load_course(folder: Path) -> Course:
    """Read a course folder; raises CourseFileError with one clear sentence."""
    path = folder / COURSE_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CourseFileError(f"{folder} is no course: it has no {COURSE_FILE}.") from None
    except tomllib.TOMLDecodeError as error:
        raise CourseFileError(f"{path} is no valid TOML: {error}.") from None
    secret = data.get("secret")
    if not isinstance(secret, str) or len(secret) < 16:
        raise CourseFileError(f"{path}: `secret` is a text of at least 16 characters.")
    folder = folder.resolve()
    try:
        policies, roster = read_policies(data), _roster(folder, data)
        course = Course(
            folder,
            str(data.get("name", folder.name)),
            secret,
            tuple(policies.labs),
            policies,
            roster,
        )
        unknown = sorted(policies.students() - set(course.students())) if roster else []
    except (PolicyError, RosterError) as error:
        raise CourseFileError(f"{path}: {error}") from None
    if unknown:
        raise CourseFileError(f"{path}: {unknown[0]!r} is not on the roster {roster}.")
    return course


def _roster(folder: Path, data: dict[str, Any]) -> Path | None:
    name = data.get("roster")
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise PolicyError('`roster` is the name of a CSV file, such as "roster.csv".')
    return folder / name


def the_course(folder: str | os.PathLike[str] | None) -> Course:
    """The named course or the one that the current folder is in; raises CourseFileError."""
    course = course_here(folder)
    if course is None:
        raise CourseFileError("This folder is in no course: name one with --course.")
    return course


def course_here(folder: str | os.PathLike[str] | None) -> Course | None:
    """The named course, else the one that the current folder is in, else None."""
    if folder is not None:
        return load_course(Path(folder))
    here = Path.cwd()
    inside = next((p for p in (here, *here.parents) if (p / COURSE_FILE).exists()), None)
    return load_course(inside) if inside is not None else None
