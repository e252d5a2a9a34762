"""Convolution as an operator of its own: three matrix products on the windows of an image.

With weights w, images x and a gradient u that arrives, sum(u * convolution(x, w)) is linear in each
of the three. Its derivatives by u, x and w are the forward pass and the two gradients; so the
gradients of the gradients are these three functions again.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import exercise
from aisys.operators.arguments import require_pair, require_tensor, require_whole
from aisys.operators.sliding_windows import Pair, fold, images_at_once, unfold, window_count


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of images with weights, with the arguments and results of `F.conv2d`.

    Args:
        x: [batch, channels, height, width], floating point.
        weight: [out_channels, channels / groups, kernel_height, kernel_width].
        bias: [out_channels], or None.
        stride: The step from a window to the next.
        padding: The rows and columns of zeros added on each of the four sides.
        dilation: The step from an element of a window to the next.
        groups: Into how many groups the channels are divided; each is convolved on its own.

    Returns:
        [batch, out_channels, out_height, out_width].

    Raises:
        TypeError: A tensor is none, or a number is none.
        RuntimeError: Shapes, dtypes, devices or numbers do not fit.
    """
    strides, steps = require_pair("stride", stride, 1), require_pair("dilation", dilation, 1)
    paddings, groups = require_pair("padding", padding, 0), require_whole("groups", groups, 1)
    x = require_tensor("x", x, ("batch", "channels", "height", "width"))
    channels = x.shape[1]
    if channels % groups:
        raise RuntimeError(f"groups: expected a divisor of the {channels} channels, got {groups}.")
    axes = ("out_channels", channels // groups, "kernel_height", "kernel_width")
    weight = require_tensor("weight", weight, axes, like=("x", x))
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"groups: expected a divisor of the {weight.shape[0]} out_channels, got {groups}."
        )
    if bias is not None:
        bias = require_tensor("bias", bias, (weight.shape[0],), like=("x", x))
    for name, axis in (("height", 0), ("width", 1)):
        size, kernel = x.shape[2 + axis] + 2 * paddings[axis], weight.shape[2 + axis]
        if kernel < 1 or window_count(size, kernel, strides[axis], steps[axis]) < 1:
            reach = steps[axis] * (kernel - 1) + 1
            raise RuntimeError(
                f"weight: expected a kernel of 1 to {size} pixels (the {name} of x, padded), "
                f"got one of {reach}, dilation included."
            )
    return Convolution.apply(x, weight, bias, strides, paddings, steps, groups)


