"""Bad arguments of an operator, refused in a sentence: which one, what was expected, what came.

The kinds of errors are those of PyTorch's own operators: TypeError for what is no tensor or no
number, RuntimeError for shapes, dtypes, devices and values. Only shapes, dtypes and devices are
looked at, never the elements, so that the checks also hold for meta and fake tensors.
"""

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

Axis = int | str | EllipsisType
"""A size, the name of an axis of any size, or `...` (in front) for any number of axes."""


def require_tensor(
    name: str,
    value: object,
    axes: Sequence[Axis] | None = None,
    *,
    floating: bool = True,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    like: tuple[str, Tensor] | None = None,
) -> Tensor:
    """Check one tensor argument of an operator and return it.

    Args:
        name: The argument's name, as in `"weight"`.
        value: What came.
        axes: The shape, such as `("out_features", 3)` or `(..., "in_features")`: a number is
            required exactly, a name stands for any size. None: any shape.
        floating: Whether the dtype must be one of floating point.
        dtype: The dtype, where there is only one.
        device: The device, where there is only one.
        like: The name and the value of another argument, whose dtype and device it must share.

    Raises:
        TypeError: It is no tensor.
        RuntimeError: Its shape, dtype or device is another.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {_kind(value)}.")
    if axes is not None and not _fits(value.shape, axes):
        raise RuntimeError(f"{name}: expected shape {_shown(axes)}, got {list(value.shape)}.")
    if floating and not value.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a tensor of floating point, got {value.dtype}.")
    if dtype is not None and value.dtype != dtype:
        raise RuntimeError(f"{name}: expected {dtype}, got {value.dtype}.")
    if device is not None and value.device != device:
        raise RuntimeError(f"{name}: expected it on {device}, got it on {value.device}.")
    if like is not None:
        other, model = like
        if value.dtype != model.dtype:
            raise RuntimeError(
                f"{name}: expected {model.dtype}, the dtype of {other}, got {value.dtype}."
            )
        if value.device != model.device:
            raise RuntimeError(
                f"{name}: expected it on {model.device} with {other}, got it on {value.device}."
            )
    return value


def require_linear(x: object, weight: object, bias: object) -> tuple[Tensor, Tensor, Tensor]:
    """Check the arguments of a linear layer, fused with its activation or not.

    Args:
        x: [..., in_features], floating point.
        weight: [out_features, in_features], of x's dtype and device.
        bias: [out_features], of x's dtype and device.

    Raises:
        TypeError: One of them is no tensor.
        RuntimeError: The shapes do not fit, or dtypes or devices differ.
    """
    x = require_tensor("x", x, (..., "in_features"))
    in_features = x.shape[-1]
    weight = require_tensor("weight", weight, ("out_features", in_features), like=("x", x))
    bias = require_tensor("bias", bias, (weight.shape[0],), like=("x", x))
    return x, weight, bias


def require_pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Check a whole number, or one for rows and one for columns, and return the two.

    Args:
        name: The argument's name, as in `"stride"`.
        value: What came.
        least: The smallest number allowed.

    Raises:
        TypeError: It is neither a whole number nor a sequence of them.
        RuntimeError: A number is too small, or there are not two of them.
    """
    numbers = list(value) if isinstance(value, (tuple, list)) else [value, value]
    if not all(_is_whole(number) for number in numbers):
        raise TypeError(f"{name}: expected a whole number or two of them, got {value!r}.")
    if len(numbers) != 2:
        raise RuntimeError(
            f"{name}: expected one number, or one for rows and one for columns, got {value!r}."
        )
    if min(numbers) < least:
        raise RuntimeError(f"{name}: expected at least {least}, got {value!r}.")
    return numbers[0], numbers[1]


def require_whole(name: str, value: Any, least: int) -> int:
    """Check a whole number and return it; raises TypeError or RuntimeError as `require_pair`."""
    if not _is_whole(value):
        raise TypeError(f"{name}: expected a whole number, got {_kind(value)}.")
    if value < least:
        raise RuntimeError(f"{name}: expected at least {least}, got {value}.")
    return value


def require_number(name: str, value: Any, above: float | None = None) -> float:
    """Check a number, whole or not, that is larger than `above`, and return it.

    Raises:
        TypeError: It is no number.
        RuntimeError: It is not larger.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a number, got {_kind(value)}.")
    if above is not None and not value > above:
        raise RuntimeError(f"{name}: expected a number above {above:g}, got {value:g}.")
    return value


def _fits(shape: Sequence[int], axes: Sequence[Axis]) -> bool:
    """Whether a shape is the one described."""
    wanted = list(axes)
    sizes = list(shape)
    if wanted and wanted[0] is ...:
        wanted = wanted[1:]
        if len(sizes) < len(wanted):
            return False
        sizes = sizes[len(sizes) - len(wanted) :]
    if len(sizes) != len(wanted):
        return False
    return all(
        isinstance(axis, str) or size == axis for size, axis in zip(sizes, wanted, strict=True)
    )


def _shown(axes: Sequence[Axis]) -> str:
    return "[" + ", ".join("..." if axis is ... else str(axis) for axis in axes) + "]"


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number; the symbolic sizes of torch.export are, too."""
    return isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool)


def _kind(value: object) -> str:
    """What came instead of a tensor or a number, in words."""
    return "None" if value is None else f"a value of type {type(value).__name__}"
