"""`Group`: some of the ranks as a transport of their own, such as those of one node.

An algorithm that runs among all ranks runs among the ranks of a group as it stands.
"""

from collections.abc import Sequence

import numpy as np

from aisys.allreduce.transport import Request, Transport, TransportError


class Group(Transport):
    """The place of this rank among some of the ranks of a transport.

    Its messages are the transport's own. Two groups with two ranks in common tell their messages
    apart by tags, or by taking turns in the same order on both ranks. An error names a rank by its
    number in the transport, not in the group.

    Args:
        transport: This rank's place among all; it stays open when the group is closed.
        ranks: The members by their number in the transport, the same list on every one of them.
            Their order is that of the group: the first is its rank 0. This rank is among them.

    Raises:
        TransportError: A member is named twice or does not exist, or this rank is not a member.
    """

    def __init__(self, transport: Transport, ranks: Sequence[int]) -> None:
        self._transport, self.ranks = transport, list(ranks)
        known = range(transport.world_size)
        if len(set(self.ranks)) != len(self.ranks) or not all(r in known for r in self.ranks):
            raise TransportError(
                f"A group has different ranks from 0 to {transport.world_size - 1}; this has "
                f"{self.ranks}."
            )
        if transport.rank not in self.ranks:
            raise TransportError(f"Rank {transport.rank} is not in the group {self.ranks}.")
        place = self.ranks.index(transport.rank)
        super().__init__(place, len(self.ranks), transport.timeout)

    def close(self) -> None:
        """Nothing: the transport belongs to whoever made it."""

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        return self._transport._isend(data, self.ranks[to], tag)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        return self._transport._irecv(out, self.ranks[source], tag)

    def _sendrecv(self, data: np.ndarray, to: int, out: np.ndarray, source: int, tag: int) -> None:
        self._transport._sendrecv(data, self.ranks[to], out, self.ranks[source], tag)
