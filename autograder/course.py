"""An instructor's course folder: `course.toml`, and the `nbgrader_config.py` beside it."""

import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

COURSE_FILE = "course.toml"
CONFIG = '''"""nbgrader's configuration: the course's stubs, and its judge in place of `Execute`."""

from autograder.nbgrader_course import configure

c = get_config()  # noqa: F821 (nbgrader defines it)
configure(c, __file__)
'''


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
    """

    folder: Path
    name: str
    secret: str
    labs: tuple[str, ...]


def init_course(folder: Path, name: str, labs: list[str]) -> Path:
    """Make a course folder with a fresh secret; raises CourseFileError where one exists already."""
    path = folder / COURSE_FILE
    if path.exists():
        raise CourseFileError(f"{path} exists already; a new course needs a folder of its own.")
    folder.mkdir(parents=True, exist_ok=True)
    quoted = ", ".join(f'"{lab}"' for lab in labs)
    title = name.replace("\\", "").replace('"', "")
    text = (
        f'name = "{title}"\n'
        "# Hidden cases are drawn from this secret: keep it from students, and keep it the same.\n"
        f'secret = "{secrets.token_hex(32)}"\n'
        f"labs = [{quoted}]\n"
    )
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
    secret, labs = data.get("secret"), data.get("labs", [])
    if not isinstance(secret, str) or len(secret) < 16:
        raise CourseFileError(f"{path}: `secret` is a text of at least 16 characters.")
    if not isinstance(labs, list) or not all(isinstance(lab, str) for lab in labs):
        raise CourseFileError(f'{path}: `labs` is a list of names, such as ["lab1_autodiff"].')
    return Course(folder.resolve(), str(data.get("name", folder.name)), secret, tuple(labs))


def course_here(folder: str | os.PathLike[str] | None) -> Course | None:
    """The named course, else the one that the current folder is in, else None."""
    if folder is not None:
        return load_course(Path(folder))
    here = Path.cwd()
    inside = next((p for p in (here, *here.parents) if (p / COURSE_FILE).exists()), None)
    return load_course(inside) if inside is not None else None
