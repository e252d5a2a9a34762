"""Building nodes: operators, shapes and their errors."""

import numpy as np
import pytest

from aisys.autodiff.execution import run
from aisys.autodiff.graph import (
    Node,
    ShapeError,
    apply,
    as_node,
    broadcast_to,
    constant,
    greater,
    log_softmax,
    placeholder,
    reduce_sum,
    reshape,
    transpose,
)
from aisys.autodiff.operations import OPERATIONS, register_operation

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "@": lambda a, b: a @ b,
}


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_operators_take_nodes_and_arrays_on_either_side(sign, side):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    nodes = [placeholder((3, 3), "left"), placeholder((3, 3), "right")]
    operands = [
        node if side in (node.name, "both") else value
        for node, value in zip(nodes, values, strict=True)
    ]
    node = OPERATORS[sign](*operands)
    assert isinstance(node, Node)
    (result,) = run([node], dict(zip(nodes, values, strict=True))).values
    np.testing.assert_allclose(result, OPERATORS[sign](*values))


@pytest.mark.parametrize("sign", ["+", "-", "*", "/"])
def test_a_python_number_leaves_float32_in_float32(sign):
    x = placeholder((2,), "x")
    feeds = {x: np.array([1, 2], np.float32)}
    for node in (
        OPERATORS[sign](x, 2.5),
        OPERATORS[sign](2.5, x),
        OPERATORS[sign](constant(2.0), 3.0) * x,
    ):
        assert run([node], feeds).values[0].dtype == np.float32


def test_negation_and_powers():
    x = placeholder((3,), "x")
    value = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(run([-x], {x: value}).values[0], -value)
    np.testing.assert_allclose(run([x**2], {x: value}).values[0], value**2)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda x: x + placeholder((2, 2), "y"), ["add", "x [2, 3]", "y [2, 2]"]),
        (lambda x: x @ placeholder((2, 3), "y"), ["matmul", "3 and 2"]),
        (lambda x: x @ placeholder((3,), "v"), ["matmul", "matrices"]),
        (lambda x: reduce_sum(x, 2), ["reduce_sum", "no axis 2"]),
        (lambda x: reshape(x, (4, 2)), ["reshape", "6 elements", "(4, 2)"]),
        (lambda x: transpose(x, (0, 0)), ["transpose", "permutation"]),
        (lambda x: broadcast_to(x, (3,)), ["broadcast_to"]),
        (lambda x: log_softmax(x, 5), ["log_softmax", "no axis 5"]),
    ],
)
def test_a_wrong_shape_is_an_error_where_it_is_written(build, words):
    with pytest.raises(ShapeError) as error:
        build(placeholder((2, 3), "x"))
    for word in words:
        assert word in str(error.value)


def test_apply_refuses_what_is_no_node_and_what_is_no_operation():
    with pytest.raises(TypeError, match="as_node"):
        apply("add", placeholder(()), 1.0)
    with pytest.raises(KeyError, match="register_operation"):
        apply("no such operation", placeholder(()))


def test_a_minus_one_in_a_shape_is_worked_out():
    x = placeholder((4, 6))
    assert reshape(x, (-1,)).shape == (24,)
    assert reshape(x, (2, -1, 3)).shape == (2, 4, 3)


def test_nodes_are_equal_only_to_themselves():
    assert placeholder((2,), "x") != placeholder((2,), "x")
    node = placeholder((2,), "x")
    assert {node: 1}[node] == 1
    assert as_node(node) is node


def test_inferred_shapes_are_the_shapes_of_the_values():
    x, y = placeholder((2, 3), "x"), placeholder((3,), "y")
    nodes = [
        x + y,
        x @ transpose(x),
        greater(x, 0),
        reduce_sum(x, 0),
        reduce_sum(x, (0, 1), keepdims=True),
        broadcast_to(y, (4, 3)),
        transpose(reshape(x, (1, 2, 3)), (2, 0, 1)),
        log_softmax(x, 0),
    ]
    values = run(nodes, {x: np.ones((2, 3)), y: np.ones(3)}).values
    assert [np.shape(value) for value in values] == [node.shape for node in nodes]


def test_an_operation_can_be_registered_from_outside():
    register_operation("test_double", lambda shape: shape, lambda value: value * 2)
    try:
        x = placeholder((2,))
        (value,) = run([apply("test_double", x)], {x: np.ones(2)}).values
        np.testing.assert_array_equal(value, [2, 2])
    finally:
        del OPERATIONS["test_double"]
