"""What the experiments of memory in 2.5 need: ways to compute a layer, stacks of them, clocks."""

import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aisys.operators.gelu import gelu
from aisys.operators.in_place import leaky_relu_
from aisys.operators.linear import linear
from aisys.operators.linear_gelu import linear_gelu
from aisys.operators.memory import saved_bytes

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def small_operators(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear and GELU from operators that each do one thing."""
    z = x @ weight.T + bias
    return z * (0.5 * (1 + torch.erf(z / 2**0.5)))


def checkpointed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's own way to compute again what is needed."""
    return checkpoint(
        lambda *inputs: F.gelu(F.linear(*inputs)), x, weight, bias, use_reentrant=False
    )


WAYS: dict[str, Layer] = {
    "small operators": small_operators,
    "F.linear, F.gelu": lambda x, weight, bias: F.gelu(F.linear(x, weight, bias)),
    "your 2.1": lambda x, weight, bias: gelu(linear(x, weight, bias)),
    "your LinearGELU": linear_gelu,
    "checkpoint": checkpointed,
    "F.linear, your leaky ReLU in place": lambda x, weight, bias: leaky_relu_(
        F.linear(x, weight, bias)
    ),
}
"""Ways to compute one layer; the last has another activation."""


def time_and_memory(
    rows: int, features: int, layers: int, repeats: int = 7
) -> dict[str, tuple[float, int]]:
    """Time and kept bytes of a stack of equal layers, for each of WAYS, in float32 on one thread.

    Args:
        rows: Of the input.
        features: Of the input and of each layer's result.
        layers: How many.
        repeats: How often each is timed; they take turns, and the shortest times are returned.

    Returns:
        Seconds for both halves, and bytes kept between them, without input and parameters.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator)
    parameters = []
    for _ in range(layers):
        weight = torch.randn(features, features, generator=generator) / features**0.5
        parameters += [weight.requires_grad_(), torch.zeros(features, requires_grad=True)]
    upstream = torch.randn(rows, features, generator=generator)

    def stack(layer: Layer, *inputs: Tensor) -> Tensor:
        hidden, *rest = inputs
        for weight, bias in zip(rest[::2], rest[1::2], strict=True):
            hidden = layer(hidden, weight, bias)
        return hidden

    def both_halves(layer: Layer) -> None:
        torch.autograd.grad(stack(layer, x, *parameters), parameters, upstream)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(repeats):
            for name, layer in WAYS.items():
                start = time.perf_counter()
                both_halves(layer)
                seconds[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {
        name: (
            min(seconds[name]),
            saved_bytes(lambda *inputs, way=layer: stack(way, *inputs), x, *parameters),
        )
        for name, layer in WAYS.items()
    }


def what_happens(change: Callable[[Tensor], object], inputs: Sequence[float] = (1.0, 2.0)) -> str:
    """Change a tensor that exp has saved, and say what backward does.

    Args:
        change: Gets exp(x).
        inputs: The elements of x.

    Returns:
        The versions, and the error's first words or whether the gradient is right.
    """
    x = torch.tensor(inputs, requires_grad=True)
    y = x.exp()
    right, saved_version = y.detach().clone(), y._version
    result = y + 0
    change(y)
    seen = f"version {saved_version} when saved, {y._version} now: "
    try:
        (gradient,) = torch.autograd.grad(result.sum(), x)
    except RuntimeError as error:
        return f"{seen}error, {str(error).partition(':')[0]}"
    verdict = "the right" if torch.equal(gradient, right) else "a wrong"
    return f"{seen}{verdict} gradient, {gradient.tolist()}"
