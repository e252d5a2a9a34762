"""Counting passes over memory: arrays that note what is read and written.

A pass is one array read or written from its beginning to its end; half an array is half a pass.
What the processor finds in its cache does not count: small arrays, and a small part of a large one
that was used a moment ago.
"""

import math
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from aisys.autodiff.graph import Node
from aisys.autodiff.operations import OPERATIONS, Value


class Traffic:
    """What NumPy's elementwise operations, sums and matrix products read and wrote.

    Attributes:
        cache_bytes: The size of the cache. An array up to this size counts as being in it.
        passes: How many arrays were read or written, in parts of an array.
        moved_bytes: The bytes of these.
        computed: The elements that were computed, cached or not.
    """

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.passes = 0.0
        self.moved_bytes = 0
        self.computed = 0
        self._written: dict[int, weakref.ref[np.ndarray]] = {}  # by address, while they live
        self._cached: dict[tuple, int] = {}  # parts of large arrays, the latest used last

    def follow(self, value: Value) -> Value:
        """The same array, which from now on notes here what is done with it."""
        if not isinstance(value, np.ndarray):
            return value
        followed = value.view(TrafficArray)
        followed.traffic = self
        return followed

    def result(self, value: Value) -> Value:
        """Follow what an operation returned, and count that it was written, if nobody has."""
        if isinstance(value, np.ndarray) and value.base is None:
            written = self._written.get(_address(value))
            if written is None or written() is not value:
                self.note(value)
        self._written.clear()
        return self.follow(value)

    def note(self, array: np.ndarray, written: bool = False) -> None:
        """Count that an array, or a part of a larger one, was read or written."""
        whole = array
        while type(whole.base) is type(array):
            whole = whole.base
        size, moved = _distinct_bytes(whole), _distinct_bytes(array)
        if size > self.cache_bytes and not self._in_cache(array, moved):
            self.passes += moved / size
            self.moved_bytes += moved
        if written:
            self._written[_address(whole)] = weakref.ref(whole)

    def _in_cache(self, part: np.ndarray, size: int) -> bool:
        """Whether a part of a large array was used a moment ago; it has been now."""
        place = _place(part)
        found = self._cached.pop(place, None) is not None
        self._cached[place] = size
        while sum(self._cached.values()) > self.cache_bytes:
            del self._cached[next(iter(self._cached))]
        return found


class TrafficArray(np.ndarray):
    """An array whose operations are noted in `traffic`; what it computes is noted as well."""

    traffic: Traffic | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.traffic = getattr(source, "traffic", None)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        traffic = next(
            each.traffic
            for each in (*inputs, *out)
            if isinstance(each, TrafficArray) and each.traffic is not None
        )
        read = {_place(each): each for each in inputs if isinstance(each, np.ndarray)}
        for each in read.values():
            traffic.note(each)
        if any(each is not None for each in out):
            options["out"] = tuple(_plain(each) for each in out)
        made = getattr(ufunc, method)(*(_plain(each) for each in inputs), **options)
        target = out[0] if out and out[0] is not None else traffic.follow(made)
        traffic.computed += np.size(target)
        if isinstance(target, np.ndarray):
            traffic.note(target, written=True)
        return target


def count_traffic(order: list[Node], feeds: Mapping[Node, Value], cache_bytes: int) -> Traffic:
    """Compute nodes in a given order and count what they move.

    What an operation does other than by NumPy's universal functions (copying a part of an array,
    say) is not seen, except that its result is written.

    Args:
        order: Nodes, each after its inputs, as from `ready_order`.
        feeds: The placeholders' values.
        cache_bytes: See `Traffic`.
    """
    traffic = Traffic(cache_bytes)
    values: dict[Node, Value] = {}
    uses = Counter(each for node in order for each in node.inputs)
    for node in order:
        if node.operation == "placeholder":
            values[node] = traffic.follow(feeds[node])
        elif node.operation == "constant":
            values[node] = traffic.follow(node.attributes["value"])
        else:
            arguments = [values[each] for each in node.inputs]
            computed = OPERATIONS[node.operation].compute(*arguments, **node.attributes)
            values[node] = traffic.result(computed)
        for each in node.inputs:
            uses[each] -= 1
            if uses[each] == 0:
                del values[each]
    return traffic


def _distinct_bytes(array: np.ndarray) -> int:
    """The bytes of the elements that are apart in memory: a broadcast axis counts once."""
    sizes = (n for n, stride in zip(array.shape, array.strides, strict=True) if stride)
    return array.itemsize * math.prod(sizes)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _place(array: np.ndarray) -> tuple:
    return _address(array), array.shape, array.strides


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, TrafficArray) else value
