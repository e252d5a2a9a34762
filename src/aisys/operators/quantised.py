"""A small quantised network on digits: what 2.3 trains with a straight-through estimator.

The optimiser moves full weights; the network computes with what a quantiser makes of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.data import Digits, batches
from aisys.operators.straight_through import relu

Quantiser = Callable[[Tensor], Tensor]
"""Makes the weights that the network computes with of those that are trained."""


@dataclass(frozen=True)
class Network:
    """Two linear layers with a ReLU between them.

    Attributes:
        first: [hidden, 784].
        first_bias: [hidden].
        second: [10, hidden].
        second_bias: [10].
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    def scores(self, images: Tensor, quantise: Quantiser) -> Tensor:
        """The scores [batch, 10] of images [batch, 1, 28, 28]."""
        x = images.flatten(1) @ quantise(self.first).T + self.first_bias
        return relu(x) @ quantise(self.second).T + self.second_bias

    def accuracy(self, data: Digits, quantise: Quantiser) -> float:
        """The share of held-out digits that are recognised."""
        with torch.no_grad():
            scores = self.scores(torch.from_numpy(data.held_out_images), quantise)
        return (scores.argmax(1).numpy() == data.held_out_labels).mean().item()


def as_it_is(weight: Tensor) -> Tensor:
    """The quantiser that changes nothing."""
    return weight


def rounded_by_autograd(weight: Tensor, bits: int) -> Tensor:
    """The values of quantize_weight by PyTorch's round and sign, with their true gradient of 0."""
    if bits == 1:
        signs = torch.sign(weight)
        return torch.where(signs == 0, 1.0, signs) * weight.detach().abs().mean()
    levels = 2 ** (bits - 1) - 1
    step = weight.detach().abs().max() / levels
    return torch.round(weight / step) * step


def train(
    data: Digits, quantise: Quantiser, epochs: int = 4, hidden: int = 64, seed: int = 0
) -> tuple[Network, list[float]]:
    """Train the network with Adam on batches of 64.

    Args:
        data: The digits.
        quantise: What the network computes with during training.
        epochs: How often every digit is seen.
        hidden: The number of hidden units.
        seed: Of the initial weights and of the order.

    Returns:
        The network with its full weights, and the mean loss of each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Network(
        torch.randn(hidden, 784, generator=generator) / 784**0.5,
        torch.zeros(hidden),
        torch.randn(10, hidden, generator=generator) / hidden**0.5,
        torch.zeros(10),
    )
    parameters = [each.requires_grad_() for each in vars(network).values()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    losses: list[float] = []
    for epoch in range(epochs):
        total, count = 0.0, 0
        for chosen in batches(len(images), 64, 1, seed=seed + epoch):
            loss = F.cross_entropy(network.scores(images[chosen], quantise), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
        losses.append(total / count)
    return network, losses
