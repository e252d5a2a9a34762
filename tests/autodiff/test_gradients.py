"""Every registered gradient against difference quotients and PyTorch; second derivatives."""

import numpy as np
import pytest
import torch

from aisys.autodiff.conditional import cond
from aisys.autodiff.execution import run
from aisys.autodiff.gradients import (
    GRADIENTS,
    NoGradientError,
    gradients,
    register_gradient,
    sum_to_shape,
)
from aisys.autodiff.graph import (
    ShapeError,
    apply,
    broadcast_to,
    constant,
    exp,
    greater,
    log,
    log_softmax,
    ones_like,
    placeholder,
    reduce_sum,
    relu,
    reshape,
    softmax,
    sqrt,
    transpose,
    zeros_like,
)
from aisys.autodiff.numerical import numerical_gradients
from aisys.autodiff.operations import OPERATIONS, register_operation

# Name of the operation, how to build it, shapes of its inputs. Values are positive, away from 0.
BUILT = [
    ("add", lambda x, y: x + y, [(2, 3), (3,)]),
    ("add", lambda x, y: x + y, [(2, 1), (1, 3)]),
    ("subtract", lambda x, y: x - y, [(2, 3), ()]),
    ("multiply", lambda x, y: x * y, [(2, 1), (4, 2, 3)]),
    ("divide", lambda x, y: x / y, [(3,), (2, 3)]),
    ("power", lambda x, y: x**y, [(2, 3), (3,)]),
    ("power", lambda x: x**3, [(2, 3)]),
    ("negate", lambda x: -x, [(2, 3)]),
    ("exp", exp, [(2, 3)]),
    ("log", log, [(2, 3)]),
    ("sqrt", sqrt, [(2, 3)]),
    ("relu", lambda x: relu(x - 1.0), [(2, 3)]),
    ("matmul", lambda x, y: x @ y, [(2, 3), (3, 4)]),
    ("reduce_sum", reduce_sum, [(2, 3)]),
    ("reduce_sum", lambda x: reduce_sum(x, 1), [(3, 3)]),
    ("reduce_sum", lambda x: reduce_sum(x, (0, 2), keepdims=True), [(2, 3, 4)]),
    ("softmax", lambda x: softmax(x, 0), [(3, 2)]),
    ("log_softmax", lambda x: log_softmax(x, 0), [(3, 2)]),
    ("log_softmax", log_softmax, [(2, 3)]),
    ("reshape", lambda x: reshape(x, (3, 4)), [(2, 3, 2)]),
    ("transpose", transpose, [(2, 3)]),
    ("transpose", lambda x: transpose(x, (1, 2, 0)), [(2, 3, 4)]),
    ("broadcast_to", lambda x: broadcast_to(x, (4, 2, 3)), [(2, 1)]),
    ("greater", lambda x, y: greater(x, y) * x, [(2, 3), (3,)]),
    ("zeros_like", lambda x: zeros_like(x) * x, [(2, 3)]),
    ("ones_like", lambda x: ones_like(x) * x, [(2, 3)]),
    (
        "cond",
        lambda x, y: cond(greater(reduce_sum(x), 0), lambda a, b: a * b, lambda a, b: a, [x, y]),
        [(2, 3), (2, 3)],
    ),
    (
        "cond",
        lambda x, y: cond(greater(0, reduce_sum(x)), lambda a, b: a * b, lambda a, b: a, [x, y]),
        [(2, 3), (2, 3)],
    ),
]
IDS = [f"{i}-{name}" for i, (name, _, _) in enumerate(BUILT)]


def prepared(build, shapes):
    """The weighted sum of what is built, so that the gradient that arrives is not constant."""
    rng = np.random.default_rng(0)
    inputs = [placeholder(shape, f"input {i}") for i, shape in enumerate(shapes)]
    node = build(*inputs)
    target = reduce_sum(node * rng.uniform(0.5, 1.5, node.shape))
    return inputs, target, [rng.uniform(0.5, 2.0, shape) for shape in shapes]


