"""What the experiments of 1.8 hold this engine against: the same training in PyTorch."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F

from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.sgd import SGD
from aisys.data import Digits


def lenet_losses_in_torch(
    data: Digits, batches: Iterable[np.ndarray], settings: SGD, seed: int = 0
) -> list[float]:
    """Train LeNet in PyTorch and return the loss of every step.

    Args:
        data: Digits; PyTorch computes in the dtype of their images.
        batches: Index arrays, one a step.
        settings: For `torch.optim.SGD`.
        seed: Of the initial weights, as in `LeNet`.
    """
    model = LeNet(seed).to(torch.from_numpy(data.train_images[:0]).dtype)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    losses = []
    for batch in batches:
        x, y = (
            torch.from_numpy(data.train_images[batch]),
            torch.from_numpy(data.train_labels[batch]),
        )
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
