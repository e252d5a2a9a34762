"""A small network that trains on the operator, and what fusing saves; nothing here is graded."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.data import batches, digits

from . import extension
from .devices import load
from .emulator import Launch
from .gpu import why_no_gpu
from .operator import make_kernels

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]

GELU = """
__global__ void gelu(const float *z, float *value, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) value[i] = 0.5f * z[i] * (1.0f + erff(z[i] * 0.70710678f));
}
"""
"""What comes behind a product that is not fused: a kernel that reads z again."""


def pytorch_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What the operator replaces."""
    return F.gelu(F.linear(x, weight, bias))


def train(layer: Layer, epochs: int = 3, batch: int = 100, seed: int = 0) -> list[float]:
    """Train a network of two such layers and a linear one on 2,000 digits of 7 x 7 pixels.

    Args:
        layer: What computes GELU(x weight^T + bias).
        epochs: Passes through the digits.
        batch: Digits of a step.
        seed: Of the weights and of the order.

    Returns:
        The loss of every step, and behind them the share of 1,000 held-out digits that the network
        gets right.
    """
    data = digits()
    x, held_out = _pooled(data.train_images[:2000]), _pooled(data.held_out_images)
    labels = torch.from_numpy(data.train_labels[:2000])
    torch.manual_seed(seed)
    sizes = [49, 64, 32, 10]
    parameters = []
    for inner, columns in zip(sizes, sizes[1:], strict=False):
        parameters.append(torch.randn(columns, inner).div_(inner**0.5).requires_grad_())
        parameters.append(torch.zeros(columns, requires_grad=True))

    def network(x: Tensor) -> Tensor:
        for i in (0, 2):
            x = layer(x, *parameters[i : i + 2])
        return F.linear(x, *parameters[4:])

    optimiser = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for chosen in batches(len(x), batch, epochs, seed):
        loss = F.cross_entropy(network(x[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = network(held_out).argmax(1).numpy() == data.held_out_labels
    return [*losses, float(right.mean())]


def forward_bytes(rows: int, inners: Sequence[int], columns: int) -> dict[str, list[int]]:
    """Bytes of global memory that a layer moves, counted: fused, and as a product and a GELU.

    Args:
        rows: Of x.
        inners: Features of x, one layer for each.
        columns: Features that come out.
    """
    found: dict[str, list[int]] = {"fused": [], "product, then GELU": []}
    for inner in inners:
        seen: list[Launch] = []
        x, weight, bias = (
            torch.zeros(shape) for shape in ((rows, inner), (columns, inner), columns)
        )
        make_kernels("counts", seen).forward(x, weight, bias, False)
        z = np.zeros(rows * columns, np.float32)
        kernel = load(GELU, checks="counts")["gelu"]
        apart = kernel[-(-len(z) // 256), 256](z, np.empty_like(z), len(z))
        # The product alone moves as much as the fused kernel: it writes z in the value's place.
        found["fused"].append(seen[0].global_bytes)
        found["product, then GELU"].append(seen[0].global_bytes + apart.global_bytes)
    return found


def time_layer(rows: int, inner: int, columns: int, rounds: int = 11) -> dict[str, "float | str"]:
    """The time of a layer on a GPU: yours, as each compiler makes it, and PyTorch's two calls.

    Args:
        rows: Of x.
        inner: Features of x.
        columns: Features that come out.
        rounds: Launches of each, in turn.

    Returns:
        Medians in seconds, or why there is none.
    """
    here = "" if torch.cuda.is_available() else "PyTorch finds no GPU."
    ways = {
        "yours, compiled by NVRTC": ("nvrtc", why_no_gpu() or here),
        "yours, by nvcc as an extension of PyTorch": ("nvcc", extension.why_not()),
    }
    found: dict[str, float | str] = {name: missing for name, (_, missing) in ways.items()}
    if all(found.values()):
        return found
    x, weight, bias = (
        torch.randn(shape, device="cuda") for shape in ((rows, inner), (columns, inner), (columns,))
    )
    seen: dict[str, list[Launch]] = {name: [] for name, missing in found.items() if not missing}
    kernels = {name: make_kernels("none", seen[name], ways[name][0]) for name in seen}
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    theirs = []
    for _ in range(rounds):
        for each in kernels.values():
            each.forward(x, weight, bias, False)
        begin.record()
        pytorch_layer(x, weight, bias)
        end.record()
        end.synchronize()
        theirs.append(begin.elapsed_time(end) / 1000)
    for name, launches in seen.items():
        found[name] = statistics.median(launch.seconds for launch in launches)
    return found | {"PyTorch's two calls": statistics.median(theirs)}


def errors_of_layer_norm(
    means: Sequence[float], normalise: Callable[[Tensor], Tensor], columns: int = 1024
) -> dict[str, list[float]]:
    """The largest error of normalised rows with these means and a deviation of 1, in float32.

    Args:
        means: Of a row each.
        normalise: Yours: [1, columns] to [1, columns].
        columns: Of the row.

    Returns:
        For yours, and for the mean of the squares minus the square of the mean.
    """
    noise = np.random.default_rng(0).standard_normal((1, columns))
    found: dict[str, list[float]] = {"yours": [], "mean of squares - square of mean": []}
    for mean in means:
        row = (noise + mean).astype(np.float32)
        exact = row.astype(np.float64)
        exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
        variance = np.maximum((row * row).mean() - row.mean() ** 2, np.float32(0))
        naive = (row - row.mean()) / np.sqrt(variance + np.float32(1e-5))
        yours = normalise(torch.from_numpy(row)).numpy()
        for name, made in zip(found, (yours, naive), strict=True):
            found[name].append(float(np.abs(made - exact).max()))
    return found


def _pooled(images: np.ndarray) -> Tensor:
    """Images [count, 1, 28, 28] as [count, 49]: the mean of each 4 x 4 pixels, around 0."""
    small = images.reshape(len(images), 7, 4, 7, 4).mean((2, 4)).reshape(len(images), 49)
    return torch.from_numpy(np.ascontiguousarray((small - 0.13) / 0.25, np.float32))