def test_every_operation_with_a_gradient_is_in_the_table_above():
    own = {name for name in GRADIENTS if not name.startswith(("check_", "test_"))}
    assert {"add", "multiply", "matmul", "reduce_sum", "relu", "log_softmax", "cond"} <= own
    of_this_module = {name for name in own if "autodiff.gradients" in GRADIENTS[name].__module__}
    assert of_this_module <= {name for name, _, _ in BUILT}


@pytest.mark.parametrize(("name", "build", "shapes"), BUILT, ids=IDS)
def test_a_gradient_equals_the_difference_quotient(name, build, shapes):
    inputs, target, values = prepared(build, shapes)
    found = run(gradients(target, inputs), dict(zip(inputs, values, strict=True))).values

    def number(*arrays):
        return float(run([target], dict(zip(inputs, arrays, strict=True))).values[0])

    for gradient, quotient in zip(found, numerical_gradients(number, values), strict=True):
        np.testing.assert_allclose(gradient, quotient, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "build", "shapes"), BUILT, ids=IDS)
def test_a_second_derivative_equals_the_difference_quotient_of_the_first(name, build, shapes):
    inputs, target, values = prepared(build, shapes)
    first = reduce_sum(exp(gradients(target, inputs)[0] * 0.1))
    second = gradients(first, inputs)
    found = run(second, dict(zip(inputs, values, strict=True))).values

    def number(*arrays):
        return float(run([first], dict(zip(inputs, arrays, strict=True))).values[0])

    for gradient, quotient in zip(found, numerical_gradients(number, values), strict=True):
        np.testing.assert_allclose(gradient, quotient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "build", "shapes"), BUILT, ids=IDS)
def test_gradients_of_float32_are_float32(name, build, shapes):
    rng = np.random.default_rng(0)
    inputs = [placeholder(shape) for shape in shapes]
    feeds = {each: rng.uniform(0.5, 2, each.shape).astype(np.float32) for each in inputs}
    nodes = gradients(reduce_sum(build(*inputs)) * 0.5, inputs)
    assert {value.dtype for value in run(nodes, feeds).values} == {np.dtype(np.float32)}
    assert [node.shape for node in nodes] == [each.shape for each in inputs]


