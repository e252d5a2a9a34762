"""The matrix products: right for all sizes, and moving the bytes that theory says."""

import numpy as np
import pytest

from aisys.course.errors import CourseError
from aisys.cuda import matmul
from aisys.cuda.gpus import GPUS
from aisys.cuda.matmul import TILE, Tile, multiply, predicted_bytes
from aisys.cuda.nvidia import resources, why_no_nvcc
from aisys.cuda.roofline import attainable, draw_roofline, ridge
from aisys.cuda.tuning import TILES

SMALL = Tile(32, 64, 8, 4)
SLOTS = (matmul.matmul_naive, matmul.matmul_tiled, matmul.matmul_registers)


def matrices(rows: int, inner: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner)).astype(np.float32)
    return a, rng.standard_normal((inner, columns)).astype(np.float32)


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.name)
@pytest.mark.parametrize("sizes", [(33, 20, 68), (1, 4, 4), (7, 0, 8), (32, 8, 64)])
def test_a_product_of_any_size_is_numpys(slot, sizes: tuple[int, int, int]) -> None:
    a, b = matrices(*sizes)
    c, seen = multiply(slot, a, b, SMALL)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)
    assert seen.findings == ()


@pytest.mark.parametrize(
    ("slot", "tile"),
    [
        (matmul.matmul_tiled, (TILE, TILE)),
        (matmul.matmul_registers, (SMALL.rows, SMALL.columns)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("sizes", [(64, 32, 128), (40, 24, 72), (16, 8, 16)])
def test_a_tiled_product_moves_the_predicted_bytes(slot, tile, sizes) -> None:
    # All rows begin at a sector, so what is counted in sectors is what is needed.
    _, seen = multiply(slot, *matrices(*sizes), SMALL)
    assert seen.global_bytes == predicted_bytes(*sizes, *tile)


def test_each_kernel_moves_less_than_the_one_before_and_does_the_same_work() -> None:
    a, b = matrices(64, 64, 64)
    naive, tiled, blocked = (multiply(slot, a, b, SMALL)[1] for slot in SLOTS)
    assert naive.flops == tiled.flops == blocked.flops == 2 * 64**3
    assert naive.global_bytes > 8 * tiled.global_bytes > 16 * blocked.global_bytes
    reads = [seen.total("shared", "read").bytes for seen in (tiled, blocked)]
    assert reads[0] == 4 * reads[1]
    assert blocked.total("global", "read").sectors_per_request == 16
    assert [seen.total("shared").bank_conflicts for seen in (tiled, blocked)] == [0, 0]


def test_every_tile_to_choose_from_gives_the_product() -> None:
    tiles = [tile for tile in TILES if tile.threads <= 256]
    a, b = matrices(40, 20, 72)
    for tile in (tiles[0], tiles[-1]):
        c, seen = multiply(matmul.matmul_registers, a, b, tile)
        np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)
        assert (seen.shared_bytes, seen.block[:2]) == (tile.shared_bytes, tile.block)


@pytest.mark.skipif(bool(why_no_nvcc()), reason=why_no_nvcc())
def test_a_thread_takes_no_more_registers_than_the_table_says() -> None:
    text = matmul.matmul_registers.text
    for tile in TILES:
        text += f"template __global__ void {tile.kernel}(const float *, const float *, float *, "
        text += "int, int, int);\n"
    found = resources(text, "sm_80")
    for tile in TILES:
        assert 0 < found[tile.kernel].registers <= tile.registers, tile


@pytest.mark.parametrize(
    ("sizes", "said"),
    [((4, 6, 8), "multiples of 4"), ((4, 8, 6), "8 and 6 came")],
)
def test_what_vectors_do_not_fit_is_refused_in_a_sentence(sizes, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        multiply(matmul.matmul_registers, *matrices(*sizes))


def test_matrices_that_do_not_fit_each_other_are_refused() -> None:
    a, b = np.ones((2, 4), np.float32), np.ones((8, 4), np.float32)
    with pytest.raises(CourseError, match="a has 4 columns and b 8 rows"):
        multiply(matmul.matmul_naive, a, b)


def test_the_roof_is_slanted_up_to_the_ridge_and_flat_behind_it() -> None:
    machine = GPUS["A100"]
    edge = ridge(machine)
    assert 12 < edge < 13
    assert attainable(machine, edge / 2) == pytest.approx(machine.flops / 2)
    assert attainable(machine, 2 * edge) == machine.flops


def test_the_roofline_says_what_was_measured_and_what_was_not() -> None:
    machine = GPUS["A100"]
    labels = draw_roofline(machine, {"naive": 0.4}).get_legend_handles_labels()[1]
    assert labels[1] == "naive: 0.4 FLOP/byte, at most 0.622 TFLOP/s"
    labels = draw_roofline(machine, {"naive": 0.4}, {"naive": 1e12}).get_legend_handles_labels()[1]
    assert labels[1] == "naive: 0.4 FLOP/byte, measured 1 TFLOP/s"
