"""The transposes: right at every edge, and as cheap as the arithmetic of sectors and banks says."""

import numpy as np
import pytest

from aisys.course import TextSlot
from aisys.cuda import transpose
from aisys.cuda.checks import limits
from aisys.cuda.devices import launch
from aisys.cuda.emulator import Launch
from aisys.cuda.transpose import sectors_and_passes

KERNELS = [transpose.transpose_naive, transpose.transpose_tiled, transpose.transpose_padded]


def transposed(slot: TextSlot, rows: int, columns: int) -> Launch:
    """Launch a kernel on a random matrix and look at what it wrote."""
    matrix = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    output = np.full((columns, rows), np.nan, np.float32)
    grid = transpose.grid_of(slot.name, rows, columns)
    seen = launch(slot, grid, transpose.BLOCKS[slot.name], matrix, output, rows, columns)
    np.testing.assert_array_equal(output, matrix.T)
    return seen


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (31, 33), (64, 32), (45, 100)])
@pytest.mark.parametrize("slot", KERNELS, ids=lambda slot: slot.name)
def test_every_size_is_transposed(slot: TextSlot, size: tuple[int, int]) -> None:
    transposed(slot, *size)


@pytest.mark.parametrize("slot", KERNELS, ids=lambda slot: slot.name)
def test_what_the_arithmetic_says_of_a_request_is_what_the_emulator_counts(slot: TextSlot) -> None:
    seen = transposed(slot, 64, 96)
    assert seen.samples
    for sample in seen.samples:
        sectors, passes = sectors_and_passes(sample.offsets)
        cost = seen.total(sample.space, sample.access)
        if sample.space == "global":
            assert cost.sectors == sectors * cost.requests
        else:
            assert cost.wavefronts == passes * cost.requests


def test_each_transpose_mends_what_the_one_before_wastes() -> None:
    naive, tiled, padded = (transposed(slot, 64, 96) for slot in KERNELS)
    assert naive.total("global", "read").sectors_per_request == 4
    assert naive.total("global", "write").sectors_per_request == 32
    for seen in (tiled, padded):
        assert seen.total("global", "read").sectors_per_request == 4
        assert seen.total("global", "write").sectors_per_request == 4
    assert tiled.total("shared", "read").bank_conflicts == 31 * 64 * 96 // 32
    assert padded.total("shared").bank_conflicts == 0


@pytest.mark.parametrize("seed", range(5))
def test_sectors_and_passes_are_those_of_a_set_of_addresses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = [int(4 * n) if rng.random() < 0.8 else None for n in rng.integers(0, 500, 32)]
    sectors, passes = sectors_and_passes(offsets)
    words = {offset // 4 for offset in offsets if offset is not None}
    assert sectors == len({word // 8 for word in words})
    assert passes == max(sum(word % 32 == bank for word in words) for bank in range(32))


def test_a_limit_names_what_was_counted_and_what_is_enough() -> None:
    naive, tiled = transposed(KERNELS[0], 64, 96), transposed(KERNELS[1], 64, 96)
    wasteful, good = limits.moved(naive, "write"), limits.moved(tiled, "write")
    assert limits.too_many_sectors("writes of output", wasteful, good) == (
        "writes of output: 32.0 sectors per request, 6,144 in all; "
        "4.0 per request, 768 in all, are enough."
    )
    assert limits.too_many_sectors("writes of output", good, good) == ""
    assert "of which 5,952 are bank conflicts" in limits.too_many_conflicts(limits.shared(tiled))
