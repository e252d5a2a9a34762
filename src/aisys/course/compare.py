"""Holding an attempt's result against the reference's, and saying how the two differ."""

import cmath
from dataclasses import dataclass
from typing import Any

import numpy as np

from .plain import Plain


@dataclass(frozen=True)
class Difference:
    """The first difference between two results.

    Attributes:
        kind: `"type"`, `"shape"`, `"dtype"`, `"length"`, `"keys"`, `"value"`, or a verdict's word.
        message: One sentence; it may quote values.
        where: The place inside the result, such as `"[0]['loss']"`, or `""`.
    """

    kind: str
    message: str
    where: str = ""


def compare(
    got: Plain, expected: Plain, rtol: float = 1e-7, atol: float = 1e-9, where: str = ""
) -> Difference | None:
    """Compare two results; None where they agree within `atol + rtol * |expected|`.

    Shapes and kinds of dtype are compared before values, so that nothing is broadcast. NaN equals
    NaN. Whole numbers are compared exactly. A float is accepted where an integer was expected if
    the values agree, and the reverse; a boolean is not a number.
    """
    place = f" at {where}" if where else ""
    if isinstance(expected, dict) and isinstance(got, dict):
        if set(got) != set(expected):
            message = f"keys {_short(sorted(got))}{place}, expected {_short(sorted(expected))}."
            return Difference("keys", message, where)
        pairs = [(got[key], expected[key], f"{where}[{key!r}]") for key in expected]
        return _first(pairs, rtol, atol)
    if isinstance(expected, list) and isinstance(got, list):
        if len(got) != len(expected):
            message = f"{len(got)} items{place}, expected {len(expected)}."
            return Difference("length", message, where)
        pairs = [
            (g, e, f"{where}[{i}]") for i, (g, e) in enumerate(zip(got, expected, strict=True))
        ]
        return _first(pairs, rtol, atol)
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        return _arrays(got, expected, rtol, atol, where)
    if _is_number(expected) and _is_number(got):
        if _close(got, expected, rtol, atol):
            return None
    elif type(got) is not type(expected):
        return Difference("type", f"{_type(got)}{place}, expected {_type(expected)}.", where)
    elif got == expected:
        return None
    return Difference("value", f"{_short(got)}{place}, expected {_short(expected)}.", where)


def _first(pairs: list[tuple[Any, Any, str]], rtol: float, atol: float) -> Difference | None:
    for got, expected, where in pairs:
        difference = compare(got, expected, rtol, atol, where)
        if difference is not None:
            return difference
    return None


def _arrays(
    got: np.ndarray, expected: np.ndarray, rtol: float, atol: float, where: str
) -> Difference | None:
    place = f" at {where}" if where else ""
    if got.shape != expected.shape:
        message = f"shape {list(got.shape)}{place}, expected {list(expected.shape)}."
        return Difference("shape", message, where)
    if _family(got) != _family(expected):
        message = f"an array of {got.dtype}{place}, expected {expected.dtype}."
        return Difference("dtype", message, where)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        left, right = got.astype(wide), expected.astype(wide)
        error, good = np.abs(left - right), got == expected
        if {got.dtype.kind, expected.dtype.kind} & {"f", "c"}:
            good |= (error <= atol + rtol * np.abs(right)) & np.isfinite(right)
            good |= np.isnan(left) & np.isnan(right)
    if good.all():
        return None
    index = tuple(int(i) for i in np.argwhere(~good)[0])
    finite = error[~good & np.isfinite(error)]
    largest = f", the largest by {finite.max():.3g}" if finite.size else ""
    spot = f"{where}[{', '.join(map(str, index))}]" if index else where or "the only value"
    message = (
        f"{got[index]} at {spot}, expected {expected[index]}; "
        f"{int((~good).sum())} of {expected.size} values differ{largest}."
    )
    return Difference("value", message, where)


def _family(array: np.ndarray) -> str:
    return {"b": "boolean", "c": "complex"}.get(array.dtype.kind, "number")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)


def _close(got: Any, expected: Any, rtol: float, atol: float) -> bool:
    if got == expected:
        return True
    if isinstance(got, int) and isinstance(expected, int):
        return False
    try:
        if cmath.isnan(got) or cmath.isnan(expected):
            return cmath.isnan(got) and cmath.isnan(expected)
        return cmath.isfinite(expected) and abs(got - expected) <= atol + rtol * abs(expected)
    except OverflowError:  # a whole number beyond every float
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _type(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return "None" if value is None else f"{type(value).__name__} {_short(value)}"
