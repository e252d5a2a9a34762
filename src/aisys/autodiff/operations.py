"""The operations that a node can stand for: how each infers its shape and computes its value.

Nothing here knows of graphs. An operation gets shapes or values and its attributes, as in
`OPERATIONS["reduce_sum"].compute(x, axis=(0,), keepdims=False)`. Other files add operations of
their own with `register_operation`.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]
Value = np.ndarray | np.generic | float


@dataclass(frozen=True)
class Operation:
    """One operation: its name, the shape of its result, and its computation in NumPy.

    infer_shape(*shapes, **attributes) returns the result's shape or raises a ValueError that
    says what is wrong; compute(*values, **attributes) returns the value. It never changes its
    arguments.
    """

    name: str
    infer_shape: Callable[..., Shape]
    compute: Callable[..., Value]


OPERATIONS: dict[str, Operation] = {}


def register_operation(
    name: str, infer_shape: Callable[..., Shape], compute: Callable[..., Value]
) -> None:
    """Add an operation to the table; a second registration of a name replaces the first."""
    OPERATIONS[name] = Operation(name, infer_shape, compute)


def compute_relu(x: Value) -> Value:
    """max(x, 0), elementwise."""
    return np.maximum(x, 0)


def compute_softmax(x: Value, axis: int) -> Value:
    """exp(x) / sum(exp(x)) along an axis; the maximum is taken off first, so nothing overflows."""
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def compute_log_softmax(x: Value, axis: int) -> Value:
    """log(softmax(x)) along an axis, without the logarithm of a small number."""
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def compute_reduce_sum(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """The sum over the axes of a tuple; over none of them for ()."""
    return np.sum(x, axis=axis, keepdims=keepdims)


def elementwise_shape(*shapes: Shape) -> Shape:
    """The shape that NumPy's broadcasting gives."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError("the shapes do not broadcast") from None


def matmul_shape(left: Shape, right: Shape) -> Shape:
    """[rows, inner] @ [inner, columns] is [rows, columns]."""
    if len(left) != 2 or len(right) != 2:
        raise ValueError("both must be matrices")
    if left[1] != right[0]:
        raise ValueError(f"the inner sizes {left[1]} and {right[0]} differ")
    return left[0], right[1]


def reduce_shape(shape: Shape, axis: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape without the summed axes, or with size 1 in their place."""
    for each in axis:
        if not 0 <= each < len(shape):
            raise ValueError(f"there is no axis {each}")
    if keepdims:
        return tuple(1 if i in axis else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axis)


def along_axis_shape(shape: Shape, axis: int) -> Shape:
    """The same shape; the axis must exist."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"there is no axis {axis}")
    return shape


def reshape_shape(old: Shape, shape: Shape) -> Shape:
    """The new shape, if it has as many elements as the old one."""
    if math.prod(old) != math.prod(shape):
        raise ValueError(f"{math.prod(old)} elements do not fill {shape}")
    return shape


def transpose_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape with its axes permuted."""
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"{axes} is no permutation of its {len(shape)} axes")
    return tuple(shape[axis] for axis in axes)


def broadcast_to_shape(old: Shape, shape: Shape) -> Shape:
    """The new shape, if the old one broadcasts to it."""
    if elementwise_shape(old, shape) != shape:
        raise ValueError(f"it does not broadcast to {shape}")
    return shape


# Python's operators, not NumPy's functions: two Python numbers give a Python number, which leaves
# a float32 array in float32 where a NumPy float64 would promote it.
ELEMENTWISE: dict[str, Callable[..., Value]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negate": operator.neg,
    "power": operator.pow,
    "greater": operator.gt,
    "relu": compute_relu,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "zeros_like": np.zeros_like,
    "ones_like": np.ones_like,
}
for elementwise, function in ELEMENTWISE.items():
    register_operation(elementwise, elementwise_shape, function)

register_operation("constant", lambda value: np.shape(value), lambda value: value)
register_operation("matmul", matmul_shape, operator.matmul)
register_operation("reduce_sum", reduce_shape, compute_reduce_sum)
register_operation("softmax", along_axis_shape, compute_softmax)
register_operation("log_softmax", along_axis_shape, compute_log_softmax)
register_operation("reshape", reshape_shape, np.reshape)
register_operation("transpose", transpose_shape, np.transpose)
register_operation("broadcast_to", broadcast_to_shape, np.broadcast_to)
