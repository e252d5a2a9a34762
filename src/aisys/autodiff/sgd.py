"""Stochastic gradient descent with momentum and weight decay, as torch.optim.SGD defines it."""

from dataclasses import dataclass

import numpy as np

from aisys.course import exercise


@dataclass(frozen=True)
class SGD:
    """The settings of the method.

    Attributes:
        rate: The learning rate.
        momentum: The share of the velocity that is kept in a step.
        weight_decay: The share of the weight that is added to its gradient.
    """

    rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0


@exercise("1.8", points=2)
def sgd_update(
    weight: np.ndarray, slope: np.ndarray, velocity: np.ndarray, settings: SGD
) -> tuple[np.ndarray, np.ndarray]:
    """One step of one array of weights, as in PyTorch.

    - Weight decay: weight_decay times the weight is added to the gradient. That is the gradient
      of weight_decay / 2 times the sum of the squared weights.
    - Momentum: the new velocity is momentum times the old one, plus that gradient.
    - The new weight is the old one minus rate times the new velocity.

    In other texts (Sutskever et al., ICML 2013) the rate is part of the velocity, which makes a
    difference as soon as the rate changes.

    Args:
        weight: Any shape.
        slope: The gradient of the loss with respect to the weight, of the same shape.
        velocity: Of the same shape; zeros before the first step.
        settings: Rate, momentum and weight decay.

    Returns:
        The new weight and the new velocity: new arrays of the dtype of weight. The three arrays
        that came in are not changed.
    """
    decayed = slope + settings.weight_decay * weight
    velocity = settings.momentum * velocity + decayed
    return weight - settings.rate * velocity, velocity
