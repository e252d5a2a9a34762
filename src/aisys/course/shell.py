"""The IPython shell that this code runs in, where there is one."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def current_shell() -> Any:
    """The running IPython shell (a notebook's kernel has one), or None; IPython is not imported."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


@contextlib.contextmanager
def no_display() -> Iterator[None]:
    """Drop what is displayed (figures, tables) while the block runs."""
    shell = current_shell()
    if shell is None:
        yield
        return
    from IPython.core.displaypub import CapturingDisplayPublisher

    before = shell.display_pub
    shell.display_pub = CapturingDisplayPublisher()
    try:
        yield
    finally:
        shell.display_pub = before
