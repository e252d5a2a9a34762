"""What the experiments of 2.2 compare: compositions of PyTorch's operators, and their errors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def softplus_as_written(x: Tensor) -> Tensor:
    """log(1 + exp(x)), as the formula stands in the textbook."""
    return torch.log(1 + torch.exp(x))


def softplus_composed(x: Tensor) -> Tensor:
    """The stable form of softplus, whose gradient is left to autograd."""
    return torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs()))


def loss_as_written(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid cross-entropy, as the formula stands in the textbook."""
    yes = torch.sigmoid(logits)
    return -targets * torch.log(yes) - (1 - targets) * torch.log(1 - yes)


def gradient_of(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """The gradient of a function of one element each, with respect to its first argument."""
    leaf = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf, *others).sum(), leaf)
    return gradient


def relative_errors(found: Tensor, exact: np.ndarray) -> np.ndarray:
    """|found - exact| / |exact| for each element, at most 1; 1 where found is no number.

    Args:
        found: A result in any precision.
        exact: The same in float64; nowhere 0.
    """
    values = found.detach().double().numpy()
    with np.errstate(all="ignore"):
        errors = np.abs(values - exact) / np.abs(exact)
    return np.where(np.isfinite(errors), np.minimum(errors, 1), 1)
