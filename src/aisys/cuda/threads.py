"""Threads and their indices: which thread does what, and how many blocks to launch."""

from aisys.course import exercise, text_exercise

vector_add = text_exercise("3.1", "vector_add", "vector_add.cu", points=1, language="cuda")
saxpy = text_exercise("3.1", "saxpy", "saxpy.cu", points=2, language="cuda")
greyscale = text_exercise("3.1", "greyscale", "greyscale.cu", points=1.5, language="cuda")

MOST_THREADS = 1024
"""The most threads of a block, on every GPU since 2010."""


@exercise("3.1", points=1)
def launch_shape(elements: int, block: int, multiprocessors: int, blocks_each: int) -> int:
    """How many blocks to launch of a kernel with a grid-stride loop.

    Enough for a thread an element, but no more than are resident at the same time: a block more
    would only wait, and the loop takes its elements without it. At least one, because a launch of
    no blocks is an error.

    Args:
        elements: How many there are to do, 0 or more.
        block: Threads of a block.
        multiprocessors: Of the GPU.
        blocks_each: Blocks of this kernel that one multiprocessor has room for.

    Raises:
        ValueError: `block` is not from 1 to 1024 (`MOST_THREADS`), or `elements` is negative.
    """
    if not 1 <= block <= MOST_THREADS:
        raise ValueError(f"block: expected 1 to {MOST_THREADS} threads; this is {block}.")
    if elements < 0:
        raise ValueError(f"elements: expected 0 or more; this is {elements}.")
    needed = -(-elements // block)
    return max(1, min(needed, multiprocessors * blocks_each))
