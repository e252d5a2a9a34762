"""Cells that were to define an exercise and failed, so that `check` can say what it tests.

A cell with a syntax error changes nothing: the version before it stays in place. What fails below
an exercise in its cell leaves the exercise in place. IPython tells of every cell that it has run;
without IPython nothing is noted.
"""

import re
from typing import Any

from .slots import Slot, latest_turn, slots

MOST = 200
"""The characters of an error's text."""

_MAGIC = re.compile(r"\A\s*%%attempt[ \t]+(\d+\.\d+)[ \t]+(\S+)")
_DECORATOR = re.compile(r"^@(?:[\w.]+\.)?attempt\(\s*[\"']?(\d+\.\d+)", re.MULTILINE)

_failed: dict[str, tuple[int, bool, str]] = {}
"""By the exercise's key: its turn when its latest cell failed, whether it stems from it, why."""
_turn_before = 0


def watch(shell: Any) -> None:
    """Note, from now on, which of a shell's cells fail."""
    global _turn_before
    _turn_before = latest_turn()
    shell.events.register("post_run_cell", _note)


def error_of_latest_cell(slot: Slot) -> str:
    """Why the latest cell of an exercise did not run, or `""` where the exercise stems from it."""
    turn, is_taken, error = _failed.get(slot.key, (-1, False, ""))
    return error if turn == slot.turn and not is_taken else ""


def error_after_attempt(slot: Slot) -> str:
    """With what the latest cell of an exercise ended after the attempt was taken, or `""`."""
    turn, is_taken, error = _failed.get(slot.key, (-1, False, ""))
    return error if turn == slot.turn and is_taken else ""


def exercises_in(source: str) -> list[Slot]:
    """The exercises that a cell was to define, however much of its syntax is wrong."""
    magic = _MAGIC.match(source)
    if magic:
        return [slot for slot in slots(magic[1]) if slot.name == magic[2]]
    _, *pieces = _DECORATOR.split(source)
    pairs = zip(pieces[::2], pieces[1::2], strict=True)  # each stage, and the text after it
    return [slot for stage, text in pairs for slot in _named_in(stage, re.findall(r"\w+", text))]


def _named_in(stage: str, words: list[str]) -> list[Slot]:
    """The exercise of a stage that is named first; of a class the methods that are named."""
    of_stage = slots(stage)
    heads = {slot.name.partition(".")[0] for slot in of_stage}
    head = next((word for word in words if word in heads), None)
    alike = [slot for slot in of_stage if slot.name.partition(".")[0] == head]
    return [slot for slot in alike if slot.name.rpartition(".")[2] in words] or alike


def _note(result: Any) -> None:
    global _turn_before
    before, _turn_before = _turn_before, latest_turn()
    error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
    if error is None:
        return
    named = exercises_in(result.info.raw_cell)
    taken = {_class_of(slot) for slot in named if slot.turn > before}
    for slot in named:
        is_taken = slot.turn > before
        if is_taken or _class_of(slot) not in taken:  # else the class only names it
            _failed[slot.key] = slot.turn, is_taken, _in_words(error)


def _class_of(slot: Slot) -> tuple[str, str]:
    """The class, or the function, that a cell defines for an exercise."""
    return slot.stage, slot.name.partition(".")[0]


def _in_words(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name} in line {error.lineno}: {error.msg}"[:MOST]
    text = " ".join(str(error).split()).rstrip(".")
    return f"{name}: {text}"[:MOST] if text else name
