"""A third array module, in NumPy's style: every operator is one launch, and all are counted.

It stands for CuPy on a machine without a GPU. It computes with NumPy on the CPU; what it is for is
the record: which kernels an expression launches on a GPU, and how many bytes each reads and writes.
CuPy, too, launches one kernel for each elementwise operator and for each reduction, makes a new
array for every result, and refuses to mix its arrays with NumPy's. Unlike CuPy, this module refuses
NumPy's own functions on its arrays, so that a forgotten `np.` is seen.

    with counting() as operations:
        y = tanh(asarray(x)) * 2
    [operation.name for operation in operations]    # ['tanh', 'multiply']
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

pi, e, inf, newaxis = np.pi, np.e, np.inf, None
float32, float64, int32, int64, bool_ = np.float32, np.float64, np.int32, np.int64, np.bool_


@dataclass(frozen=True)
class Operation:
    """One launch.

    Attributes:
        name: The operator's, as in NumPy.
        bytes: What it reads, each array once, and what it writes.
        flops: Floating-point operations: one for each element of an elementwise operator's result
            or of a reduction's argument.
    """

    name: str
    bytes: int
    flops: int


@contextmanager
def counting() -> Iterator[list[Operation]]:
    """The list that every operator of this module is noted in while the block runs."""
    operations: list[Operation] = []
    _counting.append(operations)
    try:
        yield operations
    finally:
        # By identity: two empty lists are equal.
        _counting[:] = [other for other in _counting if other is not operations]


class ndarray:  # named as in NumPy and CuPy
    """An array that lies on the imagined device; `asarray` makes one."""

    __array_ufunc__ = None  # NumPy leaves an operator with one of its arrays to this class
    __slots__ = ("_values",)

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._values.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of an element."""
        return self._values.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self._values.ndim

    @property
    def size(self) -> int:
        """How many elements there are."""
        return self._values.size

    @property
    def nbytes(self) -> int:
        """What the elements take, in bytes."""
        return self._values.nbytes

    @property
    def T(self) -> "ndarray":
        """The axes in reverse, without a launch."""
        return ndarray(self._values.T)

    def get(self) -> np.ndarray:
        """A copy on the host: an array of NumPy."""
        return self._values.copy()

    def reshape(self, *shape: Any) -> "ndarray":
        """The same elements in another shape, without a launch."""
        return ndarray(self._values.reshape(*shape))

    def astype(self, dtype: Any) -> "ndarray":
        """The elements as another type."""
        return _launch("astype", lambda x: x.astype(dtype), self)

    def copy(self) -> "ndarray":
        """The elements once more."""
        return _launch("copy", np.copy, self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> "ndarray":
        """See NumPy."""
        return sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "ndarray":
        """See NumPy."""
        return mean(self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "ndarray":
        """See NumPy."""
        return max(self, axis, keepdims)

    def __getitem__(self, where: Any) -> "ndarray":
        return ndarray(np.asarray(self._values[where]))

    def __setitem__(self, where: Any, value: Any) -> None:
        part = self._values[where]
        read = value.nbytes if isinstance(value, ndarray) else 0
        _note("setitem", read + part.nbytes, part.size)
        self._values[where] = _value("setitem", value)

    def __len__(self) -> int:
        return len(self._values)

    def __float__(self) -> float:
        return float(self._values)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "This array lies on the device: use the functions of its own module "
            "(get_array_module), or `.get()` for a copy on the host."
        )

    def __repr__(self) -> str:
        return f"counted.{self._values!r}"

    def __neg__(self) -> "ndarray":
        return negative(self)

    def __abs__(self) -> "ndarray":
        return absolute(self)


def asarray(values: Any, dtype: Any = None) -> ndarray:
    """Numbers, or an array of NumPy, copied to the device; an array there stays where it is."""
    if isinstance(values, ndarray):
        return values if dtype in (None, values.dtype) else values.astype(dtype)
    return ndarray(np.array(values, dtype))


array = asarray


def asnumpy(values: ndarray) -> np.ndarray:
    """A copy on the host."""
    return values.get()


def empty_like(like: ndarray) -> ndarray:
    """Room for as many elements, without a launch."""
    return ndarray(np.empty_like(like._values))


def zeros_like(like: ndarray) -> ndarray:
    """As many zeros."""
    return full_like(like, 0)


def ones_like(like: ndarray) -> ndarray:
    """As many ones."""
    return full_like(like, 1)


def full_like(like: ndarray, value: float) -> ndarray:
    """As many elements of one value."""
    made = np.full_like(like._values, value)
    _note("fill", made.nbytes, 0)
    return ndarray(made)


def where(condition: Any, then: Any, otherwise: Any) -> ndarray:
    """Elements of one array or another."""
    return _launch("where", np.where, condition, then, otherwise)


def clip(values: ndarray, low: Any, high: Any) -> ndarray:
    """The elements, no smaller than `low` and no larger than `high`."""
    return _launch("clip", np.clip, values, low, high)


def _elementwise(name: str) -> Callable[..., ndarray]:
    function = getattr(np, name)

    def operator(*arguments: Any, out: "ndarray | None" = None) -> ndarray:
        return _launch(name, function, *arguments, out=out)

    operator.__name__, operator.__doc__ = name, f"numpy.{name}, in one launch."
    return operator


def _reduction(name: str) -> Callable[..., ndarray]:
    function = getattr(np, name)

    def operator(values: ndarray, axis: Any = None, keepdims: bool = False) -> ndarray:
        result = np.asarray(function(_value(name, values), axis=axis, keepdims=keepdims))
        _note(name, values.nbytes + result.nbytes, values.size)
        return ndarray(result)

    operator.__name__, operator.__doc__ = name, f"numpy.{name}, in one launch."
    return operator


add, subtract, multiply, divide, power, maximum, minimum = map(
    _elementwise, ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum")
)
negative, absolute, square, sqrt, reciprocal, sign = map(
    _elementwise, ("negative", "absolute", "square", "sqrt", "reciprocal", "sign")
)
exp, expm1, log, log1p, tanh, sin, cos, logaddexp = map(
    _elementwise, ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "logaddexp")
)
abs = absolute
sum, mean, max, min = map(_reduction, ("sum", "mean", "max", "min"))

