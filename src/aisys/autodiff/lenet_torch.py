"""LeNet in PyTorch (LeCun et al., Proc. IEEE 1998; with the ReLU and max-pooling of Lecture 2)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """Two convolutions with pooling and three linear layers: 61,706 weights for ten digits.

    Takes images [batch, 1, 28, 28] and gives scores [batch, 10], one for each digit.

    Args:
        seed: Of the initial weights. Equal seeds give equal weights; PyTorch's own generator is
            left as it was.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The scores [batch, 10] of images [batch, 1, 28, 28]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # [batch, 6, 14, 14]
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # [batch, 16, 5, 5]
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def weights_of(model: nn.Module, dtype: type[np.floating] = np.float32) -> dict[str, np.ndarray]:
    """Copies of a model's weights by name, for LeNet from "conv1.weight" to "fc3.bias".

    Args:
        model: For example `LeNet(seed=0)`, whose weights are then the initial ones.
        dtype: Of the arrays.
    """
    return {
        name: parameter.detach().numpy().astype(dtype)
        for name, parameter in model.named_parameters()
    }
