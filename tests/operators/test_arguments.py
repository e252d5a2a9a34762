"""Bad arguments are refused in a sentence, by the same kind of error as PyTorch's own operators."""

import pytest
import torch
import torch.nn.functional as F

from aisys.operators.arguments import (
    require_linear,
    require_number,
    require_pair,
    require_tensor,
    require_whole,
)

X, WEIGHT, BIAS = torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0], WEIGHT, BIAS), "x: expected a tensor, got a value of type list."),
        ((X, None, BIAS), "weight: expected a tensor, got None."),
        ((X, WEIGHT.T, BIAS), "weight: expected shape [out_features, 3], got [3, 4]."),
        ((X, WEIGHT[0], BIAS), "weight: expected shape [out_features, 3], got [3]."),
        ((X, WEIGHT, BIAS[:3]), "bias: expected shape [4], got [3]."),
        ((X.double(), WEIGHT, BIAS), "weight: expected torch.float64, the dtype of x, got "),
        ((X.long(), WEIGHT.long(), BIAS.long()), "x: expected a tensor of floating point, got "),
    ],
)
def test_a_linear_layer_refuses_what_pytorchs_refuses_and_names_the_argument(arguments, sentence):
    with pytest.raises((TypeError, RuntimeError)) as ours:
        require_linear(*arguments)
    assert str(ours.value).startswith(sentence)
    if "floating point" not in sentence:  # F.linear has whole numbers, too
        with pytest.raises(ours.type):
            F.linear(*arguments)


def test_two_devices_are_refused():
    with pytest.raises(RuntimeError, match="bias: expected it on cpu with x, got it on meta."):
        require_linear(X, WEIGHT, BIAS.to("meta"))
    with pytest.raises(RuntimeError, match="x: expected it on meta, got it on cpu."):
        require_tensor("x", X, device=torch.device("meta"))


def test_what_fits_is_returned_as_it_is():
    for shape in [(3,), (0, 3), (2, 5, 3)]:
        x = torch.zeros(shape)
        assert require_linear(x, WEIGHT, BIAS)[0] is x
    whole = torch.zeros(2, dtype=torch.int64)
    assert require_tensor("labels", whole, ("batch",), floating=False) is whole


@pytest.mark.parametrize(
    ("stride", "kind", "sentence"),
    [
        (0, RuntimeError, "stride: expected at least 1, got 0."),
        ((1, 0), RuntimeError, "stride: expected at least 1, got (1, 0)."),
        ((1, 2, 3), RuntimeError, "stride: expected one number, or one for rows and one for"),
        ("two", TypeError, "stride: expected a whole number or two of them, got 'two'."),
        (1.5, TypeError, "stride: expected a whole number or two of them, got 1.5."),
    ],
)
def test_a_bad_stride_is_refused_as_by_conv2d(stride, kind, sentence):
    with pytest.raises(kind) as ours:
        require_pair("stride", stride, 1)
    assert str(ours.value).startswith(sentence)
    with pytest.raises(kind):
        F.conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), stride=stride)


def test_numbers_are_checked_for_kind_and_range():
    assert require_pair("padding", [0, 2], 0) == (0, 2)
    assert require_whole("groups", 2, 1) == 2
    assert require_number("bound", 0.5, above=0) == 0.5
    with pytest.raises(TypeError, match="groups: expected a whole number, got a value of type b"):
        require_whole("groups", True, 1)
    with pytest.raises(RuntimeError, match="groups: expected at least 1, got 0."):
        require_whole("groups", 0, 1)
    with pytest.raises(RuntimeError, match="step: expected a number above 0, got -1."):
        require_number("step", -1, above=0)
    with pytest.raises(TypeError, match="step: expected a number, got None."):
        require_number("step", None)
