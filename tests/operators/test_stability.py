"""Softplus, log-sum-exp and sigmoid cross-entropy against arithmetic with 60 digits."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F

from aisys.operators.stability import log_sum_exp, sigmoid_cross_entropy, softplus
from aisys.operators.stability_experiments import (
    gradient_of,
    loss_as_written,
    relative_errors,
    softplus_as_written,
    softplus_composed,
)

NUMBERS = [-700.0, -100.0, -40.0, -20.0, -1.5, -1e-8, 0.0, 1e-8, 0.3, 19.0, 21.0, 40.0, 690.0]


def exact_softplus(x):
    with mpmath.workdps(400):
        return float(mpmath.log(1 + mpmath.exp(mpmath.mpf(x))))


def exact_sigmoid(x):
    with mpmath.workdps(400):
        return float(1 / (1 + mpmath.exp(-mpmath.mpf(x))))


def tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, tensor(expected), rtol=1e-14, atol=0)


def test_softplus_has_all_its_digits_for_numbers_of_any_size():
    x = tensor(NUMBERS)
    close(softplus(x), [exact_softplus(number) for number in NUMBERS])
    close(gradient_of(softplus, x), [exact_sigmoid(number) for number in NUMBERS])
    far = tensor([math.inf, -math.inf, 1e300])
    close(softplus(far), [math.inf, 0, 1e300])
    close(gradient_of(softplus, far), [1, 0, 1])


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_loss_and_its_gradient_have_all_their_digits(target):
    z, side = tensor(NUMBERS), 1 - 2 * target
    targets = torch.full_like(z, target)
    close(sigmoid_cross_entropy(z, targets), [exact_softplus(side * n) for n in NUMBERS])
    gradient = gradient_of(sigmoid_cross_entropy, z, targets)
    close(gradient, [side * exact_sigmoid(side * n) for n in NUMBERS])


def test_soft_targets_and_their_gradients_are_pytorchs():
    z = torch.randn(50, dtype=torch.float64).mul(5).requires_grad_()
    targets = torch.rand(50, dtype=torch.float64).requires_grad_()
    ours = sigmoid_cross_entropy(z, targets)
    theirs = F.binary_cross_entropy_with_logits(z, targets, reduction="none")
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss.sum(), (z, targets)) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("shape", "dim"), [((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((5,), 0)])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_log_sum_exp_and_its_gradient_are_pytorchs(shape, dim, size):
    x = (size * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    torch.testing.assert_close(log_sum_exp(x, dim), torch.logsumexp(x, dim))
    upstream = torch.randn(log_sum_exp(x, dim).shape, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(log_sum_exp(x, dim), x, upstream),
        torch.autograd.grad(torch.logsumexp(x, dim), x, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_row_that_a_mask_hides_has_the_gradient_0_where_pytorchs_is_nan():
    x = tensor([[-math.inf] * 3, [0.0, -math.inf, 1.0]])
    assert log_sum_exp(x).tolist() == [-math.inf, pytest.approx(math.log(1 + math.e))]
    assert gradient_of(log_sum_exp, x)[0].tolist() == [0, 0, 0]
    assert gradient_of(lambda x: torch.logsumexp(x, 1), x)[0].isnan().all()


def test_second_derivatives_equal_the_differences_of_the_first():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sigmoid_cross_entropy, (x, targets))
    assert torch.autograd.gradgradcheck(sigmoid_cross_entropy, (x, targets))
    assert torch.autograd.gradgradcheck(softplus, (x,))
    assert torch.autograd.gradgradcheck(log_sum_exp, (x,))


def test_the_compositions_fail_where_the_text_says():
    x = torch.tensor([-20.0, 0.5, 100.0])
    errors = relative_errors(softplus_as_written(x), softplus(x.double()).numpy())
    assert errors[0] == errors[2] == 1 > 1e-6 > errors[1]
    assert relative_errors(softplus(x), softplus(x.double()).numpy()).max() < 1e-6
    zero = torch.zeros(1)
    assert (gradient_of(softplus_composed, zero), gradient_of(softplus, zero)) == (1, 0.5)
    assert gradient_of(loss_as_written, torch.tensor([-200.0]), torch.ones(1)).isnan().all()


def test_bad_arguments_get_the_kinds_of_errors_that_pytorch_raises():
    x = torch.zeros(2, 3)
    with pytest.raises(IndexError, match="dim: expected an axis of a tensor with 2 axes, got 2"):
        log_sum_exp(x, 2)
    with pytest.raises(TypeError, match="dim: expected a whole number, got a value of type str"):
        log_sum_exp(x, "rows")
    with pytest.raises(RuntimeError, match="x: expected at least one element along axis 1"):
        log_sum_exp(torch.zeros(2, 0), 1)
    with pytest.raises(RuntimeError, match=r"targets: expected shape \[2, 3\], got \[3\]"):
        sigmoid_cross_entropy(x, x[0])
    with pytest.raises(RuntimeError, match="x: expected a tensor of floating point, got torch.int"):
        softplus(torch.tensor([1]))
