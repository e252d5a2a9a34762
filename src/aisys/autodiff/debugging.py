"""Debugging the backward pass: breakpoints that type by themselves, and where a NaN came from."""

import io
import pdb
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor


class typed:
    """A context in which `breakpoint()` is given these commands instead of a keyboard.

    At each breakpoint Python's debugger runs all of them and goes on. Without this context the
    same `breakpoint()` waits for you to type: `p x` prints x, `where` the stack, `up` goes to the
    caller, `continue` ends it.

    Args:
        commands: What to type.
    """

    def __init__(self, *commands: str) -> None:
        self.commands = commands

    def __enter__(self) -> None:
        self._outer = sys._getframe(1)
        self._before = sys.breakpointhook
        sys.breakpointhook = self._stop

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.breakpointhook = self._before
        del self._outer

    def _stop(self, *args: Any, **kwargs: Any) -> None:
        debugger = _Debugger(self.commands, self._outer)
        debugger.reset()
        debugger.interaction(sys._getframe(1), None)


# Jupyter puts a debugger of its own, which is made for a terminal, in the place of Python's.
_Pdb: Any = next(each for each in pdb.Pdb.__mro__ if each.__module__ == "pdb")


class _Debugger(_Pdb):
    """Python's debugger with typed input, and a stack that begins where the commands were given."""

    def __init__(self, commands: tuple[str, ...], outer: FrameType) -> None:
        self._outer = outer
        keyboard = _Keyboard("\n".join([*commands, "continue", ""]))
        super().__init__(stdin=keyboard, stdout=sys.stdout, nosigint=True, readrc=False)

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The stack without the notebook's own machinery below our code."""
        stack, place = super().get_stack(f, t)
        first = next((i for i, (frame, _) in enumerate(stack) if frame is self._outer), 0)
        return stack[first:], place - first


class _Keyboard(io.StringIO):
    """Shows each line as it is read, as a terminal would."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        line = super().readline(-1 if size is None else size)
        print(line, end="")
        return line


@dataclass(frozen=True)
class Anomaly:
    """The first gradient that is not a number.

    Attributes:
        function: The backward function that returned it, such as "SqrtBackward0".
        forward: The lines of the forward pass that led to it, innermost last, as "where: line".
    """

    function: str
    forward: tuple[str, ...]


def first_anomaly(step: Callable[[], Tensor]) -> Anomaly | None:
    """Run a forward and a backward pass in anomaly mode, which looks at every gradient.

    The forward pass has ended when the NaN appears, so its stack is gone. Anomaly mode therefore
    notes the stack of every operation in the forward pass, which makes it slow.

    Args:
        step: Computes a loss.

    Returns:
        Where the first NaN came up, or None if there is none.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly():
            loss = step()
            try:
                loss.backward()
            except RuntimeError as error:
                named = re.search(r"Function '(\w+)' returned nan", str(error))
                if named is None:
                    raise
                told = next(str(w.message) for w in caught if "forward call" in str(w.message))
                return Anomaly(named[1], _own_lines(told))
    return None


def _own_lines(told: str) -> tuple[str, ...]:
    """Of the stack in a warning, the part above `first_anomaly`, without PyTorch's own lines."""
    found = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n    (.+)', told)
    inside = [i for i, (_, _, name, _) in enumerate(found) if name == first_anomaly.__name__]
    own = found[inside[-1] + 1 :] if inside else found
    return tuple(
        f"{name}, line {line}: {text.strip()}"
        for file, line, name, text in own
        if "/torch/" not in file
    )
