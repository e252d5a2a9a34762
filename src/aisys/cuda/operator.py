"""The operator of Lab 2 as CUDA kernels: a layer fused with its GELU, forward and backward.

The kernels' texts stand beside this module, and two more that normalise rows. `load_operator` puts
the first two together into an operator of PyTorch, on a GPU's tensors and, through the emulator, on
the CPU's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef, custom_op

from aisys.course import TextSlot, exercise, text_exercise
from aisys.operators.arguments import require_linear
from aisys.operators.citizenship import add_fake, define_linear_gelu, fresh_namespace

from .devices import launch
from .emulator import Launch

TILE, HIGH, ROW_THREADS = 32, 8, 128

linear_gelu_forward = text_exercise(
    "3.6", "linear_gelu_forward", "linear_gelu_forward.cu", points=2, language="cuda"
)
linear_gelu_backward = text_exercise(
    "3.6", "linear_gelu_backward", "linear_gelu_backward.cu", points=2, language="cuda"
)
softmax_rows = text_exercise("3.6", "softmax_rows", "softmax_rows.cu", points=2, language="cuda")
layer_norm_rows = text_exercise(
    "3.6", "layer_norm_rows", "layer_norm_rows.cu", points=1, language="cuda"
)


@dataclass(frozen=True)
class Kernels:
    """What computes the operator; every tensor is a contiguous float32 matrix or vector.

    Attributes:
        forward: `(x, weight, bias, keep)`, of shapes [rows, inner], [columns, inner] and [columns],
            gives `(value, slope)`: [rows, columns] each, or None for the slope where `keep` is
            False.
        gradient_of_x: `(upstream, slope, weight)` gives [rows, inner].
        gradient_of_weight: `(upstream, slope, x)` gives [columns, inner] for the weight and
            [columns] for the bias.
    """

    forward: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]
    gradient_of_x: Callable[[Tensor, Tensor, Tensor], Tensor]
    gradient_of_weight: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@exercise("3.6", points=2)
def register(operator: CustomOpDef, kernels: Kernels) -> None:
    """Make kernels the operator's implementation on the devices "cpu" and "cuda", and its gradient.

    A kernel sees pointers and three sizes. So what it gets is contiguous: x and the upstream
    gradient as matrices [rows, features], whatever axes and strides they came with (`reshape`,
    `contiguous`), and the results get their axes back.

    Nothing but the three arguments is kept for backward (`save_for_backward`); there `forward` is
    called once more, with `keep`. In forward the slope is not asked for. What
    `ctx.needs_input_grad` does not ask for is not computed: no call of `gradient_of_x` for a first
    layer, none of `gradient_of_weight` where neither weight nor bias needs a gradient, and in that
    place None.

    Args:
        operator: What `define_linear_gelu` of Lab 2.6 returned, `(Tensor x, Tensor weight,
            Tensor bias) -> Tensor` for x [..., inner], weight [columns, inner] and bias [columns];
            see its `register_kernel(devices, function)` and `register_autograd(backward,
            setup_context=...)`. It has an implementation already, which is PyTorch's.
            `require_linear(x, weight, bias)` refuses what does not fit.
        kernels: See `Kernels`.
    """

    def matrix(tensor: Tensor) -> Tensor:
        return tensor.reshape(math.prod(tensor.shape[:-1]), tensor.shape[-1]).contiguous()

    def implementation(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        require_linear(x, weight, bias)
        value, _ = kernels.forward(matrix(x), weight.contiguous(), bias.contiguous(), False)
        return value.reshape(*x.shape[:-1], len(weight))

    def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows, columns, arriving = matrix(x), weight.contiguous(), matrix(upstream)
        _, slope = kernels.forward(rows, columns, bias.contiguous(), True)
        assert slope is not None
        by_x = by_weight = by_bias = None
        if needs_x:
            by_x = kernels.gradient_of_x(arriving, slope, columns).reshape(x.shape)
        if needs_weight or needs_bias:
            by_weight, by_bias = kernels.gradient_of_weight(arriving, slope, rows)
        return by_x, by_weight if needs_weight else None, by_bias if needs_bias else None

    operator.register_kernel(["cpu", "cuda"], implementation)
    operator.register_autograd(backward, setup_context=keep)


def load_operator(checks: str = "none", compiler: str = "nvrtc") -> CustomOpDef:
    """The operator of the present texts and registration, in a namespace of its own.

    The one that was made before is dropped.

    Args:
        checks: Of the emulator, which runs the kernels of tensors on the CPU: `"all"`, `"counts"`
            or `"none"`.
        compiler: For tensors on a GPU: `"nvrtc"` or `"nvcc"`; see `devices.COMPILERS`.
    """
    while _last:
        _last.pop()._lib._destroy()
    namespace = fresh_namespace()
    operator = define_linear_gelu(namespace)
    _last.append(operator)
    add_fake(operator)
    register(operator, _as_operators(namespace, make_kernels(checks, compiler=compiler)))
    return operator


def make_kernels(
    checks: str = "none", seen: list[Launch] | None = None, compiler: str = "nvrtc"
) -> Kernels:
    """The kernels of the present texts, launched on the device where their tensors lie.

    Args:
        checks: See `load_operator`.
        seen: Where to append what was seen of each launch.
        compiler: See `load_operator`.
    """

    def run(slot: TextSlot, name: str, grid: tuple[int, int], *arguments: Any) -> None:
        device = "gpu" if arguments[0].is_cuda else "emulator"
        launched = launch(
            slot, grid, (TILE, HIGH), *arguments,
            device=device, checks=checks, kernel=name, compiler=compiler,
        )  # fmt: skip
        if seen is not None:
            seen.append(launched)

    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        (rows, inner), columns = x.shape, len(weight)
        value = x.new_full((rows, columns), torch.nan)
        slope = x.new_full((rows, columns) if keep else (1,), torch.nan)
        if value.numel() > 0:
            sizes = (rows, inner, columns, int(keep))
            arrays = (_some(x), _some(weight), bias, value, slope)
            run(linear_gelu_forward, "linear_gelu_forward", _tiles(rows, columns), *arrays, *sizes)
        return value, slope if keep else None

    def gradient_of_x(upstream: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
        (rows, columns), inner = upstream.shape, weight.shape[1]
        by_x = upstream.new_full((rows, inner), torch.nan)
        if by_x.numel() > 0:
            arrays = (_some(upstream), _some(slope), _some(weight), by_x)
            grid, sizes = _tiles(rows, inner), (rows, inner, columns)
            run(linear_gelu_backward, "gradient_of_x", grid, *arrays, *sizes)
        return by_x

    def gradient_of_weight(upstream: Tensor, slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        (rows, columns), inner = upstream.shape, x.shape[1]
        by_weight = upstream.new_full((columns, inner), torch.nan)
        by_bias = upstream.new_full((columns,), torch.nan)
        if columns > 0:
            arrays = (_some(upstream), _some(slope), _some(x), _some(by_weight), by_bias)
            grid, sizes = _tiles(columns, max(inner, 1)), (rows, inner, columns)
            run(linear_gelu_backward, "gradient_of_weight", grid, *arrays, *sizes)
        return by_weight, by_bias

    return Kernels(forward, gradient_of_x, gradient_of_weight)


def call_softmax_rows(
    matrix: Tensor, checks: str = "all", threads: int = ROW_THREADS, compiler: str = "nvrtc"
) -> tuple[Tensor, Launch]:
    """The softmax of each row of a matrix [rows, columns], and what was seen of the launch."""
    output = torch.full_like(matrix, torch.nan)
    device = "gpu" if matrix.is_cuda else "emulator"
    seen = launch(
        softmax_rows, len(matrix), threads, matrix, output, matrix.shape[1],
        device=device, checks=checks, compiler=compiler,
    )  # fmt: skip
    return output, seen


def call_layer_norm_rows(
    matrix: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-5, checks: str = "all",
    threads: int = ROW_THREADS, compiler: str = "nvrtc",
) -> tuple[Tensor, Launch]:  # fmt: skip
    """Each row of a matrix [rows, columns] normalised, and what was seen of the launch."""
    output = torch.full_like(matrix, torch.nan)
    device = "gpu" if matrix.is_cuda else "emulator"
    seen = launch(
        layer_norm_rows, len(matrix), threads, matrix, scale, shift, output, matrix.shape[1],
        epsilon, device=device, checks=checks, compiler=compiler,
    )  # fmt: skip
    return output, seen


_last: list[CustomOpDef] = []


def _as_operators(namespace: str, kernels: Kernels) -> Kernels:
    """The kernels as operators of their own, so that a compiler can trace a backward pass."""

    @custom_op(f"{namespace}::forward", mutates_args=())
    def forward(x: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        value, slope = kernels.forward(x, weight, bias, keep)
        return value, x.new_empty(0) if slope is None else slope

    @custom_op(f"{namespace}::gradient_of_x", mutates_args=())
    def gradient_of_x(upstream: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
        return kernels.gradient_of_x(upstream, slope, weight)

    @custom_op(f"{namespace}::gradient_of_weight", mutates_args=())
    def gradient_of_weight(upstream: Tensor, slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.gradient_of_weight(upstream, slope, x)

    @forward.register_fake
    def _(x: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        shape = (x.shape[0], weight.shape[0])
        return x.new_empty(shape), x.new_empty(shape if keep else 0)

    @gradient_of_x.register_fake
    def _(upstream: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
        return upstream.new_empty((upstream.shape[0], weight.shape[1]))

    @gradient_of_weight.register_fake
    def _(upstream: Tensor, slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        columns = upstream.shape[1]
        return upstream.new_empty((columns, x.shape[1])), upstream.new_empty(columns)

    _last.extend((forward, gradient_of_x, gradient_of_weight))
    return Kernels(forward, gradient_of_x, gradient_of_weight)


def _tiles(down: int, along: int) -> tuple[int, int]:
    """The grid for a result of so many rows and columns."""
    return -(-along // TILE), -(-down // TILE)


def _some(tensor: Tensor) -> Tensor:
    """The tensor, or one element where it has none: a kernel gets a pointer to something."""
    return tensor if tensor.numel() > 0 else tensor.new_zeros(1)
