"""The sums: right for every length and block, and what tree, shuffles and passes cost."""

import numpy as np
import pytest

from aisys.course import TextSlot
from aisys.cuda import devices, reduction
from aisys.cuda.checks.reduction import two_launches
from aisys.cuda.emulator import Launch
from aisys.cuda.reduction import sum_two_pass

LENGTHS = [0, 1, 31, 32, 33, 255, 1000, 4097]


def summed(slot: TextSlot, n: int, grid: int, block: int) -> Launch:
    """Launch a kernel on whole numbers and look at the sum of what it wrote."""
    numbers = np.random.default_rng(n).integers(-99, 100, n).astype(np.float32)
    partial = np.full(grid, np.nan, np.float32)
    dynamic = 4 * block if slot is reduction.sum_tree else 0
    seen = devices.launch(slot, grid, block, numbers, partial, n, shared_bytes=dynamic)
    assert partial.sum() == numbers.sum()
    return seen


@pytest.mark.parametrize(("grid", "block"), [(1, 32), (3, 64), (2, 1024)])
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(
    "slot", [reduction.sum_tree, reduction.sum_shuffle], ids=lambda slot: slot.name
)
def test_every_length_is_added_up(slot: TextSlot, n: int, grid: int, block: int) -> None:
    summed(slot, n, grid, block)


@pytest.mark.parametrize("block", [32, 96, 160, 992])
def test_shuffles_take_a_block_of_any_number_of_warps(block: int) -> None:
    summed(reduction.sum_shuffle, 2000, 2, block)


def test_the_tree_has_a_barrier_for_each_step_and_no_conflict() -> None:
    seen = summed(reduction.sum_tree, 4096, 2, 256)
    assert seen.barriers == 2 * (1 + 8)
    assert seen.total("shared").bank_conflicts == 0
    # 8 warps write; 4, 2 and 1 add, then one for the last five steps; one lane reads the sum.
    assert seen.total("shared").requests == 2 * (8 + 3 * (4 + 2 + 1 + 5) + 1)


def test_shuffles_need_one_barrier_and_a_number_for_each_warp() -> None:
    seen = summed(reduction.sum_shuffle, 4096, 2, 256)
    assert seen.barriers == 2
    assert seen.shared_bytes == 32 * 4
    assert seen.total("shared").requests == 2 * (8 + 1)


def test_one_atomic_addition_a_block_is_added_to_what_is_there() -> None:
    total = np.full(1, 10, np.float32)
    numbers = np.arange(300, dtype=np.float32)
    seen = devices.launch(reduction.sum_shuffle, 4, 64, numbers, total, 300, kernel="sum_atomic")
    assert total[0] == 10 + 299 * 150
    assert seen.total(access="atomic").contention == 4


@pytest.mark.parametrize("n", [*LENGTHS, 64, 65])
def test_two_passes_are_at_most_two_launches(n: int) -> None:
    numbers = np.random.default_rng(n).integers(-99, 100, n).astype(np.float32)
    grids = []

    def launch(grid: int, *rest: object) -> None:
        devices.launch(reduction.sum_shuffle, grid, *rest)
        grids.append(grid)

    assert sum_two_pass(numbers, launch, block=64, most_blocks=8) == numbers.sum()
    blocks = min(-(-n // 64), 8)
    assert grids == ([] if n == 0 else [1] if blocks == 1 else [blocks, 1])


@pytest.mark.parametrize(
    ("launches", "kind"),
    [([5], "launches"), ([5, 3, 1], "launches"), ([9, 1], "blocks"), ([], "launches")],
)
def test_sums_that_no_single_block_added_up_are_refused(launches: list[int], kind: str) -> None:
    expected = {"sum": 3.0, "launches": [5, 1]}
    assert two_launches({"sum": 3.0, "launches": [5, 1]}, expected) is None
    difference = two_launches({"sum": 3.0, "launches": launches}, expected)
    assert difference is not None and difference.kind == kind
