"""Verdicts of 4.6: payloads, judged by their format and by what is lost.

They take a payload apart as the text of its exercise says, and hold the loss against the gradient
of the reference's run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.allreduce.compression import CHUNK
from aisys.course import Difference, Plain

SLACK = 1e-5
"""Relative: float32 has seven digits."""


def kept(got: Any, expected: Any) -> Difference | None:
    """What every compressor must do: refuse what is not finite, and leave its input as it is."""
    if got["refused"] != expected["refused"]:
        said = f"{got['refused'] or 'nothing'} was raised; expected a ValueError with a sentence."
        return Difference("not refused", said)
    if not np.array_equal(got["gradient"], expected["gradient"]):
        return Difference("changed", "the gradient was changed; work on a copy.")
    return None


def bytes_of(got: Any, expected: np.ndarray, where: str = "") -> Difference | None:
    """Whether an array is one of bytes, as many as expected."""
    place = f" at {where}" if where else ""
    if not isinstance(got, np.ndarray) or got.dtype != np.uint8 or got.ndim != 1:
        what = f"{got.dtype} {list(got.shape)}" if isinstance(got, np.ndarray) else type(got)
        return Difference("payload", f"{what}{place}, expected bytes: uint8 [{len(expected)}].")
    if len(got) != len(expected):
        said = f"{len(got):,} bytes{place}, expected {len(expected):,}."
        return Difference("bytes", said, where)
    return None


def same_bytes(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: the same bytes."""
    found = bytes_of(got, expected)
    if found is not None:
        return found
    wrong = np.flatnonzero(got != expected)
    if not len(wrong):
        return None
    at = wrong[0]
    return Difference("value", f"{got[at]} at [{at}], expected {expected[at]}.", f"[{at}]")


def int8_close(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: each chunk's scale is right, and no element is off by more than half of it."""
    found = kept(got, expected) or bytes_of(got["payload"], expected["payload"])
    if found is not None:
        return found
    gradient = expected["gradient"]
    chunks = -(-len(gradient) // CHUNK)
    scales, wanted = (each["payload"][: 4 * chunks].view(np.float32) for each in (got, expected))
    codes = got["payload"][4 * chunks :].view(np.int8)
    for chunk, (scale, right) in enumerate(zip(scales, wanted, strict=True)):
        if not abs(float(scale) - float(right)) <= SLACK * right:
            said = f"the scale of chunk {chunk} is {scale:.7g}, expected {right:.7g}."
            return Difference("scale", said)
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        lost = np.abs(gradient[part] - codes[part] * scale.astype(np.float64))
        if not lost.max() <= (0.5 + 200 * SLACK) * scale + np.finfo(np.float32).tiny:
            said = f"an element of chunk {chunk} is off by {lost.max() / (scale or 1):.3g} scales."
            return Difference("error", f"{said} Half a scale is the most.")
    return None


def largest_kept(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: k different places, their elements, and none that was left out is larger."""
    found = kept(got, expected) or bytes_of(got["payload"], expected["payload"])
    if found is not None:
        return found
    gradient, half = expected["gradient"], len(expected["payload"]) // 2
    places = got["payload"][:half].view(np.int32)
    if len(set(places.tolist())) < len(places) or not _within(places, len(gradient)):
        said = f"the places are not {len(places)} different ones of the gradient's"
        return Difference("places", f"{said} {len(gradient)}.")
    elements = got["payload"][half:].view(np.float32)
    if not np.array_equal(elements, gradient[places]):
        said = "an element is not that of its place: each goes with its sign, in the places' order."
        return Difference("elements", said)
    wanted = np.abs(gradient[expected["payload"][:half].view(np.int32)])
    if not np.array_equal(np.sort(np.abs(elements)), np.sort(wanted)):
        said = "an element was left out that is larger in magnitude than one that was kept."
        return Difference("not the largest", said)
    return None


def two_means(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: both means, and the bits."""
    found = kept(got, expected) or bytes_of(got["payload"], expected["payload"])
    if found is not None:
        return found
    payload, wanted = got["payload"], expected["payload"]
    pairs = zip(payload[:8].view(np.float32), wanted[:8].view(np.float32), strict=True)
    for name, (mean, right) in zip(("below 0", "of at least 0"), pairs, strict=True):
        if not abs(mean - right) <= SLACK * abs(right):
            said = f"the mean of the elements {name} is {mean:.7g}, expected {right:.7g}."
            return Difference("mean", said)
    return None if np.array_equal(payload[8:], wanted[8:]) else Difference("bits", "other bits.")


def three_close(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: the scale is right, and each value is the nearest of the three."""
    found = kept(got, expected)
    if found is not None:
        return found
    scale, right, gradient = got["scale"], expected["scale"], expected["gradient"]
    if not isinstance(scale, float) or not abs(scale - right) <= SLACK * right:
        return Difference("scale", f"the scale is {scale}, expected {right:.7g}.")
    values = got["values"]
    if not isinstance(values, np.ndarray) or values.shape != gradient.shape:
        return Difference("shape", f"the values are no array [{len(gradient)}].")
    if values.dtype.kind not in "iu" or not np.isin(values, (-1, 0, 1)).all():
        return Difference("values", "the values are not all of -1, 0 and 1, in integers.")
    lost = np.abs(gradient - values * right)
    if not lost.max(initial=0) <= (0.5 + SLACK) * right:
        at = int(lost.argmax())
        said = f"{gradient[at]:.4g} became {values[at]} times {right:.4g}: another is nearer."
        return Difference("not the nearest", said, f"[{at}]")
    return None


def refusal(call: Callable[[], object]) -> str:
    """ "ValueError" where one with a sentence is raised, otherwise what came in its place."""
    try:
        call()
    except ValueError as error:
        return "ValueError" if str(error).strip() else "a ValueError without a word"
    return ""


def _within(places: np.ndarray, n: int) -> bool:
    return bool(((places >= 0) & (places < n)).all())
