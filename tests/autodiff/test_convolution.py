"""The two convolutions of 1.3 against PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.autodiff.convolution import conv2d_im2col, conv2d_loops, im2col
from aisys.autodiff.experiments import torch_conv2d

sizes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "channels": st.integers(1, 3),
        "out_channels": st.integers(1, 3),
        "image": st.tuples(st.integers(4, 7), st.integers(4, 7)),
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.integers(1, 3),
        "padding": st.integers(0, 2),
    }
)


def images_and_weights(case):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case["batch"], case["channels"], *case["image"]))
    weight = rng.standard_normal((case["out_channels"], case["channels"], *case["kernel"]))
    return x, weight


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_both_convolutions_equal_pytorch_for_every_stride_and_padding(case):
    x, weight = images_and_weights(case)
    expected = torch_conv2d(x, weight, case["stride"], case["padding"])
    for convolve in (conv2d_loops, conv2d_im2col):
        result = convolve(x, weight, case["stride"], case["padding"])
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_im2col_has_the_elements_of_pytorchs_unfold(case):
    x, _ = images_and_weights(case)
    rows = im2col(x, *case["kernel"], case["stride"], case["padding"])
    unfolded = F.unfold(
        torch.from_numpy(x), case["kernel"], stride=case["stride"], padding=case["padding"]
    )  # [batch, elements, windows]
    np.testing.assert_array_equal(rows, unfolded.transpose(1, 2).reshape(rows.shape).numpy())


@pytest.mark.parametrize("convolve", [conv2d_loops, conv2d_im2col])
def test_float32_stays_float32(convolve):
    x, weight = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)
    assert convolve(x, weight).dtype == np.float32


def test_the_image_is_not_changed():
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5))
    before = x.copy()
    im2col(x, 3, 3, padding=1)[:] = 0
    np.testing.assert_array_equal(x, before)
