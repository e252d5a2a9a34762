"""What happened in a run of the in-process transport: every message, and when."""

from dataclasses import dataclass
from typing import NamedTuple


class Message(NamedTuple):
    """One message of a run.

    Attributes:
        source: The rank that sent it.
        to: The rank that it was sent to.
        tag: Its tag.
        nbytes: Its size in bytes.
        start: When it began to leave, in simulated seconds.
        end: When it was there; of one that was never received, when it had left.
        step: On which step of the critical path, from 1.
    """

    source: int
    to: int
    tag: int
    nbytes: int
    start: float
    end: float
    step: int


@dataclass(frozen=True)
class Trace:
    """What happened in a run.

    Attributes:
        clocks: When each rank returned, in simulated seconds.
        messages: Every message, in the order in which they were sent.
        steps: Messages on the critical path: the time of the run if every message took 1.
    """

    clocks: tuple[float, ...]
    messages: tuple[Message, ...]
    steps: int

    @property
    def seconds(self) -> float:
        """When the last rank returned, in simulated seconds."""
        return max(self.clocks)

    @property
    def bytes_sent(self) -> tuple[int, ...]:
        """How much each rank sent, in bytes."""
        sent = [0] * len(self.clocks)
        for message in self.messages:
            sent[message.source] += message.nbytes
        return tuple(sent)
