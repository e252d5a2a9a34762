"""Failures that get one sentence; all others are defects and keep their traceback."""

import nbformat

from aisys.course.errors import CourseError

from .archive import ArchiveError
from .catalogue import CatalogueError
from .class_report import ReportError
from .collect import CollectError
from .course import CourseFileError
from .export import ExportError
from .grade import GradeError
from .gradebook import GradebookError
from .isolation import IsolationError
from .kit import KitError
from .marks import MarksError
from .policies import PolicyError
from .ray_cluster import RayError
from .roster import RosterError
from .sources import SourceError
from .submission import SubmissionError
from .text import TextError
from .written import WrittenError

_EXPLAINED = (
    ArchiveError,
    CatalogueError,
    CollectError,
    CourseError,
    CourseFileError,
    ExportError,
    GradeError,
    GradebookError,
    IsolationError,
    KitError,
    MarksError,
    PolicyError,
    RayError,
    ReportError,
    RosterError,
    SourceError,
    SubmissionError,
    TextError,
    WrittenError,
)


def explained(error: Exception) -> str | None:
    """The sentence for a failure that a user can act on, or None for a defect of ours."""
    if isinstance(error, _EXPLAINED):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'writing'}: {error.strerror}."
    if isinstance(error, nbformat.ValidationError):
        return f"a notebook is malformed: {str(error).splitlines()[0]}"
    return None
