"""The errors that a student may meet, each one sentence and without our own stack frames."""


class CourseError(Exception):
    """Something in the notebook needs the student's attention; shown as one sentence."""

    def _render_traceback_(self) -> list[str]:
        """Let IPython print the sentence instead of a traceback through the course's own code."""
        return [f"{type(self).__name__}: {self}"]


class AttemptError(CourseError):
    """An attempt does not fit its exercise: unknown stage, wrong name, signature or kind."""


class CheckFailed(CourseError):
    """A check did not pass where that must be an error, as under `nbgrader validate`."""


class TextError(CourseError):
    """Something is wrong in a text of the student's in another language.

    Attributes:
        frames: The lines at fault, as `NAME, line N: TEXT`.
        is_timeout: Whether it is that the text ran for too long.
    """

    is_timeout = False

    def __init__(self, message: str, frames: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.frames = frames

    @property
    def sentence(self) -> str:
        """The first line of the message; what follows it quotes the text."""
        return str(self).partition("\n")[0]


class PlainDataError(CourseError):
    """A value cannot cross the border between an attempt and its judge."""


class Hole(CourseError):
    """Raised by an exercise of a kit that has not been attempted in this process.

    Args:
        key: The exercise's key, such as `"1.5 gradients"`.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return (
            f"{self.key} is an exercise and has no code here yet: "
            f"write it in stage {self.key.split()[0]} of the notebook and run that cell."
        )


class TimeLimit(BaseException):
    """Raised inside a probe that ran longer than its check allows.

    It is no `Exception`, so that an attempt's own `except Exception` does not swallow it.
    """
