"""Three functions whose formula is right on paper and wrong in floating point.

Each is computed in a form that cannot overflow and loses no digits, and has a gradient written by
hand: the automatic gradient of the good form is still wrong, at corners that only the form has.
"""

from typing import Any

import torch
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_tensor, require_whole


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), element by element, for x of any size.

    Args:
        x: Of any shape, floating point.

    Raises:
        TypeError: x is no tensor.
        RuntimeError: It is not of floating point.
    """
    return Softplus.apply(require_tensor("x", x))


def log_sum_exp(x: Tensor, dim: int = -1) -> Tensor:
    """log(sum(exp(x))) along an axis, for x of any size.

    Args:
        x: Of any shape with at least one axis, floating point.
        dim: The axis that is summed over; its size is at least 1.

    Returns:
        A tensor of x's shape without this axis.

    Raises:
        TypeError: x is no tensor, or dim is no whole number.
        IndexError: x has no such axis.
        RuntimeError: x is not of floating point, or there is nothing to sum.
    """
    require_tensor("x", x)
    axis = require_whole("dim", dim, -(10**9))
    if not -x.dim() <= axis < x.dim():
        raise IndexError(f"dim: expected an axis of a tensor with {x.dim()} axes, got {dim}.")
    if x.shape[axis] == 0:
        raise RuntimeError(f"x: expected at least one element along axis {dim}, got none.")
    return LogSumExp.apply(x, axis)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of sigmoid(logits) and targets, element by element.

    Args:
        logits: Of any shape, floating point.
        targets: Between 0 and 1; of the shape, dtype and device of logits.

    Raises:
        TypeError: One of them is no tensor.
        RuntimeError: Shapes, dtypes or devices differ, or are no floating point.
    """
    require_tensor("logits", logits)
    require_tensor("targets", targets, tuple(logits.shape), like=("logits", logits))
    return SigmoidCrossEntropy.apply(logits, targets)


@exercise("2.2", points=1.5)
class Softplus(torch.autograd.Function):
    """softplus(x) = log(1 + exp(x)), a ReLU without its corner.

    Both halves are right to all digits for x of any size, also infinite: softplus(-40) is
    4.2e-18 and not 0, softplus(1000) is 1000 and not infinite. That holds for small values too:
    what counts is the error relative to the value. Use `torch.log1p` or `torch.sigmoid`, but not
    `torch.nn.functional.softplus`, which is less exact.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Compute softplus, and keep what the other half needs.

        Args:
            ctx: For `save_for_backward`.
            x: Of any shape.
        """
        ctx.save_for_backward(x)
        # exp(-|x|) is at most 1, and log1p keeps what 1 + y would round away.
        return torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs()))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        """The gradient of x.

        Args:
            ctx: `ctx.saved_tensors` is what forward kept.
            upstream: The gradient that arrives, of x's shape.
        """
        (x,) = ctx.saved_tensors
        return upstream * torch.sigmoid(x)


@exercise("2.2", points=2)
class LogSumExp(torch.autograd.Function):
    """log(sum(exp(x))) along one axis: a maximum without its corners.

    Both halves are right for x of any size. Elements of -inf, the marks of what an attention
    mask hides, count for nothing. A row of nothing but -inf has the result -inf and the gradient
    0. An element of +inf does not occur.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        """Compute the logarithm of the sum, and keep what the other half needs.

        Args:
            ctx: For `save_for_backward`, which takes tensors; a number may be kept as `ctx.dim`.
            x: Of any shape with at least one axis.
            dim: The axis that is summed over; it may be negative, and has at least one element.

        Returns:
            A tensor of x's shape without this axis.
        """
        largest = x.amax(dim, keepdim=True)
        # In a row of nothing but -inf, -inf - (-inf) would be nan.
        shift = torch.where(torch.isfinite(largest), largest, 0)
        result = shift.squeeze(dim) + torch.log(torch.exp(x - shift).sum(dim))
        # What is kept is input or output: autograd knows how those depend on x, if it is asked
        # for second derivatives. A value in between would count as a constant.
        ctx.save_for_backward(x, result)
        ctx.dim = dim
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """The gradient of x, and None for dim, which is no tensor.

        Args:
            ctx: `ctx.saved_tensors` is what forward kept.
            upstream: The gradient that arrives, of x's shape without the axis.
        """
        x, result = ctx.saved_tensors
        finite = torch.where(torch.isfinite(result), result, 0)
        return upstream.unsqueeze(ctx.dim) * torch.exp(x - finite.unsqueeze(ctx.dim)), None


@exercise("2.2", points=2.5)
class SigmoidCrossEntropy(torch.autograd.Function):
    """The loss of a yes-or-no question: -t log(s) - (1 - t) log(1 - s), with s = sigmoid(z).

    Both halves are right to all digits for logits z of any finite size, relative to the value: for
    z = 40 and t = 1 the loss is 4.2e-18 and the gradient of z is -4.2e-18; neither is 0. Nothing
    is averaged: there is one loss for each element.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses, and keep what the other half needs.

        Args:
            ctx: For `save_for_backward`.
            logits: z, of any shape.
            targets: t, of the same shape, between 0 and 1.
        """
        ctx.save_for_backward(logits, targets)
        positive, negative = torch.clamp(logits, min=0), torch.clamp(logits, max=0)
        # -log(sigmoid(z)) = -min(z, 0) + log1p(exp(-|z|)), and -log(1 - sigmoid(z)) the same of -z.
        smooth = torch.log1p(torch.exp(-logits.abs()))
        return (1 - targets) * positive - targets * negative + smooth

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradients of logits and targets; None for targets if they need none.

        Args:
            ctx: `ctx.saved_tensors` is what forward kept; targets often need no gradient.
            upstream: The gradient that arrives, of the shape of logits.
        """
        logits, targets = ctx.saved_tensors
        # sigmoid(z) - t loses all digits where the two are close. 1 - sigmoid(z) is sigmoid(-z).
        by_logits = (1 - targets) * torch.sigmoid(logits) - targets * torch.sigmoid(-logits)
        by_targets = -upstream * logits if ctx.needs_input_grad[1] else None
        return upstream * by_logits, by_targets
