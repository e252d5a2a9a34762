"""Python's parser for programs with threads.

CPython 3.11 counts the depth of the syntax tree that it builds in one place for all threads. When
one thread takes over while another builds, which a garbage collection in the middle allows, the
count is wrong and `ast.parse` raises a SystemError about a text that is fine (CPython issue
106905). So only one thread at a time parses.
"""

import ast
import threading

_parsing = threading.Lock()


def parse(source: str, name: str = "<unknown>") -> ast.Module:
    """The syntax tree of a module's text, as from `ast.parse`.

    Args:
        source: The text.
        name: What its errors call it.

    Raises:
        SyntaxError, ValueError, RecursionError: As `ast.parse` does.
    """
    with _parsing:
        return ast.parse(source, name)
