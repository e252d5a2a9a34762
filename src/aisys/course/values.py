"""How values are shown: whole where they are small, and else what of two of them differs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from .compare import compare
from .plain import Plain

LONG_TEXT, LONG_LINES = 300, 8
"""A text of more characters or lines is shown in part."""
WIDTH = 64
"""The characters of one entry's value."""
MOST = 5
"""So many entries that differ are shown."""
RTOL, ATOL = 1e-6, 1e-9
NOTHING = "no such entry"


@dataclass(frozen=True)
class Entry:
    """One place at which two values differ.

    Attributes:
        where: The place, such as `['steps'][1]['loss']`; `""` is the value as a whole.
        got: What stands there, in at most a line.
        expected: What was expected there.
        remark: What else of the same array or list differs, or `""`.
    """

    where: str
    got: str
    expected: str
    remark: str = ""


def differing(
    got: Plain, expected: Plain, first: str = "", most: int = MOST
) -> tuple[list[Entry], int]:
    """The entries in which two values differ, and how many more of them there are.

    Dicts, lists and tuples are gone through, however deep; an array, and a list without anything
    nested, is one entry.

    Args:
        got: What came back.
        expected: What was expected.
        first: The place that a verdict named, inside the value or a part of it; entries there come
            before all others.
        most: How many are returned.
    """
    entries = list(_walk(got, expected, "", RTOL, ATOL))
    if not entries:  # a verdict may be stricter
        entries = list(_walk(got, expected, "", 0.0, 0.0))
    if first:
        entries.sort(key=lambda entry: first not in entry.where)
    return list(islice(entries, most)), max(0, len(entries) - most)


def brief(value: Plain) -> str:
    """A value as a student wants to see it: whole if it is small, with its shape if it is not."""
    if isinstance(value, np.ndarray):
        edges = 2 if value.ndim < 3 else 1
        text = np.array2string(
            value, precision=5, threshold=24, edgeitems=edges, suppress_small=True
        )
        return text if value.size == 1 else f"array of shape {list(value.shape)}\n{text}"
    if isinstance(value, dict):
        items = [f"{key}: {brief(item)}" for key, item in value.items()]
        text = "\n".join(items) if any("\n" in item for item in items) else ", ".join(items)
        return text if len(text) < 1200 else text[:1200] + " …"
    if isinstance(value, list) and any(isinstance(item, (np.ndarray, dict)) for item in value):
        text = "\n".join(f"[{i}] {brief(item)}" for i, item in enumerate(value[:6]))
        return text if len(text) < 1200 and len(value) <= 6 else text[:1200] + " …"
    if isinstance(value, float):
        return f"{value:.8g}"
    text = repr(value)
    return text if len(text) < 600 else text[:600] + " …"


def is_long(text: str) -> bool:
    """Whether a text is better shown in part."""
    return len(text) > LONG_TEXT or text.count("\n") >= LONG_LINES


def beginning(text: str) -> str:
    """A text, or where it is long its beginning."""
    if not is_long(text):
        return text
    start = "\n".join(text.splitlines()[: LONG_LINES - 1])[:LONG_TEXT]
    return f"{start.removesuffix(' …')} …"


def _walk(got: Any, expected: Any, where: str, rtol: float, atol: float) -> Iterator[Entry]:
    if isinstance(got, dict) and isinstance(expected, dict):
        for key in {**expected, **got}:
            place = f"{where}[{key!r}]"
            if key not in got:
                yield Entry(place, NOTHING, _line(expected[key]))
            elif key not in expected:
                yield Entry(place, _line(got[key]), NOTHING)
            else:
                yield from _walk(got[key], expected[key], place, rtol, atol)
    elif _is_list(got) and _is_list(expected) and len(got) == len(expected):
        if _is_flat(got) and _is_flat(expected):
            yield from _flat(got, expected, where, rtol, atol)
        else:
            for i, (left, right) in enumerate(zip(got, expected, strict=True)):
                yield from _walk(left, right, f"{where}[{i}]", rtol, atol)
    elif isinstance(got, np.ndarray) and isinstance(expected, np.ndarray):
        yield from _arrays(got, expected, where, rtol, atol)
    elif _is_list(got) and _is_list(expected):
        yield Entry(where, _with_length(got), _with_length(expected))
    elif _differ(got, expected, rtol, atol):
        yield Entry(where, *_pair(got, expected))


