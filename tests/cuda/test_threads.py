"""3.1: every thread finds its own elements, whatever the grid, and neighbours touch neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisys.course.errors import CourseError
from aisys.cuda import threads
from aisys.cuda.devices import launch
from aisys.cuda.thread_experiments import line_of, saxpy_in_pieces, sweep

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "block"), [(1, 32), (77, 48), (1000, 256), (1024, 1024)])
def test_vector_add_is_numpys(n: int, block: int) -> None:
    a, b = RNG.standard_normal((2, n), np.float32)
    result = np.full(n, np.nan, np.float32)
    launch(threads.vector_add, -(-n // block), block, a, b, result, n)
    np.testing.assert_array_equal(result, a + b)


@pytest.mark.parametrize(("n", "grid", "block"), [(1000, 1, 1), (1000, 3, 96), (5, 4, 64)])
def test_saxpy_does_all_elements_with_any_grid(n: int, grid: int, block: int) -> None:
    x, y = RNG.standard_normal((2, n), np.float32)
    expected = np.float32(1.5) * x + y
    launch(threads.saxpy, grid, block, 1.5, x, y, n)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (25, 40), (40, 25)])
def test_greyscale_is_the_weighted_sum_of_the_planes(rows: int, columns: int) -> None:
    image = RNG.uniform(0, 1, (3, rows, columns)).astype(np.float32)
    grey = np.full((rows, columns), np.nan, np.float32)
    grid = (-(-columns // 16), -(-rows // 8))
    launch(threads.greyscale, grid, (16, 8), image, grey, rows, columns)
    expected = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, 1)
    np.testing.assert_allclose(grey, expected, rtol=1e-5)


@given(st.integers(0, 10**9), st.integers(1, 1024), st.integers(1, 200), st.integers(1, 32))
def test_a_launch_covers_the_elements_or_fills_the_gpu_and_no_more(
    elements: int, block: int, multiprocessors: int, each: int
) -> None:
    grid, places = (
        threads.launch_shape(elements, block, multiprocessors, each),
        multiprocessors * each,
    )
    assert 1 <= grid <= places
    assert grid == places or grid * block >= elements
    assert grid == 1 or (grid - 1) * block < elements


@pytest.mark.parametrize(("elements", "block"), [(10, 0), (10, 1025), (-1, 32)])
def test_a_launch_that_cannot_be_is_refused(elements: int, block: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        threads.launch_shape(elements, block, 10, 10)


def test_pieces_move_eight_times_the_sectors_of_neighbours() -> None:
    n = 1024
    x, y = np.ones((2, n), np.float32)
    neighbours = launch(threads.saxpy, 2, 64, 2.0, x, y, n)
    pieces = saxpy_in_pieces(n, 2, 64)
    assert pieces.total("global").sectors == 8 * neighbours.total("global").sectors
    assert neighbours.total("global").sectors_per_request == 4


def test_the_grid_changes_who_works_and_not_what_is_moved() -> None:
    found = sweep(4096, 64, [1, 4, 16])
    assert len({each.sectors for each in found}) == 1
    assert found[0].steps > found[1].steps > found[2].steps


def test_the_line_of_an_access_is_found_or_missed_in_a_sentence() -> None:
    seen = saxpy_in_pieces(64, 1, 32)
    assert line_of(seen, "read", "x") == 5
    with pytest.raises(CourseError, match="no write of `x`"):
        line_of(seen, "write", "x")