def test_a_network_has_pytorchs_gradients_to_the_last_digits():
    rng = np.random.default_rng(0)
    values = {
        "x": rng.standard_normal((5, 7)),
        "w1": rng.standard_normal((7, 6)),
        "b1": rng.standard_normal(6),
        "w2": rng.standard_normal((6, 4)),
        "b2": rng.standard_normal(4),
    }
    labels = np.array([0, 3, 1, 1, 2])
    nodes = {name: placeholder(value.shape, name) for name, value in values.items()}
    hidden = relu(nodes["x"] @ nodes["w1"] + nodes["b1"])
    logits = hidden @ nodes["w2"] + nodes["b2"]
    loss = reduce_sum(np.eye(4)[labels] * log_softmax(logits)) * (-1 / 5)
    ours = run(
        [loss, *gradients(loss, list(nodes.values()))],
        {nodes[name]: value for name, value in values.items()},
    ).values

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    hidden = torch.relu(tensors["x"] @ tensors["w1"] + tensors["b1"])
    logits = hidden @ tensors["w2"] + tensors["b2"]
    theirs = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    theirs.backward()
    np.testing.assert_allclose(ours[0], theirs.item(), rtol=1e-12)
    for gradient, tensor in zip(ours[1:], tensors.values(), strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_log_softmax_of_huge_values_stays_finite_and_so_does_its_gradient():
    x = placeholder((1, 3), "x")
    node = log_softmax(x)
    values = run([node, *gradients(node, [x])], {x: np.array([[1e4, 0.0, -1e4]])}).values
    assert all(np.isfinite(value).all() for value in values)


def test_relu_has_the_gradient_0_at_0():
    x = placeholder((3,), "x")
    (value,) = run(gradients(relu(x), [x]), {x: np.array([-1.0, 0.0, 1.0])}).values
    np.testing.assert_array_equal(value, [0, 0, 1])


def test_a_source_that_is_not_reached_gets_zeros_of_its_shape():
    x, y = placeholder((2,), "x"), placeholder((3, 4), "y")
    (value,) = run(gradients(x * x, [y]), {x: np.ones(2), y: np.ones((3, 4))}).values
    np.testing.assert_array_equal(value, np.zeros((3, 4)))


def test_the_target_itself_and_inner_nodes_can_be_sources():
    x = placeholder((2,), "x")
    inner = x * 3.0
    target = inner * inner
    values = run(gradients(target, [target, inner, x]), {x: np.array([1.0, 2.0])}).values
    np.testing.assert_allclose(values, [[1, 1], [6, 12], [18, 36]])


def test_every_gradient_function_is_called_once_however_many_paths_there_are():
    calls = []
    register_operation("test_noted", lambda shape: shape, lambda value: value * 1.0)

    @register_gradient("test_noted")
    def noted_gradient(node, upstream):
        calls.append(node)
        return (upstream,)

    try:
        x = placeholder((1,), "x")
        node = x
        for _ in range(30):
            node = apply("test_noted", node)
            node = node + node
        (value,) = run(gradients(node, [x]), {x: np.ones(1)}).values
    finally:
        del OPERATIONS["test_noted"], GRADIENTS["test_noted"]
    assert len(calls) == len(set(calls)) == 30
    np.testing.assert_array_equal(value, [2.0**30])


def test_only_operations_in_the_way_need_a_gradient():
    register_operation("test_opaque", lambda shape: shape, lambda value: value * 1.0)
    try:
        x, y = placeholder((1,), "x"), placeholder((1,), "y")
        target = x * apply("test_opaque", y)
        (value,) = run(gradients(target, [x]), {x: np.ones(1), y: np.array([5.0])}).values
        np.testing.assert_array_equal(value, [5.0])
        with pytest.raises(NoGradientError, match="test_opaque"):
            gradients(target, [y])
    finally:
        del OPERATIONS["test_opaque"]


def test_gradients_add_nodes_and_compute_nothing():
    x = placeholder((2,), "x")
    target = log(x)  # of no value yet
    added = gradients(target, [x])[0]
    assert added.operation == "divide"
    assert added.inputs[1] is x


def test_sum_to_shape_undoes_every_broadcast():
    for old, new in [((2, 3), (3,)), ((2, 3), ()), ((2, 3, 4), (3, 1)), ((2, 3), (2, 3))]:
        x = placeholder(new)
        wide = broadcast_to(x, old)
        node = sum_to_shape(wide, new)
        assert node.shape == new
        copies = np.prod(old) / np.prod(new)
        (value,) = run([node], {x: np.ones(new)}).values
        np.testing.assert_array_equal(value, np.full(new, copies))


def test_a_gradient_of_a_branch_runs_only_that_branch():
    x = placeholder((), "x")
    node = cond(greater(x, 0), lambda v: log(v), lambda v: v * constant(2.0), [x])
    with np.errstate(all="raise"):
        assert run(gradients(node, [x]), {x: -3.0}).values == [2.0]
        assert run(gradients(node, [x]), {x: 4.0}).values == [0.25]


def test_a_wrong_shape_from_a_gradient_function_is_noticed_where_gradients_add_up():
    register_operation("test_wide", lambda shape: shape, lambda value: value * 1.0)
    register_gradient("test_wide")(lambda node, upstream: (placeholder((5,)),))
    try:
        x = placeholder((2,), "x")
        with pytest.raises(ShapeError):
            gradients(apply("test_wide", x) + x, [x])
    finally:
        del OPERATIONS["test_wide"], GRADIENTS["test_wide"]
