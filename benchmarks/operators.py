"""Fused linear + GELU in C++ against eager PyTorch, its own fused calls and its compiler.

Forward and backward at three sizes, float32, on equally many threads: memory-bound (few inputs for
each output), between, and compute-bound. And the unfolding convolution of 2.4 against F.conv2d.
Aims: linear + GELU in C++ no slower than the eager composition at every size and faster where it is
memory-bound; the convolution within twice the time of F.conv2d.
"""

import json
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from common import (
    Ratio,
    Row,
    measured_in_child,
    median_ratio,
    median_rows,
    options,
    report,
    take_turns,
)
from torch import Tensor

from aisys.operators import cpp
from aisys.operators.convolution import conv2d

SIZES = {
    "4096 x 32 to 1024 (memory-bound)": (4096, 32, 1024),
    "1024 x 256 to 1024": (1024, 256, 1024),
    "512 x 1024 to 1024 (compute-bound)": (512, 1024, 1024),
}
CONVOLUTIONS = {
    "LeNet's first, batch 64": ((64, 1, 28, 28), (6, 1, 5, 5), 2),
    "16 to 32 channels, 3x3, batch 16": ((16, 16, 32, 32), (32, 16, 3, 3), 1),
}
CPP, EAGER, CALLS = "C++ operator", "eager composition", "F.linear + F.gelu"
COMPILED = "torch.compile"
OWN, TORCH = "unfolding conv2d (2.4)", "F.conv2d"


def main() -> None:
    """Measure, print, keep."""
    chosen = options(__doc__ or "")
    if chosen.child:
        print(json.dumps(measure(chosen.quick)))
        return
    measured = measured_in_child(__file__, chosen)
    rows: list[Row] = []
    ratios: dict[str, Ratio] = {}
    for case, seconds in measured.items():
        rows += median_rows(case, seconds)
        ratios |= ratios_of(case, seconds)
    report("operators", rows, ratios, chosen.quick)


def ratios_of(case: str, seconds: Mapping[str, list[float]]) -> dict[str, Ratio]:
    """The ratios of one case with their aims; a strict aim where memory is the limit."""
    if OWN in seconds:
        return {f"{case}: {OWN} / {TORCH}": median_ratio(seconds, OWN, TORCH, aim=2)}
    strict = 0.95 if "memory-bound" in case else 1.0
    aims = {EAGER: strict, CALLS: 1.0, COMPILED: 1.0}
    return {
        f"{case}: {CPP} / {other}": median_ratio(seconds, CPP, other, aim)
        for other, aim in aims.items()
        if other in seconds
    }


def measure(quick: bool) -> dict[str, dict[str, list[float]]]:
    """Seconds of each system by case; a quick run leaves PyTorch's compiler out."""
    rounds = 7 if quick else 41
    operator = cpp.load_operator().linear_gelu
    layers: dict[str, Callable[..., Tensor]] = {CPP: operator, EAGER: composition, CALLS: calls}
    if not quick:
        layers[COMPILED] = torch.compile(composition)
    found = {}
    for name, sizes in SIZES.items():
        for direction in ("forward", "forward and backward"):
            systems = {
                system: step(layer, sizes, backward=direction != "forward")
                for system, layer in layers.items()
            }
            case = f"linear + GELU, {name}, {direction}"
            found[case] = take_turns(systems, rounds, warm_up=3)
    for name, (shape, kernel, padding) in CONVOLUTIONS.items():
        for direction in ("forward", "forward and backward"):
            systems = {
                system: convolution_step(function, shape, kernel, padding, direction != "forward")
                for system, function in ((OWN, conv2d), (TORCH, F.conv2d))
            }
            found[f"convolution, {name}, {direction}"] = take_turns(systems, rounds, warm_up=3)
    return found


def composition(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The layer as its formula is written."""
    before = x @ weight.T + bias
    return 0.5 * before * (1 + torch.erf(before / math.sqrt(2)))


def calls(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The layer as models write it."""
    return F.gelu(F.linear(x, weight, bias))


def step(
    layer: Callable[..., Tensor], sizes: tuple[int, int, int], backward: bool
) -> Callable[[], None]:
    """A pass through a layer of rows x inner to columns, with all three gradients or without."""
    rows, inner, columns = sizes
    torch.manual_seed(0)
    x = torch.randn(rows, inner, requires_grad=backward)
    weight = (torch.randn(columns, inner) / inner**0.5).requires_grad_(backward)
    bias = torch.randn(columns, requires_grad=backward)
    return passes(lambda: layer(x, weight, bias), [x, weight, bias], backward)


def convolution_step(
    function: Callable[..., Tensor],
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: int,
    backward: bool,
) -> Callable[[], None]:
    """A pass through a convolution, with all three gradients or without."""
    torch.manual_seed(0)
    tensors = [torch.randn(size, requires_grad=backward) for size in (shape, kernel, kernel[:1])]
    return passes(lambda: function(*tensors, padding=padding), tensors, backward)


def passes(
    forward: Callable[[], Tensor], inputs: list[Tensor], backward: bool
) -> Callable[[], None]:
    """What is measured: forward, and the gradients of the inputs for a fixed upstream gradient."""
    upstream = torch.randn_like(forward())

    def run() -> None:
        with torch.set_grad_enabled(backward):
            result = forward()
        if backward:
            torch.autograd.grad(result, inputs, upstream)

    return run


if __name__ == "__main__":
    main()
