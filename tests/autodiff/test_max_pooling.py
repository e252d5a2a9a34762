"""Max-pooling as a node, forward and backward, against PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.autodiff.execution import run
from aisys.autodiff.gradients import NoGradientError, gradients
from aisys.autodiff.graph import ShapeError, placeholder, reduce_sum
from aisys.autodiff.max_pooling import max_pool2d

poolings = st.fixed_dictionaries(
    {
        "shape": st.tuples(*(st.integers(*each) for each in [(1, 3), (1, 3), (3, 8), (3, 8)])),
        "size": st.integers(1, 3),
        "values": st.integers(1, 9),  # few values, many equal pixels
    }
)


@settings(max_examples=60, deadline=None)
@given(poolings)
def test_value_and_gradient_equal_pytorchs_also_for_equal_pixels(case):
    rng = np.random.default_rng(0)
    value = rng.integers(-case["values"], case["values"], case["shape"]).astype(float)
    x = placeholder(case["shape"])
    node = max_pool2d(x, case["size"])
    upstream = rng.standard_normal(node.shape)
    found = run([node, *gradients(reduce_sum(node * upstream), [x])], {x: value}).values

    tensor = torch.tensor(value, requires_grad=True)
    made = F.max_pool2d(tensor, case["size"])
    made.backward(torch.from_numpy(upstream))
    np.testing.assert_array_equal(found[0], made.detach().numpy())
    np.testing.assert_array_equal(found[1], tensor.grad.numpy())


def test_float32_stays_float32():
    x = placeholder((1, 1, 4, 4))
    node = max_pool2d(x, 2)
    values = run([node, *gradients(node, [x])], {x: np.ones(x.shape, np.float32)}).values
    assert {value.dtype for value in values} == {np.dtype(np.float32)}


def test_a_second_derivative_is_an_error_and_not_a_wrong_number():
    x = placeholder((1, 1, 4, 4))
    node = max_pool2d(x, 2)
    (first,) = gradients(node * node, [x])
    with pytest.raises(NoGradientError, match="route_to_max"):
        gradients(first, [x])


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (4, 4)])
def test_images_without_a_window_are_an_error(shape):
    with pytest.raises(ShapeError):
        max_pool2d(placeholder(shape), 2)
