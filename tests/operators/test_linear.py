"""The linear layer and GELU against PyTorch's, for every shape and layout, both halves."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.operators.checks.evaluation import CountProducts, kept_elements, passed_back
from aisys.operators.gelu import gelu
from aisys.operators.linear import Linear, linear
from aisys.operators.numerical import difference_quotients


def layer(shape, out_features, **options):
    generator = torch.Generator().manual_seed(0)
    shapes = [shape, (out_features, shape[-1]), (out_features,)]
    return [torch.randn(s, generator=generator, dtype=torch.float64, **options) for s in shapes]


def leaves(tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 3))
def test_both_halves_equal_pytorchs_for_any_shape_also_of_size_0(shape, out_features):
    tensors = layer(tuple(shape), out_features)
    ours, theirs = leaves(tensors), leaves(tensors)
    found, expected = linear(*ours), F.linear(*theirs)
    torch.testing.assert_close(found, expected)
    upstream = torch.ones((), dtype=torch.float64).expand(expected.shape)
    gradients = passed_back(Linear, found, upstream)
    for gradient, wanted in zip(
        gradients, torch.autograd.grad(expected, theirs, upstream), strict=True
    ):
        torch.testing.assert_close(torch.from_numpy(gradient), wanted)


def test_tensors_may_lie_in_memory_in_any_order():
    x = torch.randn(3, 5, 4, dtype=torch.float64).transpose(0, 1)
    weight = torch.randn(4, 6, dtype=torch.float64)[:, ::2].T
    bias = torch.randn(3, dtype=torch.float64)
    assert not (x.is_contiguous() or weight.is_contiguous())
    assert torch.autograd.gradcheck(linear, leaves([x, weight, bias]))
    given = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    upstream = torch.randn(3, 3, 5, dtype=torch.float64).permute(2, 1, 0)
    for a, b in zip(
        torch.autograd.grad(linear(*given), given, upstream),
        torch.autograd.grad(F.linear(*given), given, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("needs", [(False, True, True), (True, False, True), (False, False, True)])
def test_a_gradient_that_nobody_needs_costs_neither_a_product_nor_memory(needs):
    tensors = zip(layer((4, 3), 2), needs, strict=True)
    x, weight, bias = (tensor.requires_grad_(need) for tensor, need in tensors)
    with kept_elements() as kept:
        result = linear(x, weight, bias)
    with CountProducts() as products:
        gradients = passed_back(Linear, result, torch.ones_like(result))
    assert [gradient is not None for gradient in gradients] == list(needs)
    assert products.count == sum(needs[:2])
    assert sum(kept) == needs[1] * x.numel() + needs[0] * weight.numel()


def test_a_change_in_place_between_the_halves_is_an_error():
    x, weight, bias = leaves(layer((4, 3), 2))
    result = linear(x, weight, bias)
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_second_derivatives_equal_the_differences_of_the_first():
    assert torch.autograd.gradgradcheck(linear, leaves(layer((2, 2, 3), 4)))
    assert torch.autograd.gradgradcheck(gelu, leaves([torch.randn(5, dtype=torch.float64)]))


def test_gelu_equals_pytorchs_in_both_halves():
    x = torch.linspace(-30, 30, 601, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(gelu(x), F.gelu(x))
    ours, theirs = (torch.autograd.grad(function(x).sum(), x) for function in (gelu, F.gelu))
    torch.testing.assert_close(ours, theirs)


def test_bad_arguments_get_a_sentence_before_anything_is_computed():
    x, weight, bias = layer((4, 3), 2)
    with pytest.raises(RuntimeError, match=r"weight: expected shape \[out_features, 3\], got"):
        linear(x, weight.T, bias)
    with pytest.raises(TypeError, match="x: expected a tensor, got a value of type float"):
        gelu(1.0)


def test_difference_quotients_of_a_quadratic_function_are_its_gradients():
    x = torch.randn(4, 3, dtype=torch.float64).T
    before = x.clone()
    (found,) = difference_quotients(lambda x: x * x, [x], torch.ones_like(x))
    torch.testing.assert_close(found, 2 * x, rtol=1e-8, atol=1e-8)
    assert torch.equal(x, before)
