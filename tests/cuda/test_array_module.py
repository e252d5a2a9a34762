"""3.2: one text for every array module, each operator a counted launch, and the fused kernel."""

import math
import types

import numpy as np
import pytest
import torch

from aisys.cuda import array_module, counted
from aisys.cuda.array_module import Machine, fusion_gain, gelu, get_array_module
from aisys.cuda.counted import Operation, asarray, asnumpy, counting
from aisys.cuda.devices import launch
from aisys.cuda.fusion_experiments import fused_bytes, operations_of_gelu

VALUES = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)
MACHINE = Machine(overhead=4e-6, bandwidth=1e12, peak=1e13)


def expected_gelu(x: np.ndarray) -> np.ndarray:
    return torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()


# The counted module.


@pytest.mark.parametrize(
    "expression",
    [
        lambda m, x: x + 1, lambda m, x: 2 - x, lambda m, x: x * x, lambda m, x: 1 / (x * x + 1),
        lambda m, x: -x, lambda m, x: abs(x), lambda m, x: x**3, lambda m, x: 2**x,
        lambda m, x: m.exp(x), lambda m, x: m.tanh(x), lambda m, x: m.maximum(x, 0),
        lambda m, x: m.where(x > 0, x, 0), lambda m, x: m.clip(x, -1, 1), lambda m, x: x.T,
        lambda m, x: x.sum(axis=1, keepdims=True), lambda m, x: m.mean(x), lambda m, x: x.max(0),
        lambda m, x: x[1:, ::2], lambda m, x: x.reshape(6, 4), lambda m, x: x.astype(m.float64),
        lambda m, x: m.zeros_like(x), lambda m, x: x == x.copy(),
    ],
)  # fmt: skip
def test_counted_computes_what_numpy_does(expression) -> None:
    ours, theirs = expression(counted, asarray(VALUES)), expression(np, VALUES)
    assert isinstance(ours, counted.ndarray)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(asnumpy(ours), theirs)


def operations_of(expression) -> list[Operation]:
    x = asarray(np.ones(100, np.float32))
    with counting() as operations:
        expression(x)
    return operations


@pytest.mark.parametrize(
    ("expression", "name", "moved"),
    [
        (lambda x: x + 1, "add", 800),
        (lambda x: x + x.T, "add", 1200),
        (lambda x: x * x, "multiply", 800),
        (lambda x: x > 0, "greater", 500),
        (lambda x: counted.sum(x), "sum", 404),
        (lambda x: x.astype(counted.float64), "astype", 1200),
        (lambda x: x.__setitem__(slice(0, 10), 0.0), "setitem", 40),
    ],
)
def test_an_operator_is_one_launch_with_its_bytes(expression, name: str, moved: int) -> None:
    (operation,) = operations_of(expression)
    assert (operation.name, operation.bytes) == (name, moved)


def test_a_view_is_no_launch_and_in_place_is_one_that_changes_the_array() -> None:
    x = asarray(np.ones(4, np.float32))
    with counting() as operations:
        view = x[1:3].reshape(2, 1)
        x *= 3
    assert [each.name for each in operations] == ["multiply"]
    assert asnumpy(view).tolist() == [[3], [3]]


def test_counts_of_an_inner_block_are_in_the_outer_one_too() -> None:
    x = asarray([1.0])
    with counting() as outer:
        with counting() as inner:
            x + 1
        x + 1
    assert (len(inner), len(outer)) == (1, 2)


@pytest.mark.parametrize(
    "mixture",
    [
        lambda x: x + VALUES, lambda x: VALUES + x, lambda x: np.tanh(x), lambda x: np.asarray(x),
        lambda x: counted.maximum(x, VALUES), lambda x: counted.tanh([1.0]),
    ],
)  # fmt: skip
def test_nothing_passes_between_host_and_device_unasked(mixture) -> None:
    with pytest.raises(TypeError):
        mixture(asarray(VALUES))


# The exercises.


def test_the_module_of_arrays_is_theirs_and_a_mixture_is_named() -> None:
    assert get_array_module(VALUES, 2, np.float32(1)) is np
    assert get_array_module(1.5, asarray(VALUES)) is counted
    with pytest.raises(TypeError, match="aisys.cuda.counted and numpy"):
        get_array_module(VALUES, asarray(VALUES))
    with pytest.raises(TypeError, match="list came"):
        get_array_module([1.0])


def test_a_module_that_is_imported_as_cupy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    third = types.ModuleType("cupy")
    third.ndarray = type("ndarray", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(array_module.sys.modules, "cupy", third)
    assert get_array_module(third.ndarray(), 1) is third


def test_gelu_is_pytorchs_on_every_module() -> None:
    np.testing.assert_allclose(gelu(VALUES), expected_gelu(VALUES), rtol=1e-5, atol=1e-6)
    ours = gelu(asarray(VALUES))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(asnumpy(ours), expected_gelu(VALUES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "grid"), [(1, 1), (999, 2), (64, 5)])
def test_the_fused_kernel_is_pytorchs_gelu(n: int, grid: int) -> None:
    x = np.linspace(-6, 6, n, dtype=np.float32)
    y = np.full_like(x, np.nan)
    launch(array_module.gelu_fused, grid, 64, x, y, n)
    np.testing.assert_allclose(y, expected_gelu(x), rtol=1e-5, atol=1e-6)


def test_the_fused_kernel_moves_eight_bytes_an_element_and_the_operators_nine_times_that() -> None:
    assert fused_bytes(1024) == 8 * 1024
    assert sum(each.bytes for each in operations_of_gelu(1024)) == 72 * 1024


def test_fusion_gains_the_launches_of_few_elements_and_the_bytes_of_many() -> None:
    few, many = ([Operation("x", 12 * n, n)] * 5 for n in (1, 10**9))
    assert math.isclose(fusion_gain(few, 8, MACHINE)["speedup"], 5, rel_tol=1e-4)
    assert math.isclose(fusion_gain(many, 8 * 10**9, MACHINE)["speedup"], 60 / 8, rel_tol=1e-2)


def test_fusion_gains_little_where_arithmetic_is_what_takes_long() -> None:
    heavy = [Operation("x", 8 * 10**8, 10**11)] * 4
    found = fusion_gain(heavy, 8 * 10**8, MACHINE)
    assert found["bound"] == "arithmetic"
    assert found["speedup"] < 1.01
