"""Gradients of tensors by central differences, as `torch.autograd.gradcheck` takes them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def difference_quotients(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    upstream: Tensor,
    step: float = 1e-6,
) -> list[Tensor]:
    """The gradients of sum(upstream * function(*tensors)), by central differences.

    Args:
        function: Takes the tensors; it is called twice for each of their elements.
        tensors: Of floating point; they are not changed. Everything is computed in their dtype.
        upstream: Of the shape of the function's result.
        step: h in (f(x + h) - f(x - h)) / 2h. The error is of order h**2 plus rounding / h.

    Returns:
        One gradient for each tensor, contiguous, of its shape.
    """
    copies = [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in tensors]
    results = []
    with torch.no_grad():
        for tensor in copies:
            elements, gradient = tensor.view(-1), torch.zeros_like(tensor)
            for place in range(tensor.numel()):
                value = elements[place].item()
                elements[place] = value + step
                above = function(*copies)
                elements[place] = value - step
                below = function(*copies)
                elements[place] = value
                # The steps as they are after rounding make no error of their own.
                taken = _rounded(value + step, tensor) - _rounded(value - step, tensor)
                gradient.view(-1)[place] = (upstream * (above - below)).sum() / taken
            results.append(gradient)
    return results


def _rounded(value: float, tensor: Tensor) -> float:
    """A number as an element of this tensor's dtype."""
    return torch.tensor(value, dtype=tensor.dtype).item()
