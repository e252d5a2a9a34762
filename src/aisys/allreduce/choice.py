"""Which all-reduce for which size and cluster (4.5): what each costs in the model, and the best.

A step lasts as long as its slowest message, as in Thakur, Rabenseifner and Gropp, "Optimization of
collective communication operations in MPICH", International Journal of High Performance Computing
Applications 19 (2005). Links of two kinds, and what shares a link, are added here.
"""

from dataclasses import dataclass

from aisys.allreduce.cost_model import CostModel
from aisys.course import exercise
from aisys.course.errors import CourseError

ALGORITHMS = ("tree", "recursive doubling", "halving-doubling", "ring", "hierarchy")
"""Of 4.2, 4.4 (for small and for large arrays), 4.3 and 4.5."""


@dataclass(frozen=True)
class Cluster:
    """Nodes with as many ranks each, numbered node by node; both numbers are powers of two.

    Attributes:
        nodes: How many.
        ranks_per_node: Of each node.
        inside: A message between ranks of one node.
        between: A message over one link between nodes; it is the slower one.
        links: How many such links each node has. Ranks that send to other nodes at the same time
            share them.
    """

    nodes: int
    ranks_per_node: int
    inside: CostModel
    between: CostModel
    links: int = 1

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return self.nodes * self.ranks_per_node

    def step_seconds(self, nbytes: float, crossing: int) -> float:
        """What a step takes in which every message has the same size.

        Args:
            nbytes: Of each message.
            crossing: How many ranks of each node send to another node in it. If none does, all
                messages stay inside.
        """
        if crossing == 0:
            return self.inside.seconds(1, nbytes)
        return self.between.seconds(1, nbytes * max(1, crossing / self.links))


@exercise("4.5", points=2)
def allreduce_seconds(algorithm: str, cluster: Cluster, nbytes: float) -> float:
    """What an all-reduce takes in the model, in seconds: the sum over its steps.

    Which messages cross between nodes follows from who works with whom:

    - `"tree"`: up the binomial tree and down again; the nearest children are the first to be added
      and the last to be sent to. All ranks of a node but one have their parents inside.
    - `"recursive doubling"`: the partner is 1, 2, 4, ... ranks away.
    - `"halving-doubling"`: it is p/2, p/4, ... ranks away, then the same again backwards.
    - `"ring"`: every rank sends to the next one.
    - `"hierarchy"`: reduce-scatter and all-gather in the ring of a node, between them a ring of the
      ranks of each place.

    Args:
        algorithm: One of `ALGORITHMS`.
        cluster: Its `step_seconds` says what a step takes.
        nbytes: The size of the array, in bytes. The model cuts it into any parts.

    Raises:
        CourseError: There is no such algorithm.
    """
    nodes, ranks, world_size = cluster.nodes, cluster.ranks_per_node, cluster.world_size
    step = cluster.step_seconds
    near, far = ranks.bit_length() - 1, nodes.bit_length() - 1  # log2
    if algorithm == "tree":
        return 2 * (near * step(nbytes, 0) + far * step(nbytes, 1))
    if algorithm == "recursive doubling":
        return near * step(nbytes, 0) + far * step(nbytes, ranks)
    if algorithm == "halving-doubling":
        parts = [nbytes / 2**number for number in range(1, far + near + 1)]
        halving = sum(step(part, ranks) for part in parts[:far])
        halving += sum(step(part, 0) for part in parts[far:])
        return 2 * halving
    if algorithm == "ring":
        return 2 * (world_size - 1) * step(nbytes / world_size, 1 if nodes > 1 else 0)
    if algorithm == "hierarchy":
        inside = 2 * (ranks - 1) * step(nbytes / ranks, 0)
        return inside + 2 * (nodes - 1) * step(nbytes / world_size, ranks)
    raise CourseError(f"{algorithm!r} is none of {', '.join(ALGORITHMS)}.")


@exercise("4.5", points=1)
def choose(cluster: Cluster, nbytes: float) -> str:
    """The algorithm that is the fastest for arrays of a size; of several the first.

    Args:
        cluster: Where it runs.
        nbytes: The size of the array, in bytes.

    Returns:
        One of `ALGORITHMS`.
    """
    return min(ALGORITHMS, key=lambda algorithm: allreduce_seconds(algorithm, cluster, nbytes))
