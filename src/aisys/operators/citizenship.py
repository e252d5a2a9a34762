"""The operator registered with PyTorch: schema, fake implementation, gradient, vmap, autocast.

Five exercises register one thing each; `make_operator` puts them together, in a fresh namespace
each time, so that a cell can be run again.
"""

import itertools
import math
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import CustomOpDef, custom_op

from aisys.course import exercise
from aisys.operators.arguments import require_linear

_numbers = itertools.count(1)
_last: list[CustomOpDef] = []


def make_operator() -> CustomOpDef:
    """The operator `linear_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor`, fully registered.

    It lives in a namespace of its own; the one that was made before is dropped.
    """
    while _last:
        _last.pop()._lib._destroy()
    operator = define_linear_gelu(fresh_namespace())
    _last.append(operator)
    add_fake(operator)
    add_gradient(operator)
    add_batching(operator)
    add_precision(operator)
    return operator


def fresh_namespace() -> str:
    """A namespace in which nothing was registered in this process."""
    return f"lab2_{os.getpid()}_{next(_numbers)}"


@exercise("2.6", points=1.5)
def define_linear_gelu(namespace: str) -> CustomOpDef:
    """Define the operator and what it computes on the CPU, with `torch.library.custom_op`.

    The schema is taken from the annotations of the function below the decorator. The operator
    changes none of its arguments. Inside, a tensor is an ordinary one: nothing is recorded.

    Args:
        namespace: The operator's name is `NAMESPACE::linear_gelu`.

    Returns:
        The operator, with the schema `(Tensor x, Tensor weight, Tensor bias) -> Tensor`: x
        [..., in_features], weight [out_features, in_features] and bias [out_features] give
        GELU(x @ weight.T + bias), [..., out_features], exact. Arguments that do not fit are refused
        by `require_linear(x, weight, bias)`.
    """

    @custom_op(f"{namespace}::linear_gelu", mutates_args=())
    def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        require_linear(x, weight, bias)
        return F.gelu(F.linear(x, weight, bias))

    return linear_gelu


@exercise("2.6", points=1)
def add_fake(operator: CustomOpDef) -> None:
    """Register a fake implementation: shape, dtype and device of the result, without its elements.

    The compiler and the exporter trace with fake tensors. They have no memory, and their sizes may
    be symbols, so nothing may depend on a value or turn a size into a number.

    Args:
        operator: What `define_linear_gelu` returned; see its `register_fake`.
    """

    def fake(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        require_linear(x, weight, bias)
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    operator.register_fake(fake)


@exercise("2.6", points=2)
def add_gradient(operator: CustomOpDef) -> None:
    """Register the backward pass, which computes x @ weight.T + bias once more.

    Keep the three arguments, with `save_for_backward`, and nothing else. A gradient that
    `ctx.needs_input_grad` does not ask for is not computed: None.

    Args:
        operator: What `define_linear_gelu` returned; see its `register_autograd`, which takes the
            backward pass `(ctx, upstream)` and `setup_context`, `(ctx, inputs, output)`.
    """

    def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        x, weight, bias = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        before = F.linear(x, weight, bias)
        below = 0.5 * (1 + torch.erf(before / math.sqrt(2)))
        density = torch.exp(-0.5 * before * before) / math.sqrt(2 * math.pi)
        arriving = upstream * (below + before * density)
        rows = math.prod(arriving.shape[:-1])
        flat = arriving.reshape(rows, arriving.shape[-1])
        by_x = arriving @ weight if needs_x else None
        by_weight = flat.T @ x.reshape(rows, x.shape[-1]) if needs_weight else None
        by_bias = flat.sum(0) if needs_bias else None
        return by_x, by_weight, by_bias

    operator.register_autograd(backward, setup_context=keep)


@exercise("2.6", points=2)
def add_batching(operator: CustomOpDef) -> None:
    """Register a rule for `torch.vmap`: the operator on a batch, without a loop over it.

    Args:
        operator: What `define_linear_gelu` returned; see its `register_vmap`. The rule is called
            with `(info, in_dims, x, weight, bias)`: `info.batch_size`, and for each argument the
            axis that is the batch's, or None where the argument has no batch axis. It returns the
            result and the batch's axis in it. Where only x has one, the operator itself can do the
            work. Otherwise each element of the batch has its own layer: one `einsum`.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Tensor) -> tuple[Tensor, int]:
        x, weight, bias = arguments
        x_axis, weight_axis, bias_axis = in_dims
        if weight_axis is None and bias_axis is None:
            return operator(x.movedim(x_axis, 0), weight, bias), 0
        x, weight, bias = (
            tensor.expand(info.batch_size, *tensor.shape)
            if axis is None
            else tensor.movedim(axis, 0)
            for tensor, axis in zip(arguments, in_dims, strict=True)
        )
        product = torch.einsum("b...i,boi->b...o", x, weight)
        between = (1,) * (product.dim() - 2)
        return F.gelu(product + bias.reshape(len(bias), *between, bias.shape[-1])), 0

    operator.register_vmap(rule)


@exercise("2.6", points=1)
def add_precision(operator: CustomOpDef) -> None:
    """Register what autocast does: on the CPU in bfloat16, on CUDA in float16.

    Without it, the operator runs in the dtype of its arguments inside `torch.autocast`, and refuses
    a mixture of them, such as the bfloat16 result of another layer with float32 weights.

    Args:
        operator: What `define_linear_gelu` returned; see its `register_autocast`.
    """
    operator.register_autocast("cpu", torch.bfloat16)
    operator.register_autocast("cuda", torch.float16)
