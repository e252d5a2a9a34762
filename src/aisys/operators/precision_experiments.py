"""What the experiments of precision in 2.5 need: a network in a dtype, its training, gradients."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.operators.linear_gelu import linear_gelu
from aisys.operators.loss_scaling import LossScaler

WIDTHS = (784, *12 * [64], 10)


def initial_weights(seed: int = 0) -> list[Tensor]:
    """Weights and biases of twelve linear+GELU layers and a linear one, float32.

    They are drawn as by `torch.nn.Linear`: uniform within 1 / sqrt(in_features).
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = []
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:], strict=False):
        for shape in ((outputs, inputs), (outputs,)):
            uniform = 2 * torch.rand(shape, generator=generator) - 1
            parameters.append((uniform / inputs**0.5).requires_grad_())
    return parameters


def forward_in(dtype: torch.dtype, parameters: list[Tensor], x: Tensor) -> list[Tensor]:
    """The results of all layers, computed in a dtype; the parameters stay in float32.

    Args:
        dtype: Of the layers.
        parameters: As from `initial_weights`; they are converted for each pass.
        x: [batch, 784].
    """
    narrow = [each.to(dtype) for each in parameters]
    results = [x.to(dtype)]
    for weight, bias in zip(narrow[:-2:2], narrow[1:-2:2], strict=True):
        results.append(linear_gelu(results[-1], weight, bias))
    return [*results[1:], results[-1] @ narrow[-2].T + narrow[-1]]


def gradients_of_layers(parameters: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """The gradients that arrive at the layers' results, float32, first layer first.

    Args:
        parameters: As from `initial_weights`.
        x: [batch, 784].
        y: Labels, [batch].
    """
    results = forward_in(torch.float32, parameters, x)
    return list(torch.autograd.grad(F.cross_entropy(results[-1], y), results))


def train_in(
    dtype: torch.dtype,
    images: np.ndarray,
    labels: np.ndarray,
    scaler: LossScaler | None = None,
    steps: int = 120,
    batch: int = 64,
    rate: float = 2e-3,
) -> tuple[list[float], list[Tensor], list[float]]:
    """Train the network with Adam; the loss is computed in float32, the layers in a dtype.

    Args:
        dtype: Of the layers in both passes.
        images: [count, 1, 28, 28].
        labels: [count].
        scaler: Scales the loss; None: no scaling.
        steps: How many.
        batch: Images in a step.
        rate: The learning rate.

    Returns:
        The loss of each step, the parameters after the last, and the scale before each step.
    """
    parameters = initial_weights()
    optimizer = torch.optim.Adam(parameters, lr=rate)
    rng = np.random.default_rng(0)
    losses, scales = [], []
    for _ in range(steps):
        chosen = rng.choice(len(images), batch, replace=False)
        x, y = torch.from_numpy(images[chosen]).flatten(1), torch.from_numpy(labels[chosen])
        loss = F.cross_entropy(forward_in(dtype, parameters, x)[-1].float(), y)
        optimizer.zero_grad()
        losses.append(loss.item())
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scales.append(scaler.scale)
            scaler.scaled(loss).backward()
            scaler.step(optimizer, parameters)
    return losses, parameters, scales
