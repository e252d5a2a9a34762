"""The sum of an array: in a block by a tree or by shuffles, over all blocks in two passes.

The kernels' texts stand beside this module. After Harris, "Optimizing parallel reduction in CUDA"
(NVIDIA, 2007), whose later steps a warp's shuffles replace.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aisys.course import exercise, text_exercise

sum_tree = text_exercise("3.4", "sum_tree", "sum_tree.cu", points=2, language="cuda")
sum_shuffle = text_exercise("3.4", "sum_shuffle", "sum_shuffle.cu", points=3, language="cuda")


@exercise("3.4", points=2)
def sum_two_pass(
    numbers: np.ndarray, launch: Callable[..., Any], block: int = 256, most_blocks: int = 1024
) -> float:
    """The sum of an array of any length, by one kernel that is launched twice at most.

    The kernel writes one sum for each block. Where there is more than one block, the same kernel
    adds up those sums, with one block. There are as many blocks as give each thread an element,
    but not more than `most_blocks`. Nothing is added up here; an empty array needs no launch.

    Args:
        numbers: The array, float32 [n], n from 0.
        launch: `launch(grid, block, input, partial, n)` launches the kernel with so many blocks
            and threads: it adds up the first n elements of `input`, float32, and writes the sum of
            each block to `partial`, float32 [grid]. No grid may be 0.
        block: Threads of a block.
        most_blocks: The most blocks of a launch.

    Returns:
        The sum.
    """
    n = len(numbers)
    if n == 0:
        return 0.0
    blocks = min(-(-n // block), most_blocks)
    partial = np.empty(blocks, np.float32)
    launch(blocks, block, numbers, partial, n)
    if blocks == 1:
        return float(partial[0])
    total = np.empty(1, np.float32)
    launch(1, block, partial, total, blocks)
    return float(total[0])
