"""What every all-reduce must do: arrays of all kinds to try it on, and claims about the results."""

import math
import random
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from aisys.allreduce.transport import Request, Transport
from tests.support.rank_programs import sample

AllReduce = Callable[[Transport, np.ndarray], np.ndarray]

KINDS = ["float64", "float32", "float16", "complex64", "int64", "int8", "uint16", "bool"]

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda array: array,
    "two axes": lambda array: array.reshape(2, -1),
    "every second element": lambda array: np.repeat(array, 2)[::2],
    "transposed": lambda array: array.reshape(2, -1).T,
    "backwards": lambda array: array[::-1],
    "repeated": lambda array: np.broadcast_to(array, (3, len(array))),
}


class Dawdling(Transport):
    """A transport that waits at random, up to two milliseconds, before every message."""

    def __init__(self, transport: Transport, seed: int) -> None:
        super().__init__(transport.rank, transport.world_size, transport.timeout)
        self._transport = transport
        self._chance = random.Random(f"{seed} {transport.rank}")

    def close(self) -> None:
        self._transport.close()

    def _isend(self, data: np.ndarray, to: int, tag: int) -> Request:
        time.sleep(0.002 * self._chance.random())
        return self._transport.isend(data, to, tag)

    def _irecv(self, out: np.ndarray, source: int, tag: int) -> Request:
        time.sleep(0.002 * self._chance.random())
        return self._transport.irecv(out, source, tag)


def term(rank: int, n: int, dtype: str = "float64", layout: str = "plain") -> np.ndarray:
    """The array of one rank."""
    array = sample(1000 + rank, (n,), np.dtype(dtype))
    if array.dtype.kind in "fc":
        array *= array.dtype.type(10.0) ** (np.arange(n) % 3)  # some cancel, some dwarf the others
    return LAYOUTS[layout](array)


def summed(
    transport: Transport,
    allreduce: AllReduce,
    n: int,
    dtype: str = "float64",
    layout: str = "plain",
    delays: int | None = None,
) -> list:
    """A program: the result of an all-reduce, and whether the input is what it was."""
    mine = term(transport.rank, n, dtype, layout)
    mine.flags.writeable = False
    before = mine.tobytes()
    way = transport if delays is None else Dawdling(transport, delays)
    total = allreduce(way, mine)
    assert total.flags.c_contiguous and total.flags.writeable
    assert not np.shares_memory(total, mine)
    return [total, mine.tobytes() == before]


def assert_sums(
    returned: Sequence[list], n: int, dtype: str = "float64", layout: str = "plain"
) -> None:
    """What the ranks of `summed` returned is equal bit for bit, and the sum within rounding."""
    results = [result for result, _ in returned]
    assert all(untouched for _, untouched in returned)
    assert {result.tobytes() for result in results} == {results[0].tobytes()}
    terms = [term(rank, n, dtype, layout) for rank in range(len(results))]
    assert {(result.shape, result.dtype) for result in results} == {
        (terms[0].shape, terms[0].dtype)
    }
    assert_exact(results[0], terms)


def assert_exact(result: np.ndarray, terms: Sequence[np.ndarray]) -> None:
    """Each element is within the rounding of n - 1 additions of the exact sum; integers wrap."""
    if result.dtype.kind == "c":
        assert_exact(result.real, [each.real for each in terms])
        assert_exact(result.imag, [each.imag for each in terms])
    elif result.dtype.kind == "f":
        unit = float(np.finfo(result.dtype).eps)
        for place in np.ndindex(result.shape):
            values = [float(each[place]) for each in terms]
            exact = sum(map(Fraction, values), Fraction(0))
            size = math.fsum(map(abs, values))
            assert abs(Fraction(float(result[place])) - exact) <= (len(terms) - 1) * unit * size
    elif result.dtype.kind == "b":
        assert (result == np.any(terms, axis=0)).all()
    else:
        bits = 8 * result.dtype.itemsize
        for place in np.ndindex(result.shape):
            exact_number = sum(int(each[place]) for each in terms)
            assert (int(result[place]) - exact_number) % 2**bits == 0
