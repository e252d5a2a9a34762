"""Convolution in Python: equal to F.conv2d in values, gradients and gradients of gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.gradcheck import GradcheckError

from aisys.operators.convolution import conv2d
from aisys.operators.convolution_experiments import conv2d_cut
from aisys.operators.sliding_windows import fold, unfold
from autograder.catalogue import load_catalogue

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
convolutions = st.fixed_dictionaries(
    {
        "batch": st.integers(0, 3),
        "image": st.tuples(st.integers(5, 8), st.integers(5, 8)),
        "kernel": pairs,
        "stride": pairs,
        "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
        "groups": st.integers(1, 3),
        "in_group": st.integers(1, 2),
        "out_of_group": st.integers(1, 2),
        "bias": st.booleans(),
    }
)


def drawn(*shape: int) -> torch.Tensor:
    """Random float64 numbers that need a gradient."""
    generator = torch.Generator().manual_seed(math.prod(shape) + len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


@settings(max_examples=60, deadline=None)
@given(convolutions)
def test_values_and_gradients_equal_pytorchs_for_any_settings(case):
    channels = case["groups"] * case["in_group"]
    out_channels = case["groups"] * case["out_of_group"]
    x = drawn(case["batch"], channels, *case["image"])
    weight = drawn(out_channels, case["in_group"], *case["kernel"])
    inputs = [x, weight] + ([drawn(out_channels)] if case["bias"] else [])
    arguments = [*inputs, *([] if case["bias"] else [None])]
    how = (case["stride"], case["padding"], case["dilation"], case["groups"])
    ours, theirs = conv2d(*arguments, *how), F.conv2d(*arguments, *how)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    "how", [(1, 0, 1, 1), (2, 1, 1, 1), (1, (0, 2), (2, 1), 1), ((1, 2), 1, 1, 2)]
)
def test_first_and_second_derivatives_pass_pytorchs_own_checks(how):
    inputs = [drawn(2, 2, 4, 5), drawn(2, 2 // how[3], 2, 3), drawn(2)]

    def function(*tensors):
        return conv2d(*tensors, *how)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_gradgradcheck_finds_the_operator_that_saves_its_windows():
    inputs = [drawn(1, 1, 4, 4), drawn(1, 1, 2, 2)]
    assert torch.autograd.gradcheck(conv2d_cut, inputs)
    with pytest.raises(GradcheckError):
        torch.autograd.gradgradcheck(conv2d_cut, inputs)


@settings(max_examples=30, deadline=None)
@given(convolutions)
def test_fold_is_the_transpose_of_unfold_and_unfold_copies_nothing(case):
    x = torch.randn(2, 3, *case["image"], dtype=torch.float64)
    windows = unfold(x, case["kernel"], case["stride"], case["dilation"])
    assert windows.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    other = torch.randn(windows.shape, dtype=torch.float64)
    image = fold(other, case["image"], case["stride"], case["dilation"])
    torch.testing.assert_close((windows * other).sum(), (x * image).sum())


def test_images_of_any_layout_and_of_other_dtypes_are_convolved():
    x, weight = torch.randn(2, 6, 5, 3).permute(0, 3, 1, 2), torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(conv2d(x, weight), F.conv2d(x, weight))
    half = conv2d(x.bfloat16(), weight.bfloat16(), padding=1)
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "how", "sentence"),
    [
        (([1.0], drawn(1, 1, 1, 1)), {}, "x: expected a tensor, got a value of type list."),
        ((drawn(1, 4, 4), drawn(1, 1, 2, 2)), {}, "x: expected shape [batch, channels, height"),
        ((drawn(1, 2, 4, 4), drawn(1, 1, 2, 2)), {}, "weight: expected shape [out_channels, 2,"),
        ((drawn(1, 3, 4, 4), drawn(2, 1, 2, 2)), {"groups": 2}, "groups: expected a divisor of"),
        ((drawn(1, 2, 4, 4), drawn(3, 1, 2, 2)), {"groups": 2}, "groups: expected a divisor of"),
        ((drawn(1, 1, 4, 4), drawn(1, 1, 5, 5)), {}, "weight: expected a kernel of 1 to 4 pixels"),
        ((drawn(1, 1, 4, 4), drawn(1, 1, 3, 3)), {"dilation": 2}, "weight: expected a kernel of"),
        ((drawn(1, 1, 4, 4), drawn(2, 1, 3, 3), drawn(1)), {}, "bias: expected shape [2], got"),
        ((drawn(1, 1, 4, 4), drawn(2, 1, 3, 3).float()), {}, "weight: expected torch.float64, "),
        ((drawn(1, 1, 4, 4), drawn(2, 1, 3, 3)), {"stride": 0}, "stride: expected at least 1, "),
        ((drawn(1, 1, 4, 4), drawn(2, 1, 3, 3)), {"padding": -1}, "padding: expected at least 0"),
    ],
)
def test_bad_arguments_get_a_sentence_and_pytorchs_kind_of_error(arguments, how, sentence):
    with pytest.raises((TypeError, RuntimeError)) as ours:
        conv2d(*arguments, **how)
    assert str(ours.value).startswith(sentence)
    if "batch" not in sentence:  # F.conv2d takes a single image, too
        with pytest.raises(ours.type):
            F.conv2d(*arguments, **how)


def test_every_hidden_case_has_a_window():
    """A window larger than the image is an error in PyTorch, and no case is to ask for one."""
    catalogue = load_catalogue("lab2_operators")
    drawn = [
        case.inputs
        for name in ("unfold_values", "convolve_values", "weight_gradients", "convolution_needs")
        for seed in range(100)
        for case in catalogue.cases[name](np.random.default_rng(seed))
    ]
    assert len(drawn) > 100
    for inputs in drawn:
        for axis in range(2):
            covered = inputs["dilation"][axis] * (inputs["kernel"][axis] - 1) + 1
            assert covered <= inputs["image"][axis] + 2 * inputs["padding"][axis], inputs
