"""The compiler as a whole: the passes in a row, and what a graph costs before and after them."""

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aisys.autodiff.common_subexpressions import merge_common_subexpressions
from aisys.autodiff.dead_code import eliminate_dead_code
from aisys.autodiff.execution import run
from aisys.autodiff.folding import fold_constants
from aisys.autodiff.fusion import fuse
from aisys.autodiff.graph import Node
from aisys.autodiff.operations import Value
from aisys.autodiff.passes import Pass, count_operations
from aisys.autodiff.simplify import simplify_arithmetic, simplify_shapes
from aisys.autodiff.traffic import count_traffic

PASSES: tuple[Pass, ...] = (
    fold_constants,
    simplify_arithmetic,
    simplify_shapes,
    merge_common_subexpressions,
    eliminate_dead_code,
)

CACHE_BYTES = 1 << 20
"""A mebibyte, the size of a core's own cache on many processors."""


def optimise(
    targets: Sequence[Node], passes: Sequence[Pass] = PASSES, rounds: int = 10
) -> list[Node]:
    """Apply passes in turn, again and again, until a round leaves the operations as they were.

    One pass makes work for another: a folded constant may turn out to be a 1.

    Args:
        targets: Nodes, which stay as they are.
        passes: The passes of a round.
        rounds: At most so many.
    """
    improved = list(targets)
    for _ in range(rounds):
        before = count_operations(improved)
        for each in passes:
            improved = each(improved)
        if count_operations(improved) == before:
            break
    return improved


def compile_graph(targets: Sequence[Node]) -> list[Node]:
    """A graph that computes the same in less: all passes, and fusion last.

    Args:
        targets: Nodes, which stay as they are. They may include gradients; the new ones can be
            differentiated no more.

    Returns:
        The new targets, to be run with the same feeds.
    """
    return fuse(optimise(targets))


@dataclass(frozen=True)
class Cost:
    """What one run of a graph takes.

    Attributes:
        operations: Nodes that compute something.
        passes: Arrays read or written from end to end, without those that fit into the cache.
        moved_bytes: The bytes of these.
        peak_bytes: The most bytes that the run held at once, in arrays of every kind but those
            that are fed.
    """

    operations: int
    passes: float
    moved_bytes: int
    peak_bytes: int


def measure(
    targets: Sequence[Node], feeds: Mapping[Node, Value], cache_bytes: int = CACHE_BYTES
) -> Cost:
    """Run a graph twice and count: once what Python allocates, once what NumPy reads and writes.

    Args:
        targets: Nodes.
        feeds: As for `run`.
        cache_bytes: See `Traffic`.
    """
    run(targets, feeds)  # what is made once and kept, such as compiled functions, is no cost
    tracemalloc.start()
    try:
        order = run(targets, feeds).order
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    traffic = count_traffic(order, feeds, cache_bytes)
    operations = sum(count_operations(targets).values())
    return Cost(operations, traffic.passes, traffic.moved_bytes, peak_bytes)