_counting: list[list[Operation]] = []
_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip


def _value(name: str, argument: Any) -> Any:
    """What NumPy computes with in an argument's place."""
    if isinstance(argument, ndarray):
        return argument._values
    if isinstance(argument, int | float | np.number | np.bool_):
        return argument
    what = "an array of NumPy" if isinstance(argument, np.ndarray) else type(argument).__name__
    raise TypeError(f"{name}: {what} does not lie on the device; `asarray` copies it there, once.")


def _launch(name: str, function: Callable[..., Any], *arguments: Any, out: Any = None) -> ndarray:
    values = [_value(name, argument) for argument in arguments]
    result = np.asarray(function(*values))
    arrays = {id(each): each.nbytes for each in values if isinstance(each, np.ndarray)}
    read = int(np.sum(list(arrays.values()), dtype=np.int64))
    if out is None:
        _note(name, read + result.nbytes, result.size)
        return ndarray(result)
    _note(name, read + out.nbytes, result.size)
    np.copyto(out._values, result, casting="same_kind")
    return out


def _note(name: str, moved: int, flops: int) -> None:
    for operations in _counting:
        operations.append(Operation(name, moved, flops))


def _give_operators() -> None:
    """`+` and its like, their reflections and their versions in place."""

    def give(method: str, function: Callable[..., Any]) -> None:
        def both(self: ndarray, other: Any) -> ndarray:
            return function(self, other)

        def reflected(self: ndarray, other: Any) -> ndarray:
            return function(other, self)

        def in_place(self: ndarray, other: Any) -> ndarray:
            return function(self, other, out=self)

        for prefix, made in (("", both), ("r", reflected), ("i", in_place)):
            if prefix == "" or method in _OPERATORS:
                made.__name__ = f"__{prefix}{method}__"
                setattr(ndarray, made.__name__, made)

    for method, name in (_OPERATORS | _COMPARISONS).items():
        give(method, _elementwise(name))


_give_operators()
