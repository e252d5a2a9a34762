"""Functions of steps and corners, with the gradients that make them trainable all the same.

A straight-through estimator (Bengio, Leonard and Courville, 2013) passes the upstream gradient
through a step as if the step were a straight line, and stops it where the function is saturated.
"""

from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_number, require_tensor, require_whole


def quantize(x: Tensor, step: float, levels: int) -> Tensor:
    """x rounded to a multiple of a step, at most so many steps from 0.

    Args:
        x: Of any shape, floating point.
        step: The distance of two levels, above 0.
        levels: The number of levels on either side of 0, at least 1.

    Raises:
        TypeError: x is no tensor, step no number or levels no whole number.
        RuntimeError: x is not of floating point, or a number is too small.
    """
    require_tensor("x", x)
    return Quantize.apply(
        x, require_number("step", step, above=0), require_whole("levels", levels, 1)
    )


def sign(x: Tensor) -> Tensor:
    """1 where x is at least 0, otherwise -1; raises as `quantize`."""
    return Sign.apply(require_tensor("x", x))


def relu(x: Tensor, slope_at_zero: float = 0.0) -> Tensor:
    """max(x, 0), with a chosen slope at 0; raises as `quantize`."""
    return ReLU.apply(require_tensor("x", x), require_number("slope_at_zero", slope_at_zero))


@exercise("2.3", points=1.5)
class Quantize(torch.autograd.Function):
    """Rounding to 2 * levels + 1 values, with a clipped straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float, levels: int) -> Tensor:
        """The nearest multiple of step, from -levels * step to levels * step.

        Half-way between two multiples, the even one is taken, as by `torch.round`.

        Args:
            ctx: For what the other half needs.
            x: Of any shape.
            step: The distance of two levels, above 0.
            levels: The number of levels on either side of 0.

        Returns:
            A tensor of x's shape.
        """
        nearest = torch.round(x / step)
        ctx.save_for_backward(nearest.abs() <= levels)
        return torch.clamp(nearest, -levels, levels) * step

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """Upstream where the nearest multiple was taken; 0 where it lay outside and was clipped.

        So x may lie up to half a step beyond the outermost level.

        Args:
            ctx: What forward kept.
            upstream: The gradient that arrives, of x's shape.

        Returns:
            The gradient of x, and None for each of the two numbers.
        """
        (inside,) = ctx.saved_tensors
        return upstream * inside, None, None


@exercise("2.3", points=1)
class Sign(torch.autograd.Function):
    """The sign, with a clipped straight-through estimator (Hubara et al., NeurIPS 2016)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """1 where x is at least 0, -1 elsewhere: two values, one bit; never 0.

        Args:
            ctx: For what the other half needs.
            x: Of any shape.
        """
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        """Upstream where x lies between -1 and 1, bounds included; 0 elsewhere.

        Args:
            ctx: What forward kept.
            upstream: The gradient that arrives, of x's shape.
        """
        (x,) = ctx.saved_tensors
        return upstream * (x.abs() <= 1)


@exercise("2.3", points=1)
class ReLU(torch.autograd.Function):
    """max(x, 0). At 0 there is no derivative, so somebody has to choose one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope_at_zero: float) -> Tensor:
        """Compute max(x, 0), and keep what the other half needs.

        Args:
            ctx: For what the other half needs.
            x: Of any shape.
            slope_at_zero: What is taken for the derivative where x is exactly 0; PyTorch takes 0.
        """
        ctx.save_for_backward(x)
        ctx.slope_at_zero = slope_at_zero
        return torch.clamp(x, min=0)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """The gradient of x, and None for the slope.

        Args:
            ctx: What forward kept.
            upstream: The gradient that arrives, of x's shape.
        """
        (x,) = ctx.saved_tensors
        slope = torch.where(x == 0, ctx.slope_at_zero, (x > 0).to(upstream.dtype))
        return upstream * slope, None


@exercise("2.3", points=1)
def quantize_weight(weight: Tensor, bits: int) -> Tensor:
    """A layer's weights in so many bits, trainable through Quantize and Sign.

    With 2 bits or more, the largest weight in absolute value becomes the outermost of
    2**(bits - 1) - 1 levels on either side of 0: step = largest / levels, then Quantize. With 1
    bit a weight keeps its sign and nothing else: Sign times the mean of |weight| (Rastegari et
    al., XNOR-Net, ECCV 2016). Step and mean are numbers that no gradient flows through.

    Args:
        weight: Of any shape, floating point. If all weights are 0, the result is 0.
        bits: At least 1.

    Returns:
        A tensor of the same shape.
    """
    if bits == 1:
        return Sign.apply(weight) * weight.detach().abs().mean()
    levels = 2 ** (bits - 1) - 1
    largest = weight.detach().abs().max().item()
    # A step of 0 would divide by 0; with any other step zeros stay zeros.
    return Quantize.apply(weight, largest / levels if largest > 0 else 1.0, levels)
