"""Failures that get one sentence; all others are defects and keep their traceback."""

import nbformat

from aisys.course.errors import CourseError

from .catalogue import CatalogueError
from .course import CourseFileError
from .grade import GradeError
from .isolation import IsolationError
from .kit import KitError
from .sources import SourceError
from .submission import SubmissionError
from .text import TextError

_EXPLAINED = (
    CatalogueError,
    CourseError,
    CourseFileError,
    GradeError,
    IsolationError,
    KitError,
    SourceError,
    SubmissionError,
    TextError,
)


def explained(error: Exception) -> str | None:
    """The sentence for a failure that a user can act on, or None for a defect of ours."""
    if isinstance(error, _EXPLAINED):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, nbformat.ValidationError):
        return f"a notebook is malformed: {str(error).splitlines()[0]}"
    return None
