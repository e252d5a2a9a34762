"""GELU (Hendrycks and Gimpel, 2016): x times the share of a normal distribution below x."""

import math
from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_tensor


def gelu(x: Tensor) -> Tensor:
    """The exact GELU, x * (1 + erf(x / sqrt(2))) / 2, element by element.

    Args:
        x: Of any shape, floating point.

    Raises:
        TypeError: x is no tensor.
        RuntimeError: It is not of floating point.
    """
    return GELU.apply(require_tensor("x", x))


@exercise("2.1", points=1.5)
class GELU(torch.autograd.Function):
    """The two halves of the exact GELU, x * P(x), where P is the normal distribution function.

    P(x) = (1 + erf(x / sqrt(2))) / 2; its derivative is p(x) = exp(-x**2 / 2) / sqrt(2 * pi).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Compute x * P(x), and keep one tensor of x's size for the other half, no more.

        Args:
            ctx: For `save_for_backward`.
            x: Of any shape.

        Returns:
            A tensor of x's shape and dtype.
        """
        ctx.save_for_backward(x)
        return x * (0.5 * (1 + torch.erf(x / math.sqrt(2))))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        """The gradient of x: upstream times the derivative of x * P(x).

        Args:
            ctx: `ctx.saved_tensors` is what forward kept.
            upstream: The gradient that arrives, of x's shape.
        """
        (x,) = ctx.saved_tensors
        below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return upstream * (below + x * density)
