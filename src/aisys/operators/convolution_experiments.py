"""What the experiments of 2.4 need: an operator with a term missing, curvature, eight layers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.operators.convolution import input_gradient
from aisys.operators.sliding_windows import unfold

Convolve = Callable[..., Tensor]
torch_conv2d: Convolve = F.conv2d


class CutConvolution(torch.autograd.Function):
    """A convolution of stride 1 that saves its windows: right once, wrong in second derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve, and keep what was computed on the way."""
        kernel_size = (weight.shape[2], weight.shape[3])
        windows = unfold(x, kernel_size, (1, 1), (1, 1))
        columns = windows.reshape(len(x), weight[0].numel(), -1)
        ctx.save_for_backward(columns, weight)
        ctx.size = tuple(x.shape[2:])
        product = weight.flatten(1) @ columns
        return product.reshape(len(x), len(weight), *windows.shape[-2:])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """The first derivatives, from a matrix that autograd takes for a constant."""
        columns, weight = ctx.saved_tensors
        by_weight = (upstream.flatten(2) @ columns.mT).sum(0).reshape(weight.shape)
        by_x = input_gradient(upstream, weight, ctx.size, (1, 1), (0, 0), (1, 1), 1)
        return by_x, by_weight


def conv2d_cut(x: Tensor, weight: Tensor) -> Tensor:
    """CutConvolution as a function."""
    return CutConvolution.apply(x, weight)


def curvature(
    convolve: Convolve, images: np.ndarray, labels: np.ndarray, iterations: int = 24
) -> list[float]:
    """The eigenvalue of largest size of a loss's Hessian, by power iteration.

    The product of the Hessian with v is the gradient of the inner product of the gradient and v.
    The network: two convolutions of 3x3, each with GELU and 2x2 average pooling, then a linear
    layer that counts as a constant; all weights are random.

    Args:
        convolve: Takes images and weights.
        images: [count, 1, 28, 28].
        labels: [count].
        iterations: How many products.

    Returns:
        The estimates v . Hv, one for each product.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 1, 3, 3), (8, 8, 3, 3), (10, 8 * 5 * 5)]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    first, second, last = (each / np.sqrt(each[0].numel()) for each in drawn)
    weights = [first.requires_grad_(), second.requires_grad_()]
    features, y = torch.from_numpy(images).double(), torch.from_numpy(labels)
    for weight in weights:
        features = F.avg_pool2d(F.gelu(convolve(features, weight)), 2)
    loss = F.cross_entropy(features.flatten(1) @ last.T, y)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    direction = [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in weights]
    estimates = []
    for _ in range(iterations):
        size = sum(each.square().sum().item() for each in direction) ** 0.5
        direction = [each / size for each in direction]
        product = torch.autograd.grad(gradients, weights, direction, retain_graph=True)
        pairs = zip(product, direction, strict=True)
        estimates.append(sum((p * v).sum().item() for p, v in pairs))
        direction = list(product)
    return estimates


@dataclass(frozen=True)
class Layer:
    """The sizes of a convolutional layer; images are square, and so are kernels."""

    batch: int
    channels: int
    out_channels: int
    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1


LAYERS = {
    "LeNet, 5x5, 1 to 6": Layer(64, 1, 6, 28, 5, padding=2),
    "LeNet, 5x5, 6 to 16": Layer(64, 6, 16, 14, 5),
    "3x3, 16 to 32": Layer(8, 16, 32, 32, 3, padding=1),
    "3x3, 64 to 64": Layer(8, 64, 64, 28, 3, padding=1),
    "3x3, 64 to 128, stride 2": Layer(8, 64, 128, 28, 3, 2, 1),
    "3x3, 64 to 64, dilation 2": Layer(8, 64, 64, 28, 3, padding=2, dilation=2),
    "1x1, 256 to 64": Layer(8, 256, 64, 14, 1),
    "3x3, 64 groups of 1": Layer(8, 64, 64, 28, 3, padding=1, groups=64),
}


def layer_seconds(
    layer: Layer, ways: Sequence[Convolve], repeats: int = 15
) -> list[dict[str, float]]:
    """The time of a layer, forward alone and with backward, in several implementations.

    They take turns, on one thread, in float32; the shortest times are returned.

    Args:
        layer: The sizes.
        ways: Take the arguments of `F.conv2d`.
        repeats: How often each is measured.

    Returns:
        For each way: seconds by "forward" and "both halves".
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(layer.batch, layer.channels, layer.size, layer.size, generator=generator)
    shape = (layer.out_channels, layer.channels // layer.groups, layer.kernel, layer.kernel)
    weight, bias = torch.randn(shape, generator=generator), torch.zeros(layer.out_channels)
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    settings = layer.stride, layer.padding, layer.dilation, layer.groups

    def forward(way: Convolve) -> None:
        with torch.no_grad():
            way(x, weight, bias, *settings)

    def both(way: Convolve) -> None:
        made = way(x, weight, bias, *settings)
        torch.autograd.grad(made, (x, weight, bias), torch.ones_like(made))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: list[dict[str, list[float]]] = [{"forward": [], "both halves": []} for _ in ways]
        for turn in range(repeats + 2):
            for way, noted in zip(ways, times, strict=True):
                for name, half in (("forward", forward), ("both halves", both)):
                    start = time.perf_counter()
                    half(way)
                    if turn >= 2:
                        noted[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [{name: min(each) for name, each in noted.items()} for noted in times]
