"""What a rank prints, line by line, with its rank before each line."""

import contextlib
import os
from typing import TextIO

MOST_BYTES = 1 << 20
"""What is shown of one rank's output; a rank that prints without end fills no notebook."""


class Log:
    """The output of one rank, read from a pipe."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.file, self.theirs = os.pipe()
        os.set_blocking(self.file, False)
        self._rest, self._shown = b"", 0

    def read(self, to: TextIO) -> bool:
        """Pass on the lines that are whole; False at the end of the output."""
        try:
            part = os.read(self.file, 1 << 16)
        except BlockingIOError:
            return True
        if self._shown < MOST_BYTES:
            self._show(part, to)
        return bool(part)

    def read_all(self, to: TextIO) -> None:
        """Pass on what is there, the last line too; what others still hold open is not awaited."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.file, 1 << 16):
                self._show(part, to)
        if self._rest:
            self._show(b"\n", to)

    def close(self) -> None:
        """Close this side."""
        os.close(self.file)

    def _show(self, part: bytes, to: TextIO) -> None:
        if self._shown >= MOST_BYTES:
            return
        self._shown += len(part)
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            to.write(f"[rank {self.rank}] {line.decode(errors='replace')}\n")
        if self._shown >= MOST_BYTES:
            to.write(f"[rank {self.rank}] ... more output is not shown\n")
            self._rest = b""
        to.flush()
