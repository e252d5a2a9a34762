"""Which operations are fused, and what the generated functions do."""

import numpy as np
import pytest

from aisys.autodiff.compiler import measure
from aisys.autodiff.conditional import cond
from aisys.autodiff.execution import run
from aisys.autodiff.fusion import (
    CALLS,
    compile_source,
    fuse,
    fusion_groups,
    generate_source,
    outside_inputs,
)
from aisys.autodiff.gradients import NoGradientError, gradients
from aisys.autodiff.graph import apply, exp, greater, placeholder, reduce_sum, relu
from aisys.autodiff.operations import OPERATIONS
from aisys.autodiff.passes import count_operations
from aisys.autodiff.traffic import Traffic, count_traffic


def fused_values(targets, feeds):
    return run(fuse(targets), feeds).values


@pytest.mark.parametrize("operation", CALLS)
def test_every_call_is_its_operation_to_the_bit(operation):
    x, y = placeholder((64, 3), "x"), placeholder((64, 3), "y")
    one = operation in ("negate", "relu", "exp", "log", "sqrt")
    node = exp(apply(operation, x) if one else apply(operation, x, y))
    values = np.random.default_rng(0).standard_normal((2, 64, 3)) * 3
    values[:, :4] = np.array([[0.0, -0.0, np.inf], [-np.inf, np.nan, 1.0]])[:, None]
    for dtype in (np.float32, np.float64):
        feeds = {x: values[0].astype(dtype), y: values[1].astype(dtype)}
        with np.errstate(all="ignore"):
            (value,), (right,) = fused_values([node], feeds), run([node], feeds).values
        assert count_operations(fuse([node])) == {"fused": 1}
        assert value.dtype == right.dtype
        np.testing.assert_array_equal(value, right)


@pytest.mark.parametrize("rows", [1, 3, 7, 10])
def test_blocks_of_any_size_give_the_same(rows):
    x, row, column = (placeholder(shape, "") for shape in ((10, 4), (4,), (10, 1)))
    group = [x * row]
    group.append(group[-1] + column)
    group.append(relu(group[-1]))
    inputs = outside_inputs(group)
    assert inputs == [x, row, column]
    values = [np.random.default_rng(1).standard_normal(node.shape) for node in inputs]
    result = compile_source(generate_source(group, inputs, rows))(*values)
    np.testing.assert_array_equal(result, np.maximum(values[0] * values[1] + values[2], 0))


def test_integers_and_booleans_keep_their_dtypes():
    x = placeholder((5,), "x")
    targets = [relu(x + 1), greater(x * 2, 3)]
    values = fused_values(targets, {x: np.arange(5)})
    assert [value.dtype for value in values] == [np.dtype(int), np.dtype(bool)]
    np.testing.assert_array_equal(values[1], np.arange(5) * 2 > 3)


def test_a_value_that_others_need_is_not_swallowed():
    x, y = placeholder((3, 2), "x"), placeholder((3, 2), "y")
    shared = x * y
    above, below = exp(shared + 1.0), reduce_sum(shared)
    groups = fusion_groups([above, below])
    assert [[node.operation for node in group] for group in groups] == [["add", "exp"]]
    wanted = fusion_groups([exp(shared + 1.0), shared])
    assert all(shared not in group for group in wanted)


def test_branches_are_fused_on_their_own():
    x, p = placeholder((3,), "x"), placeholder((), "p")
    node = cond(p, lambda a: exp(-a), lambda a: relu(a) + 1.0, [x * 2.0 + 1.0])
    (fused,) = fuse([node])
    assert count_operations([fused]) == {"fused": 3, "cond": 1}
    for predicate in (0.0, 1.0):
        feeds = {x: np.array([1.0, -2.0, 0.5]), p: predicate}
        np.testing.assert_array_equal(run([fused], feeds).values, run([node], feeds).values)


def test_arrays_without_rows_or_elements_are_left_alone():
    for shape in ((), (0, 3), (3, 0)):
        x = placeholder(shape, "x")
        (node,) = fuse([exp(x * 2.0)])
        assert node.operation == "exp"
        assert np.shape(run([node], {x: np.ones(shape)}).values[0]) == shape


def test_a_fused_node_says_that_it_has_no_gradient():
    x = placeholder((3,), "x")
    (node,) = fuse([exp(x * 2.0)])
    with pytest.raises(NoGradientError, match="fused"):
        gradients(node, [x])


def test_an_error_in_generated_code_shows_its_line():
    function = compile_source("def fused(x0):\n    return np.add(x0, 'text')\n")
    with pytest.raises(TypeError) as caught:
        function(np.ones(2))
    assert "np.add(x0, 'text')" in str(caught.traceback[-1].statement)


def test_fusion_halves_passes_and_memory_of_a_chain():
    x, y = placeholder((2000, 300), "x"), placeholder((2000, 300), "y")
    node = relu(exp(x * y) + 1.0)
    feeds = {each: np.random.default_rng(0).standard_normal(each.shape) for each in (x, y)}
    before, after = measure([node], feeds), measure(fuse([node]), feeds)
    assert before.passes == 9
    assert after.passes == pytest.approx(3, abs=0.1)
    assert before.peak_bytes > 1.9 * 2000 * 300 * 8
    assert after.peak_bytes < 1.5 * 2000 * 300 * 8


def test_traffic_counts_each_array_that_is_read_or_written():
    traffic = Traffic(cache_bytes=800)
    x, row = traffic.follow(np.ones((10, 20))), traffic.follow(np.ones(20))
    x * row  # the row is small
    assert (traffic.passes, traffic.moved_bytes) == (2, 3200)
    x * x
    assert traffic.passes == 4
    np.add(x, 1.0, out=x)
    assert traffic.passes == 6
    x.sum(axis=0)
    assert traffic.passes == 7
    x[:5] + 1.0  # half of an array; the result would fit into the cache
    assert traffic.passes == 7.5
    -x[:5]  # again, a moment later
    assert traffic.passes == 7.5
    assert traffic.computed == 200 + 200 + 200 + 20 + 100 + 100


def test_traffic_sees_through_views_and_counts_what_is_written_otherwise():
    x = placeholder((50, 40), "x")
    wide = apply("broadcast_to", x, shape=(3, 50, 40))
    graph = [x @ np.ones((40, 40)), reduce_sum(wide), apply("softmax", x, axis=1)]
    feeds = {x: np.ones((50, 40))}
    order = run(graph, feeds).order
    traffic = count_traffic(order, feeds, cache_bytes=10_000)
    softmax_alone = count_traffic([x, graph[2]], feeds, cache_bytes=10_000)
    assert softmax_alone.passes == 8  # max, subtract, exp, sum, divide
    assert traffic.passes == softmax_alone.passes + 3 + 1


def test_traffic_tells_an_array_from_a_dead_one_at_its_address():
    traffic = Traffic(cache_bytes=100)
    dead = np.empty(64)
    address = dead.ctypes.data
    traffic.note(dead, written=True)
    del dead
    made = np.empty(64)
    assert made.ctypes.data == address  # NumPy keeps freed memory of this size for the next array
    traffic.result(made)
    assert traffic.passes == 2


def test_the_table_of_calls_names_only_operations():
    assert set(CALLS) < set(OPERATIONS)
