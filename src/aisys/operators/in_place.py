"""An activation that overwrites its input: the gradient comes from the result."""

from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_number, require_tensor


def leaky_relu_(x: Tensor, slope: float = 0.01) -> Tensor:
    """Leaky ReLU in place: x where it is positive, slope * x elsewhere.

    Args:
        x: Of any shape, floating point; it is overwritten. A leaf that needs a gradient cannot be.
        slope: Above 0: only then has the result the sign of x.

    Returns:
        x itself.

    Raises:
        TypeError: x is no tensor, or slope no number.
        RuntimeError: x is not of floating point or must not be overwritten, or slope is not
            above 0.
    """
    return LeakyReLUInPlace.apply(require_tensor("x", x), require_number("slope", slope, above=0))


@exercise("2.5", points=1.5)
class LeakyReLUInPlace(torch.autograd.Function):
    """Leaky ReLU that stores its result in its input, so that one tensor serves as both.

    Whether an element was positive can be seen from the result: a slope above 0 keeps the sign.
    That is all that the gradient needs (as in Rota Bulo et al., CVPR 2018).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        """Overwrite x and return it.

        `ctx.mark_dirty(x)` tells autograd that x was changed: its version goes up, and whoever
        has saved it before gets an error in backward and not a wrong gradient. What is kept
        goes through `ctx.save_for_backward`, so that later changes are noticed, too.

        Args:
            ctx: The context.
            x: Of any shape.
            slope: Above 0.

        Returns:
            x itself, with slope * x in the place of what was negative.
        """
        x.copy_(torch.where(x > 0, x, slope * x))
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """What arrives where the result is positive, slope times it elsewhere.

        Args:
            ctx: The context.
            upstream: Of x's shape. It is not to be changed: somebody else may need it.

        Returns:
            The gradient of x, and None for the slope.
        """
        (result,) = ctx.saved_tensors
        return torch.where(result > 0, upstream, ctx.slope * upstream), None
