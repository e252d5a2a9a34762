"""Straight-through estimators: what they compute, what they pass back, and that it trains."""

import pytest
import torch
import torch.nn.functional as F

from aisys.data import Digits, digits
from aisys.operators.quantised import as_it_is, rounded_by_autograd, train
from aisys.operators.straight_through import quantize, quantize_weight, relu, sign


def value_and_gradient(function, numbers, *arguments):
    x = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    result = function(x, *arguments)
    (gradient,) = torch.autograd.grad(result, x, 3 * torch.ones_like(x))
    return result.tolist(), gradient.tolist()


def test_quantize_rounds_to_the_nearest_level_and_passes_back_what_was_not_clipped():
    numbers = [0.2, 0.3, 0.25, 0.75, 1.2, 1.3, -1.2, -40.0]
    values, gradient = value_and_gradient(quantize, numbers, 0.5, 2)
    assert values == [0, 0.5, 0, 1, 1, 1, -1, -1]
    assert gradient == [3, 3, 3, 3, 3, 0, 3, 0]


def test_sign_has_two_values_and_is_clipped_beyond_1():
    values, gradient = value_and_gradient(sign, [0.0, 1e-300, -0.5, 1.0, -1.0, 1.1, -7.0])
    assert values == [1, 1, -1, 1, -1, 1, -1]
    assert gradient == [3, 3, 3, 3, 3, 0, 0]


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_relu_has_the_chosen_slope_at_0_and_pytorchs_elsewhere(slope):
    numbers = [-2.0, 0.0, 1.5]
    values, gradient = value_and_gradient(relu, numbers, slope)
    assert values == F.relu(torch.tensor(numbers)).tolist()
    assert gradient == [0, 3 * slope, 3]


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_weights_in_bits_have_no_more_values_than_their_bits_can_name(bits):
    weight = torch.randn(40, 50, dtype=torch.float64, requires_grad=True)
    made = quantize_weight(weight, bits)
    assert len(made.unique()) <= 2**bits
    limit = made.detach().abs().max() if bits == 1 else weight.detach().abs().max()
    torch.testing.assert_close(made.detach().abs().max(), limit)
    (gradient,) = torch.autograd.grad(made.sum(), weight)
    inside = weight.detach().abs() <= 1
    factor = weight.detach().abs().mean() if bits == 1 else 1.0
    torch.testing.assert_close(
        gradient, factor * (inside if bits == 1 else torch.ones_like(weight))
    )


def test_more_bits_come_closer_and_no_weight_is_no_weight():
    weight = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    errors = [(quantize_weight(weight, bits) - weight).norm() for bits in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert not quantize_weight(torch.zeros(3, 3), 4).any()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_autograd_sees_the_same_values_and_passes_nothing_back(bits):
    weight = torch.randn(20, 20, requires_grad=True)
    rounded = rounded_by_autograd(weight, bits)
    torch.testing.assert_close(rounded, quantize_weight(weight, bits))
    (gradient,) = torch.autograd.grad(rounded.sum(), weight)
    assert not gradient.any()


@pytest.fixture(scope="module")
def some_digits() -> Digits:
    """Enough of the digits to see a network learn."""
    data = digits()
    first = {name: getattr(data, name)[:1500] for name in ("train_images", "train_labels")}
    return Digits(**{**vars(data), **first})


def test_a_network_in_two_bits_learns_with_the_estimator_and_not_without(some_digits):
    def accuracy(quantise):
        network, losses = train(some_digits, quantise, epochs=3, hidden=32)
        return network.accuracy(some_digits, quantise), losses

    in_full, _ = accuracy(as_it_is)
    estimated, losses = accuracy(lambda weight: quantize_weight(weight, 2))
    automatic, _ = accuracy(lambda weight: rounded_by_autograd(weight, 2))
    assert in_full > 0.8
    assert estimated > 0.65 > 0.45 > automatic
    assert losses[-1] < losses[0]


def test_bad_arguments_get_a_sentence():
    x = torch.zeros(3)
    with pytest.raises(RuntimeError, match="step: expected a number above 0, got 0"):
        quantize(x, 0, 3)
    with pytest.raises(TypeError, match="levels: expected a whole number, got a value of type fl"):
        quantize(x, 0.5, 1.5)
    with pytest.raises(TypeError, match="x: expected a tensor, got a value of type list"):
        sign([1.0])
