"""A linear layer fused with GELU, which computes again what others keep."""

import math
from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_linear


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x @ weight.T + bias), with the exact GELU; nothing but the arguments is kept.

    Args:
        x: [..., in_features], floating point.
        weight: [out_features, in_features].
        bias: [out_features].

    Returns:
        [..., out_features].

    Raises:
        TypeError: One of them is no tensor.
        RuntimeError: The shapes do not fit, or dtypes or devices differ.
    """
    return LinearGELU.apply(*require_linear(x, weight, bias))


@exercise("2.5", points=2)
class LinearGELU(torch.autograd.Function):
    """Both halves of gelu(z) with z = x @ weight.T + bias, where z is not kept but made again.

    The composed layer keeps z, a tensor of the result's size, for the gradient of GELU. Here
    backward computes z a second time from x, weight and bias, which are there anyway
    (gradient checkpointing: Chen et al., 2016).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the layer; keep no tensor but the three arguments.

        Args:
            ctx: For `save_for_backward`.
            x: [..., in_features].
            weight: [out_features, in_features].
            bias: [out_features].

        Returns:
            [..., out_features]: z * (1 + erf(z / sqrt(2))) / 2.
        """
        ctx.save_for_backward(x, weight, bias)
        z = x @ weight.T
        z += bias
        below = torch.erf(z / math.sqrt(2)).add_(1).mul_(0.5)
        return below.mul_(z)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Compute z again, then the gradients of x, weight and bias.

        The derivative of GELU is P(z) + z * p(z), with P(z) = (1 + erf(z / sqrt(2))) / 2 and
        p(z) = exp(-z**2 / 2) / sqrt(2 * pi).

        Args:
            ctx: `ctx.saved_tensors`, `ctx.needs_input_grad`.
            upstream: The gradient that arrives, [..., out_features]; it may have any strides.

        Returns:
            One gradient for each input; None where it is not needed.
        """
        x, weight, bias = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        z = x @ weight.T
        z += bias
        # Steps in place: each would otherwise make one more tensor of z's size.
        slope = torch.square(z).mul_(-0.5).exp_().mul_(z).mul_(1 / math.sqrt(2 * math.pi))
        slope += z.mul_(1 / math.sqrt(2)).erf_().add_(1).mul_(0.5)
        by_z = slope.mul_(upstream)
        rows = math.prod(by_z.shape[:-1])
        arriving = by_z.reshape(rows, by_z.shape[-1])
        by_x = by_weight = by_bias = None
        if needs_x:
            by_x = by_z @ weight
        if needs_weight:
            by_weight = arriving.T @ x.reshape(rows, x.shape[-1])
        if needs_bias:
            by_bias = arriving.sum(0)
        return by_x, by_weight, by_bias
