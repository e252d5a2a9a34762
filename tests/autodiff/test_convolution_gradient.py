"""Convolution as nodes, forward and backward, against PyTorch and difference quotients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.autodiff.convolution import im2col
from aisys.autodiff.convolution_gradient import col2im, conv2d
from aisys.autodiff.execution import ready_order, run
from aisys.autodiff.gradients import gradients
from aisys.autodiff.graph import ShapeError, placeholder, reduce_sum
from aisys.autodiff.numerical import numerical_gradients

SIZES = {
    "batch": st.integers(1, 3),
    "channels": st.integers(1, 3),
    "image": st.tuples(st.integers(4, 7), st.integers(4, 7)),
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 2),
}
windows = st.fixed_dictionaries(SIZES)
convolutions = st.fixed_dictionaries({**SIZES, "out_channels": st.integers(1, 3)})


@settings(max_examples=40, deadline=None)
@given(windows)
def test_col2im_is_the_transpose_of_im2col(case):
    rng = np.random.default_rng(0)
    window = (*case["kernel"], case["stride"], case["padding"])
    x = rng.standard_normal((case["batch"], case["channels"], *case["image"]))
    columns = im2col(x, *window)
    other = rng.standard_normal(columns.shape)
    assert np.sum(columns * other) == pytest.approx(np.sum(x * col2im(other, x.shape, *window)))


@settings(max_examples=40, deadline=None)
@given(windows)
def test_col2im_equals_pytorchs_fold(case):
    rng = np.random.default_rng(0)
    shape = (case["batch"], case["channels"], *case["image"])
    window = (*case["kernel"], case["stride"], case["padding"])
    other = rng.standard_normal(im2col(np.zeros(shape), *window).shape)
    blocks = other.reshape(shape[0], -1, other.shape[1]).transpose(0, 2, 1)
    folded = F.fold(
        torch.from_numpy(blocks.copy()),
        case["image"],
        case["kernel"],
        stride=case["stride"],
        padding=case["padding"],
    )
    np.testing.assert_allclose(col2im(other, shape, *window), folded.numpy(), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(convolutions)
def test_value_and_all_three_gradients_equal_pytorchs(case):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case["batch"], case["channels"], *case["image"]))
    weight = rng.standard_normal((case["out_channels"], case["channels"], *case["kernel"]))
    values = [x, weight, rng.standard_normal(case["out_channels"])]
    inputs = [placeholder(value.shape) for value in values]
    node = conv2d(*inputs, stride=case["stride"], padding=case["padding"])
    upstream = rng.standard_normal(node.shape)
    targets = [node, *gradients(reduce_sum(node * upstream), inputs)]
    found = run(targets, dict(zip(inputs, values, strict=True))).values

    tensors = [torch.tensor(value, requires_grad=True) for value in values]
    made = F.conv2d(*tensors, stride=case["stride"], padding=case["padding"])
    made.backward(torch.from_numpy(upstream))
    expected = [made.detach(), *(tensor.grad for tensor in tensors)]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-9, atol=1e-10)


def test_a_second_derivative_equals_the_difference_quotient_of_the_first():
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape) for shape in [(1, 2, 4, 4), (2, 2, 3, 3), (2,)]]
    inputs = [placeholder(value.shape) for value in values]
    node = conv2d(*inputs, padding=1)
    first = reduce_sum(gradients(reduce_sum(node * node * node), inputs)[0])
    found = run(gradients(first, inputs), dict(zip(inputs, values, strict=True))).values

    def number(*arrays):
        return float(run([first], dict(zip(inputs, arrays, strict=True))).values[0])

    for gradient, quotient in zip(found, numerical_gradients(number, values), strict=True):
        np.testing.assert_allclose(gradient, quotient, rtol=1e-5, atol=1e-4)


def test_forward_and_backward_share_the_windows():
    inputs = [placeholder((2, 1, 5, 5)), placeholder((3, 1, 3, 3)), placeholder((3,))]
    node = conv2d(*inputs)
    order = ready_order([node, *gradients(node, inputs[1:])])
    assert sum(each.operation == "im2col" for each in order) == 1


def test_float32_stays_float32():
    inputs = [placeholder((1, 1, 4, 4)), placeholder((1, 1, 2, 2)), placeholder((1,))]
    node = conv2d(*inputs)
    feeds = {each: np.ones(each.shape, np.float32) for each in inputs}
    values = run([node, *gradients(node, inputs)], feeds).values
    assert {value.dtype for value in values} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([(1, 1, 4, 4), (1, 1, 5, 5), (1,)], "a kernel of 5x5 does not fit into 4x4 pixels"),
        ([(1, 2, 4, 4), (1, 1, 3, 3), (1,)], "a window has 18 elements, a kernel 9"),
        ([(1, 1, 4, 4), (2, 1, 3, 3), (1,)], r"the bias must have shape \[2\]"),
        ([(1, 4, 4), (2, 1, 3, 3), (2,)], "images have the axes"),
        ([(1, 1, 4, 4), (2, 3), (2,)], r"the weight of conv2d has the axes .* shape \[2, 3\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, reason):
    with pytest.raises(ShapeError, match=reason):
        conv2d(*map(placeholder, shapes))
