"""Loss scaling for training in half precision (Micikevicius et al., ICLR 2018).

float16 has 5 bits for the exponent: below 2**-24 there is only 0, above 65504 only infinity. Many
gradients are smaller. The loss is multiplied by a large number, and so are all gradients; they are
divided by it in float32, just before the step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aisys.course import exercise


@exercise("2.5", points=1)
def lost_share(gradient: Tensor, dtype: torch.dtype, scale: float = 1.0) -> float:
    """The share of a gradient that does not survive in a narrower dtype.

    An element is lost if it is not 0, but scale times it is 0 or infinite when stored in dtype.
    The product is taken in the gradient's own dtype, before it is stored.

    Args:
        gradient: Of any shape, float32 or float64, finite.
        dtype: Such as `torch.float16`.
        scale: The loss scale.

    Returns:
        Lost elements divided by all elements that are not 0; 0.0 if there are none of these.
    """
    used = gradient[gradient != 0]
    stored = (scale * used).to(dtype)
    lost = (stored == 0) | stored.isinf()
    return lost.double().mean().item() if len(used) else 0.0


class LossScaler:
    """Dynamic loss scaling: as large a scale as the gradients bear, found while training.

    Attributes:
        scale: What the loss is multiplied by.
        good_steps: Steps since the scale last changed, all without overflow.
        growth_interval: After so many good steps the scale is doubled.
    """

    def __init__(self, scale: float = 2.0**16, growth_interval: int = 200) -> None:
        self.scale = scale
        self.good_steps = 0
        self.growth_interval = growth_interval

    @exercise("2.5", points=0.5)
    def scaled(self, loss: Tensor) -> Tensor:
        """The loss that backward starts from: scale times the loss.

        Args:
            loss: One number; it is computed in float32 and stays in it.
        """
        return loss * self.scale

    @exercise("2.5", points=2)
    def step(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> bool:
        """Take the optimiser's step with the true gradients, or skip it after an overflow.

        Where any gradient has an element that is infinite or not a number, nothing is updated
        (no `optimizer.step()`: a NaN would stay in the momentum), the scale is halved, and
        good_steps starts again at 0. Otherwise every gradient is divided by the scale and the
        optimiser steps; after growth_interval good steps in a row the scale is doubled, for the
        steps to come, and good_steps starts again at 0.

        Args:
            optimizer: Updates the parameters from their `.grad`.
            parameters: Their `.grad` is the gradient of the scaled loss, or None.

        Returns:
            Whether the step was taken.
        """
        gradients = [each.grad for each in parameters if each.grad is not None]
        if not all(gradient.isfinite().all() for gradient in gradients):
            self.scale /= 2
            self.good_steps = 0
            return False
        for gradient in gradients:
            gradient /= self.scale
        optimizer.step()
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale *= 2
            self.good_steps = 0
        return True
