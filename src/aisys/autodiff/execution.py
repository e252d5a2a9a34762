"""Running a graph: an order from a ready queue, and each value freed after its last consumer."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aisys.autodiff.graph import Node
from aisys.autodiff.operations import OPERATIONS, Value
from aisys.course import exercise


class CycleError(ValueError):
    """The graph has a cycle, so no order exists.

    Attributes:
        nodes: The nodes on the cycle, each an input of the next, the last an input of the first.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        path = " -> ".join(str(node) for node in (*self.nodes, *self.nodes[:1]))
        super().__init__(f"the graph has a cycle: {path}")


class MissingFeedError(KeyError):
    """A placeholder that the targets need has no value."""

    def __init__(self, node: Node) -> None:
        self.node = node
        super().__init__(node)

    def __str__(self) -> str:
        return f"feed a value of shape {list(self.node.shape)} for the placeholder {self.node}"


class FeedShapeError(ValueError):
    """A placeholder was fed a value of another shape than its own."""

    def __init__(self, node: Node, value: Value) -> None:
        self.node = node
        super().__init__(
            f"the placeholder {node} takes shape {list(node.shape)}; "
            f"the value fed has shape {list(np.shape(value))}"
        )


@dataclass(frozen=True)
class Execution:
    """What a run gives.

    Attributes:
        values: The targets' values, in the targets' order.
        order: The nodes in the order in which they were executed.
        live_bytes: For each node of the order, the bytes of computed values that were held just
            after its own was computed and before any was freed (see LiveBytes).
    """

    values: list[Value]
    order: list[Node]
    live_bytes: list[int]

    @property
    def peak_bytes(self) -> int:
        """The most bytes of computed values that were held at once."""
        return max(self.live_bytes, default=0)


class LiveBytes:
    """The meter of a run: how many bytes the computed values that it holds occupy.

    Values that share memory, such as an array and its transpose, count once. What is fed and what
    constants hold does not count, nor does a view of it: it is not the run's to free.

    Attributes:
        now: The bytes that are held now.
    """

    def __init__(self, order: Sequence[Node], feeds: Mapping[Node, Value]) -> None:
        constants = (node.attributes["value"] for node in order if node.operation == "constant")
        self.now = 0
        self._not_counted = {id(memory_of(value)) for value in (*feeds.values(), *constants)}
        self._holders: dict[int, int] = {}

    def hold(self, value: Value) -> None:
        """Count a value that was computed."""
        memory = memory_of(value)
        if id(memory) in self._not_counted:
            return
        self._holders[id(memory)] = self._holders.get(id(memory), 0) + 1
        if self._holders[id(memory)] == 1:
            self.now += getattr(memory, "nbytes", 8)

    def release(self, value: Value) -> None:
        """Stop counting a value that is freed next."""
        memory = memory_of(value)
        if id(memory) in self._not_counted:
            return
        self._holders[id(memory)] -= 1
        if self._holders[id(memory)] == 0:
            del self._holders[id(memory)]
            self.now -= getattr(memory, "nbytes", 8)


def memory_of(value: Value) -> Value:
    """The array that owns the memory of a view; any other value itself."""
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    return value


@exercise("1.4", points=2)
def ready_order(targets: Sequence[Node]) -> list[Node]:
    """The nodes that the targets need, each once and after all of its inputs.

    Works with a ready queue (Kahn, CACM 1962): a node is ready when all its inputs have been
    put into the order; taking one from the queue may make its consumers ready. Nodes that no
    target needs are left out. The work is proportional to nodes plus edges, and a chain of
    100,000 nodes is no problem, so there is no recursion.

    Args:
        targets: Nodes; one may occur twice. A node may also be an input of another one twice, as
            in x * x.

    Raises:
        CycleError: There is a cycle. It takes the list of the nodes on the cycle and no others,
            each an input of the next.
    """
    consumers: dict[Node, list[Node]] = {}
    found = list(targets)
    while found:
        node = found.pop()
        if node not in consumers:
            consumers[node] = []
            found.extend(node.inputs)
    for node in consumers:
        for each in node.inputs:
            consumers[each].append(node)

    waiting = {node: len(node.inputs) for node in consumers}
    ready = deque(node for node, missing in waiting.items() if missing == 0)
    order = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for consumer in consumers[node]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                ready.append(consumer)

    if len(order) < len(consumers):
        # Every node that still waits has an input that waits: going back must close a cycle.
        path = [next(node for node, missing in waiting.items() if missing)]
        while path[-1] not in path[:-1]:
            path.append(next(each for each in path[-1].inputs if waiting[each]))
        cycle = path[path.index(path[-1]) + 1 :]
        raise CycleError(cycle[::-1])
    return order


@exercise("1.4", points=2.5)
def run(targets: Sequence[Node], feeds: Mapping[Node, Value]) -> Execution:
    """Compute the targets and hold every value only as long as somebody needs it.

    Goes through `ready_order(targets)`. A placeholder's value is the one in feeds; any other
    node's is OPERATIONS[node.operation].compute(*values of its inputs, **node.attributes). When
    the last consumer of a value has been computed, the value is freed, which means that nothing
    here refers to it any more; a target's value stays.

    The bytes are counted by `memory = LiveBytes(order, feeds)`: `memory.hold(value)` when a value
    is there, `memory.release(value)` before it is freed, and `memory.now` is what Execution wants
    for each node.

    Args:
        targets: The nodes to compute; one may occur twice.
        feeds: The values of placeholders. One that no target needs is no error.

    Raises:
        MissingFeedError: A needed placeholder has no value; takes the node.
        FeedShapeError: A value's shape is not the placeholder's; takes the node and the value.
            Both are raised before anything is computed.
    """
    order = ready_order(targets)
    uses = dict.fromkeys(order, 0)  # consumers that have not been computed yet
    for node in order:
        if node.operation == "placeholder":
            if node not in feeds:
                raise MissingFeedError(node)
            if np.shape(feeds[node]) != node.shape:
                raise FeedShapeError(node, feeds[node])
        for each in node.inputs:
            uses[each] += 1
    for node in targets:
        uses[node] += 1  # the caller is a consumer that never finishes

    memory = LiveBytes(order, feeds)
    values: dict[Node, Value] = {}
    live_bytes = []
    for node in order:
        if node.operation == "placeholder":
            values[node] = feeds[node]
        else:
            arguments = [values[each] for each in node.inputs]
            values[node] = OPERATIONS[node.operation].compute(*arguments, **node.attributes)
        memory.hold(values[node])
        live_bytes.append(memory.now)
        for each in node.inputs:
            uses[each] -= 1
            if uses[each] == 0:
                memory.release(values[each])
                del values[each]
    return Execution([values[node] for node in targets], order, live_bytes)