@exercise("2.4", points=1.5)
def convolve(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """The forward pass: unfold, then a matrix product for each image and group.

    The first channels / groups channels are the first group; its weights are the first
    out_channels / groups. All groups are multiplied at once (`torch.matmul` takes any number of
    axes in front of the two of a matrix), and no loop is needed.

    Args:
        x: [batch, channels, height, width]; `F.pad(x, (left, right, top, bottom))` adds zeros.
        weight: [out_channels, channels / groups, kernel_height, kernel_width].
        stride: In rows and columns, as the next two.
        padding: Added on both sides of each axis.
        dilation: As in unfold.
        groups: Divides channels and out_channels.

    Returns:
        [batch, out_channels, out_height, out_width].
    """
    batch = len(x)
    out_channels, _, kernel_height, kernel_width = weight.shape
    # Without padding F.pad would still copy the image.
    padded = F.pad(x, (*padding[1:] * 2, *padding[:1] * 2)) if any(padding) else x
    windows = unfold(padded, (kernel_height, kernel_width), stride, dilation)
    out_height, out_width = windows.shape[-2:]
    elements = weight[0].numel()
    matrices = weight.reshape(groups, out_channels // groups, elements)
    # In this order of axes neighbours in memory stay neighbours: the one copy moves whole rows.
    products = [
        matrices @ part.reshape(len(part), groups, elements, out_height * out_width)
        for part in windows.split(images_at_once(windows.shape))
    ]
    return torch.cat(products).reshape(batch, out_channels, out_height, out_width)


@exercise("2.4", points=1.5)
def input_gradient(
    upstream: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """The gradient of the images: a matrix product gives that of the windows, fold adds them up.

    Args:
        upstream: The gradient that arrives, [batch, out_channels, out_height, out_width]. It may
            have any strides.
        weight: [out_channels, channels / groups, kernel_height, kernel_width].
        size: Height and width of the images, without padding.
        stride: As in convolve.
        padding: As in convolve; what belongs to the padding is dropped.
        dilation: As in convolve.
        groups: As in convolve.

    Returns:
        [batch, channels, height, width].
    """
    batch, out_channels, out_height, out_width = upstream.shape
    _, group_channels, *kernel_size = weight.shape
    (height, width), (above, left) = size, padding
    matrices = weight.reshape(groups, out_channels // groups, weight[0].numel())
    arriving = upstream.reshape(batch, groups, out_channels // groups, out_height * out_width)
    shape = (batch, groups * group_channels, *kernel_size, out_height, out_width)
    padded = (height + 2 * above, width + 2 * left)
    images = [
        fold((matrices.mT @ part).reshape(len(part), *shape[1:]), padded, stride, dilation)
        for part in arriving.split(images_at_once(shape))
    ]
    image = torch.cat(images)
    return image[:, :, above : above + height, left : left + width]


@exercise("2.4", points=1.5)
def weight_gradient(
    x: Tensor,
    upstream: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """The gradient of the weights: what arrives, times the windows, summed over the batch.

    Args:
        x: The images, [batch, channels, height, width].
        upstream: The gradient that arrives, [batch, out_channels, out_height, out_width]. It may
            have any strides.
        kernel_size: Rows and columns of the kernel.
        stride: As in convolve.
        padding: As in convolve.
        dilation: As in convolve.
        groups: As in convolve.

    Returns:
        [out_channels, channels / groups, kernel_height, kernel_width].
    """
    batch, out_channels, out_height, out_width = upstream.shape
    group_channels = x.shape[1] // groups
    places = out_height * out_width
    padded = F.pad(x, (*padding[1:] * 2, *padding[:1] * 2)) if any(padding) else x
    elements = group_channels * kernel_size[0] * kernel_size[1]
    windows = unfold(padded, kernel_size, stride, dilation)
    arriving = upstream.reshape(batch, groups, out_channels // groups, places)
    some = images_at_once(windows.shape)
    products = [
        (some_arriving @ part.reshape(len(part), groups, elements, places).mT).sum(0)
        for some_arriving, part in zip(arriving.split(some), windows.split(some), strict=True)
    ]
    return torch.stack(products).sum(0).reshape(out_channels, group_channels, *kernel_size)


@exercise("2.4", points=2)
class Convolution(torch.autograd.Function):
    """Convolution with a bias, as an operator that can be differentiated any number of times.

    The gradient of a gradient is taken by running `backward` with autograd switched on. It is
    right if backward works from tensors that autograd knows: from what arrives, and from inputs
    that went through `ctx.save_for_backward`. A tensor computed inside forward, such as the
    matrix of windows, is not one of them: autograd was off when it was made. It would be taken
    for a constant, and the second derivative would lack a term without any error.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Convolve, add the bias to every place of its channel, keep what backward needs.

        As in 2.1, an input is kept only where `ctx.needs_input_grad` says that its use is needed;
        what is no tensor can be an attribute of ctx.

        Args:
            ctx: The context, as in 2.1.
            x: [batch, channels, height, width].
            weight: [out_channels, channels / groups, kernel_height, kernel_width].
            bias: [out_channels], or None.
            stride: In rows and columns, as the next two.
            padding: As in convolve.
            dilation: As in convolve.
            groups: As in convolve.

        Returns:
            [batch, out_channels, out_height, out_width].
        """
        needs_x, needs_weight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        ctx.size, ctx.kernel_size = tuple(x.shape[2:]), tuple(weight.shape[2:])
        ctx.settings = stride, padding, dilation, groups
        result = convolve(x, weight, stride, padding, dilation, groups)
        if bias is not None:
            result += bias[:, None, None]
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The three gradients, each only if it is needed.

        Args:
            ctx: The context, as in 2.1.
            upstream: The gradient that arrives, [batch, out_channels, out_height, out_width].

        Returns:
            Seven items, one for each input of forward after ctx: gradients or None.
        """
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        by_x = by_weight = by_bias = None
        if needs_x:
            by_x = input_gradient(upstream, weight, ctx.size, *ctx.settings)
        if needs_weight:
            by_weight = weight_gradient(x, upstream, ctx.kernel_size, *ctx.settings)
        if needs_bias:
            by_bias = upstream.sum((0, 2, 3))
        return by_x, by_weight, by_bias, None, None, None, None
