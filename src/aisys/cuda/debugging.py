"""Five kernels with one bug each, as they are found: what the emulator says is the clue.

Each text stands beside this module, as it is given and repaired. A text that a student has not
touched counts as not written; `as_given` runs it all the same, and `look` says what is seen of it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.course import TextSlot, text_exercise
from aisys.course.slots import BEGIN_SOLUTION, BEGIN_START, END_SOLUTION, END_START, find

from .devices import load
from .emulator import KernelFault, Launch

prefix_sum = text_exercise("3.7", "prefix_sum", "prefix_sum.cu", points=1, language="cuda")
horizontal_gradient = text_exercise(
    "3.7", "horizontal_gradient", "horizontal_gradient.cu", points=1, language="cuda"
)
block_maximum = text_exercise("3.7", "block_maximum", "block_maximum.cu", points=1, language="cuda")
row_sums = text_exercise("3.7", "row_sums", "row_sums.cu", points=1, language="cuda")
free_list = text_exercise("3.7", "free_list", "free_list.cu", points=2, language="cuda")

NONE, MOST = 0xFFFFFFFF, 8
BEGIN, FINISH, GIVE = 0, 1, 2

Text = str | TextSlot
Turns = list[tuple[int, int]]
"""A thread and what it does, one after another."""
COMES_BACK: Turns = [
    (0, BEGIN), (1, BEGIN), (1, FINISH), (1, BEGIN), (1, FINISH), (1, GIVE), (0, FINISH),
    (2, BEGIN), (2, FINISH),
]  # fmt: skip
"""Thread 0 is interrupted between the two halves; meanwhile thread 1 takes two and gives one."""


def call_prefix_sum(
    elements: np.ndarray, block: int = 64, text: Text = prefix_sum, device: str = "emulator"
) -> tuple[np.ndarray, Launch]:
    """The running sums of each block's elements [n], int32, and what was seen of the launch."""
    sums = np.full(len(elements), -(10**9), np.int32)
    kernel = load(text, device)["prefix_sum"]
    seen = kernel[-(-len(elements) // block), block](elements, sums, len(elements))
    return sums, seen


def call_horizontal_gradient(
    image: np.ndarray, text: Text = horizontal_gradient, device: str = "emulator"
) -> tuple[np.ndarray, Launch]:
    """The gradient of an image [height, width], float32, and what was seen of the launch."""
    height, width = image.shape
    gradient = np.full_like(image, np.nan)
    kernel = load(text, device)["horizontal_gradient"]
    grid = (-(-width // 32), -(-height // 4))
    return gradient, kernel[grid, (32, 4)](image, gradient, height, width)


def call_block_maximum(
    elements: np.ndarray, block: int = 64, text: Text = block_maximum, device: str = "emulator"
) -> tuple[np.ndarray, Launch]:
    """The largest of each block's elements [n], float32, and what was seen of the launch."""
    grid = -(-len(elements) // block)
    maxima = np.full(grid, np.nan, np.float32)
    kernel = load(text, device)["block_maximum"]
    return maxima, kernel[grid, block](elements, maxima, len(elements))


def call_row_sums(
    matrix: np.ndarray, text: Text = row_sums, device: str = "emulator"
) -> tuple[np.ndarray, Launch]:
    """The sums of the rows of a matrix [rows, columns], float32, and what was seen of it."""
    rows, columns = matrix.shape
    sums = np.full(rows, np.nan, np.float32)
    kernel = load(text, device)["row_sums"]
    return sums, kernel[-(-rows // 32), 32](matrix, sums, rows, columns)


def play_free_list(
    nodes: int, turns: Turns, threads: int = 3, text: Text = free_list, device: str = "emulator"
) -> tuple[list[int], list[list[int]]]:
    """Let threads take nodes from a list and give them back, in the order of the turns.

    Args:
        nodes: In the list at first: 0, 1, 2 and so on.
        turns: See `Turns`; `BEGIN`, `FINISH`, `GIVE`.
        threads: Of the one block.
        text: The kernel's.
        device: `"emulator"` or `"gpu"`.

    Returns:
        The list in the end, from its head on, until it is at its end or comes back to a node; and
        the nodes that each thread holds.
    """
    head = np.array([0 if nodes else NONE], np.uint64)
    behind = np.array([*range(1, nodes), -1][:nodes] or [-1], np.int32)
    held = np.full((threads, MOST), -2, np.int32)
    order = np.array(turns or [(-1, 0)], np.int32)
    load(text, device)["free_list"][1, threads](head, behind, order, len(order), held)
    free: list[int] = []
    node = int(head[0]) & NONE
    while node < nodes and node not in free:
        free.append(node)
        node = int(behind[node]) & NONE
    return free, [[int(node) for node in row if node != -1] for row in held]


def owners(nodes: int, turns: Turns, threads: int = 3, text: Text = free_list) -> np.ndarray:
    """Who has each node after each turn: [turns + 1, nodes, 1 + threads], 0 or 1.

    The last axis is the list and then the threads. A sound list has a single 1 for each node.
    """
    table = np.zeros((len(turns) + 1, nodes, 1 + threads), np.int64)
    for turn in range(len(turns) + 1):
        free, held = play_free_list(nodes, turns[:turn], threads, text)
        for owner, had in enumerate([free, *held]):
            table[turn, had, owner] = 1
    return table


def as_given(slot: TextSlot) -> str:
    """The text as the exercise gives it, with its bug."""
    if BEGIN_SOLUTION not in slot.marked:
        return slot.marked  # in a kit there is nothing else
    lines, skipping = [], False
    for line in slot.marked.splitlines():
        if BEGIN_SOLUTION in line or END_SOLUTION in line:
            skipping = BEGIN_SOLUTION in line
        elif not skipping and BEGIN_START not in line and END_START not in line:
            lines.append(line)
    return "\n".join(lines) + "\n"


def present(slot: TextSlot) -> str:
    """The student's text or, where there is none, the given one; lines are those of its cell."""
    return "\n" + (slot.attempt if isinstance(slot.attempt, str) else as_given(slot))


def look(name: str, given: bool = False) -> None:
    """Launch one of the five kernels on an example and print what is seen.

    Args:
        name: The exercise's name, such as `"prefix_sum"`.
        given: Whether to take the text as it is given, also where a student's is there.
    """
    slot = find(f"3.7 {name}")
    assert isinstance(slot, TextSlot)
    text = "\n" + as_given(slot) if given else present(slot)
    try:
        print(_EXAMPLES[name](text))
    except KernelFault as fault:
        print(fault)


def _example_of_rows(text: Text) -> Any:
    return call_row_sums(np.ones((64, 64), np.float32), text)[1]


def _example_of_list(text: Text) -> str:
    free, held = play_free_list(4, COMES_BACK, text=text)
    rows = [f"thread {thread} holds {nodes}" for thread, nodes in enumerate(held)]
    return "\n".join(["free_list: 4 nodes, 9 turns", f"the list is     {free}", *rows])


_EXAMPLES: dict[str, Callable[[Text], Any]] = {
    "prefix_sum": lambda text: call_prefix_sum(np.arange(100, dtype=np.int32), text=text)[1],
    "horizontal_gradient": lambda text: call_horizontal_gradient(
        np.zeros((5, 37), np.float32), text
    )[1],
    "block_maximum": lambda text: call_block_maximum(np.zeros(150, np.float32), text=text)[1],
    "row_sums": _example_of_rows,
    "free_list": _example_of_list,
}
