"""What ranks on one machine know of each other: who waits for whom, who failed, who is dead.

It stands in memory that all of them map. A rank whose wait is over finds the one at fault there: in
a ring in which rank 1 hangs, rank 3 waits for 2 and 2 waits for 1, and both name rank 1. The error
of the first that fails is that of all.
"""

import mmap
import os
import tempfile
import time
from typing import BinaryIO

from .transport import TransportError, gone, late

BUSY, WAITING, FAILED, FINISHED, DEAD = range(5)
SLICE = 0.1
"""A rank that waits looks around this often, in seconds."""

STALE = 10 * SLICE
"""A rank that says that it waits but has not looked around for so long hangs, in seconds."""

_STATE, _WHO, _BEAT, _LENGTH, _TEXT = range(5)
_WORDS = 128


def watch_file(world_size: int) -> BinaryIO:
    """The memory behind the watches of a world: a file without a name, gone with its last user."""
    file = tempfile.TemporaryFile(prefix="aisys-watch-")
    os.ftruncate(file.fileno(), world_size * _WORDS * 8)
    return file


class Watch:
    """One rank's view of all; the launcher has one too, and says there who died.

    Args:
        file: The descriptor of a `watch_file`; not kept.
        rank: This rank, or -1 in the launcher.
        world_size: How many ranks there are.
    """

    def __init__(self, file: int, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self._memory = mmap.mmap(file, world_size * _WORDS * 8)
        self._words = memoryview(self._memory).cast("q")

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        self._words.release()
        self._memory.close()

    def busy(self) -> None:
        """This rank goes on."""
        self._words[self.rank * _WORDS + _STATE] = BUSY

    def waiting(self, peer: int) -> None:
        """This rank waits for another; to be said again at least every `SLICE` seconds."""
        at = self.rank * _WORDS
        self._words[at + _BEAT] = time.monotonic_ns()
        self._words[at + _WHO] = peer
        self._words[at + _STATE] = WAITING

    def failed(self, error: str, at_fault: int | None) -> None:
        """This rank ends with an error, for which another rank or itself is at fault, if any is."""
        at = self.rank * _WORDS
        data = error.encode()[: 8 * (_WORDS - _TEXT)]
        self._memory[8 * (at + _TEXT) : 8 * (at + _TEXT) + len(data)] = data
        self._words[at + _LENGTH] = len(data)
        self._words[at + _WHO] = -1 if at_fault is None else at_fault
        self._words[at + _STATE] = FAILED

    def finished(self) -> None:
        """This rank is done and leaves."""
        self._words[self.rank * _WORDS + _STATE] = FINISHED

    def died(self, rank: int) -> None:
        """A rank ended without a word; an error that it told of before stands."""
        if self.state(rank) != FAILED:
            self._words[rank * _WORDS + _STATE] = DEAD

    def state(self, rank: int) -> int:
        """What a rank does: BUSY, WAITING, FAILED, FINISHED or DEAD."""
        return self._words[rank * _WORDS + _STATE]

    def trouble(self) -> TransportError | None:
        """The error that a waiting rank must raise because another one has failed or died."""
        for rank in range(self.world_size):
            if rank != self.rank and self.state(rank) in (FAILED, DEAD):
                return self.lost(rank)
        return None

    def lost(self, peer: int) -> TransportError:
        """The error of a rank whose peer will send nothing more: that of the peer, if it told."""
        at, state = peer * _WORDS, self.state(peer)
        if state != FAILED:
            words = {FINISHED: "has finished", DEAD: "died"}
            return gone(self.rank, peer, words.get(state, "has left"))
        text, who = 8 * (at + _TEXT), self._words[at + _WHO]
        error = self._memory[text : text + self._words[at + _LENGTH]].decode(errors="replace")
        return TransportError(error, None if who < 0 else who)

    def late(self, peer: int, timeout: float) -> TransportError:
        """The error of a rank that waited for a peer in vain; names the one all wait for."""
        self.waiting(peer)  # and nobody is to see it busy before it says that it failed
        waiting: dict[int, int] = {}
        now = time.monotonic_ns()
        for rank in range(self.world_size):
            state, who, beat = self._words[rank * _WORDS : rank * _WORDS + 3]
            if state == WAITING and now - beat < min(STALE, timeout / 2) * 1e9:
                waiting[rank] = who
        # Ranks that wait for the same one give up at about the same time.
        return self.trouble() or late(self.rank, waiting, timeout)