def _flat(got: Any, expected: Any, where: str, rtol: float, atol: float) -> Iterator[Entry]:
    """The entry of two lists without anything nested, as a whole if that fits into a line."""
    pairs = list(zip(got, expected, strict=True))
    wrong = [i for i, pair in enumerate(pairs) if _differ(*pair, rtol, atol)]
    if not wrong:
        return
    if max(len(repr(got)), len(repr(expected))) <= WIDTH:
        yield Entry(where, *_pair(got, expected))
        return
    spot, more = wrong[0], len(wrong) - 1
    remark = f"and {more} more of its {len(pairs)} items" if more else ""
    yield Entry(f"{where}[{spot}]", *_pair(*pairs[spot]), remark)


def _arrays(
    got: np.ndarray, expected: np.ndarray, where: str, rtol: float, atol: float
) -> Iterator[Entry]:
    if not _differ(got, expected, rtol, atol):
        return
    left, right = _pair(got, expected)
    if got.shape != expected.shape:
        shapes = [f"array of shape {list(array.shape)}" for array in (got, expected)]
        texts = zip(shapes, (left, right), strict=True)
        yield Entry(where, *(_cut(": ".join(pair)) for pair in texts))
        return
    if got.dtype.kind != expected.dtype.kind and "b" in (got.dtype.kind, expected.dtype.kind):
        yield Entry(where, _cut(f"{got.dtype} {left}"), _cut(f"{expected.dtype} {right}"))
        return
    if max(len(left), len(right)) <= WIDTH and "..." not in left + right:
        yield Entry(where, left, right)
        return
    places = np.ndindex(got.shape)
    wrong = [i for i in places if _differ(got[i].item(), expected[i].item(), rtol, atol)]
    if not wrong:
        yield Entry(where, left, right)
        return
    spot, more = wrong[0], len(wrong) - 1
    remark = f"and {more} more of its {expected.size} values" if more else ""
    place = f"{where}[{', '.join(map(str, spot))}]"
    yield Entry(place, *_pair(got[spot].item(), expected[spot].item()), remark)


def _differ(got: Any, expected: Any, rtol: float, atol: float) -> bool:
    return compare(got, expected, rtol, atol) is not None


def _pair(got: Any, expected: Any) -> tuple[str, str]:
    """Two values in a line each, with as many digits or from such a place that they differ."""
    if isinstance(got, str) and isinstance(expected, str):
        return _strings(got, expected)
    left, right = _line(got), _line(expected)
    return (left, right) if left != right else (_exact(got), _exact(expected))


def _strings(got: str, expected: str) -> tuple[str, str]:
    """Two strings, long ones from shortly before the first character that differs."""
    if max(len(got), len(expected)) <= WIDTH:
        return repr(got), repr(expected)
    pairs = enumerate(zip(got, expected, strict=False))
    same = next((i for i, (g, e) in pairs if g != e), min(len(got), len(expected)))
    start = max(0, same - WIDTH // 4)
    dots = "… " if start else ""
    parts = (
        (repr(text[start : start + WIDTH]), len(text) > start + WIDTH) for text in (got, expected)
    )
    left, right = (f"{dots}{part}{' …' if goes_on else ''}" for part, goes_on in parts)
    return left, right


def _line(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = np.array2string(
            value, precision=5, threshold=24, edgeitems=2, suppress_small=True, max_line_width=1000
        )
        return _cut(text)
    if _is_list(value) and not any(isinstance(item, (np.ndarray, dict)) for item in value):
        return _cut(repr(value))
    return _cut(brief(value))


def _exact(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _cut(np.array2string(value, floatmode="unique", max_line_width=1000))
    return _cut(repr(value))


def _with_length(value: Any) -> str:
    items = "1 item" if len(value) == 1 else f"{len(value)} items"
    return _cut(f"{items}: {_line(value)}") if len(value) else items


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[:WIDTH].rstrip()} …"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_flat(value: Any) -> bool:
    return not any(isinstance(item, (list, tuple, dict, np.ndarray)) for item in value)
