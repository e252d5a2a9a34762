"""A linear layer as an operator of its own: what it computes, and what it passes back."""

import math
from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_linear


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, x @ weight.T + bias.

    Args:
        x: [..., in_features], floating point.
        weight: [out_features, in_features].
        bias: [out_features], added to every row.

    Returns:
        [..., out_features].

    Raises:
        TypeError: One of them is no tensor.
        RuntimeError: The shapes do not fit, or dtypes or devices differ.
    """
    return Linear.apply(*require_linear(x, weight, bias))


@exercise("2.1", points=3)
class Linear(torch.autograd.Function):
    """The two halves of a linear layer, x @ weight.T + bias.

    Shapes: x [..., in_features], weight [out_features, in_features], bias [out_features]. There
    may be any number of axes in front, also none, and any size may be 0. No tensor has to be
    contiguous. The layer's own operations are not recorded by autograd: inside a Function it is
    switched off.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the layer, and keep what the other half needs.

        What is kept goes through `ctx.save_for_backward`, once, so that a change in place between
        the two halves is noticed. The gradient of x needs weight, that of weight needs x: keep
        each of the two only if `ctx.needs_input_grad` says that it will be used, and None in its
        place otherwise.

        Args:
            ctx: `ctx.needs_input_grad` is a tuple of three booleans, for x, weight and bias.
            x: [..., in_features].
            weight: [out_features, in_features].
            bias: [out_features].

        Returns:
            [..., out_features].
        """
        needs_x, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias, in matrix form: no loop over rows.

        Args:
            ctx: `ctx.saved_tensors` is what forward kept.
            upstream: The gradient that arrives, [..., out_features]. It may have any strides: the
                gradient of a sum is a single number, expanded.

        Returns:
            One gradient for each input, of the input's shape. None where `ctx.needs_input_grad`
            is false; no matrix product is computed for it.
        """
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        by_x = by_weight = by_bias = None
        # All axes in front become one. Its size is worked out, as -1 means nothing at size 0.
        rows = math.prod(upstream.shape[:-1])
        arriving = upstream.reshape(rows, upstream.shape[-1])
        if needs_x:
            by_x = upstream @ weight
        if needs_weight:
            by_weight = arriving.T @ x.reshape(rows, x.shape[-1])
        if needs_bias:
            by_bias = arriving.sum(0)
        return by_x, by_weight, by_bias
