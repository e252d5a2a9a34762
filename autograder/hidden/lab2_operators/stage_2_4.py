"""Stage 2.4: hidden cases, mistakes and alternatives of the convolution."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.convolution import convolution_case, needs_case
from autograder.catalogue import Alternative, Mistake


def seed(rng: np.random.Generator) -> int:
    """A seed for a case."""
    return int(rng.integers(2**31))


def sizes(rng: np.random.Generator) -> dict[str, object]:
    """A batch, an image and a kernel of random, mostly unequal sizes.

    A kernel of 3 fits into the image with a dilation of 3, too: it then covers 7 pixels.
    """
    return {
        "batch": int(rng.integers(2, 4)),
        "image": rng.permutation([7, 8, 9])[:2].tolist(),
        "kernel": rng.permutation([1, 2, 3])[:2].tolist(),
    }


def convolutions(rng: np.random.Generator) -> list[Case]:
    """Convolutions with each setting alone, and with all of them together."""
    a, b = (int(number) for number in rng.permutation([2, 3]))
    ways: list[dict[str, object]] = [
        {"channels": a, "out_channels": b},
        {"stride": [a, b]},
        {"padding": [b - 1, a - 1], "channels": 1},
        {"dilation": [a, b], "out_channels": 3},
        {"groups": a, "channels": 2 * a, "out_channels": 3 * a},
        {"groups": b, "channels": b, "out_channels": b, "stride": [1, 2], "padding": [1, 0]},
        {
            "groups": 2,
            "channels": 4,
            "out_channels": 2,
            "stride": [b, a],
            "padding": [a, b],
            "dilation": [2, 1],
        },
    ]
    return [
        convolution_case(
            f"hidden {number}: {', '.join(f'{name} {value}' for name, value in way.items())}",
            seed(rng),
            **sizes(rng),
            **way,
        )
        for number, way in enumerate(ways, 1)
    ]


def windows(rng: np.random.Generator) -> list[Case]:
    """Windows with strides and dilations, also of images that are not contiguous."""
    a, b = (int(number) for number in rng.permutation([2, 3]))
    ways: list[dict[str, object]] = [
        {},
        {"stride": [b, a]},
        {"dilation": [a, b], "kernel": [2, 3]},
        {"stride": [a, 1], "dilation": [1, b], "kernel": [3, 2], "layout": "strided"},
        {"stride": [1, b], "layout": "transposed"},
    ]
    return [
        convolution_case(f"hidden {number}", seed(rng), **{**sizes(rng), **way})
        for number, way in enumerate(ways, 1)
    ]


def with_upstream(rng: np.random.Generator) -> list[Case]:
    """The convolutions, and two where what arrives is not contiguous."""
    return [
        *convolutions(rng),
        convolution_case("hidden 8: a sum's gradient", seed(rng), **sizes(rng), layout="expanded"),
        convolution_case(
            "hidden 9: transposed", seed(rng), **sizes(rng), groups=2, layout="transposed"
        ),
    ]


def needs(rng: np.random.Generator) -> list[Case]:
    """Every choice of what needs a gradient but none."""
    ways = [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)]
    cases = []
    for number, way in enumerate(ways, 1):
        names = [name for name, need in zip(("x", "weight", "bias"), way, strict=True) if need]
        name = f"hidden {number}: needed for {' and '.join(names)}"
        cases.append(needs_case(name, seed(rng), *map(bool, way), **sizes(rng)))
    return cases


def second_derivatives(rng: np.random.Generator) -> list[Case]:
    """Small convolutions with one setting each."""
    small = {"batch": 2, "image": [5, 4], "kernel": [2, 3]}
    ways: list[dict[str, object]] = [
        {"channels": 3},
        {"stride": [2, 1], "padding": [1, 2]},
        {"dilation": [2, 1], "padding": [0, 1]},
        {"groups": 2, "channels": 4, "out_channels": 4},
    ]
    return [
        convolution_case(f"hidden {number}: second derivatives", seed(rng), **{**small, **way})
        for number, way in enumerate(ways, 1)
    ]


CASES = {
    "unfold_values": windows,
    "fold_values": lambda rng: windows(rng)[:3],
    "convolve_values": convolutions,
    "input_gradients": with_upstream,
    "weight_gradients": with_upstream,
    "convolution_values": convolutions,
    "convolution_needs": needs,
    "convolution_second_derivatives": second_derivatives,
}

MISTAKES = [
    Mistake(
        "2.4 unfold",
        "stride and dilation exchanged",
        hint="The stride lies between windows, the dilation between the elements of one window. "
        "Which two axes of the result count windows?",
        replace={
            "dilation[0] * by_row,\n            dilation[1] * by_column,\n"
            "            stride[0] * by_row,\n            stride[1] * by_column,": (
                "stride[0] * by_row,\n            stride[1] * by_column,\n"
                "            dilation[0] * by_row,\n            dilation[1] * by_column,"
            )
        },
    ),
    Mistake(
        "2.4 unfold",
        "the image taken to be contiguous",
        hint="How many elements lie between two rows of x? x.stride() says it for any layout; "
        "width is right for a contiguous image only.",
        replace={
            "by_image, by_channel, by_row, by_column = x.stride()": (
                "by_image, by_channel, by_row, by_column = channels * height * width, "
                "height * width, width, 1"
            )
        },
    ),
    Mistake(
        "2.4 unfold",
        "dilation left out of the strides",
        hint="Neighbouring elements of a window are `dilation` pixels apart.",
        replace={
            "dilation[0] * by_row,\n            dilation[1] * by_column,": (
                "by_row,\n            by_column,"
            )
        },
    ),
    Mistake(
        "2.4 unfold",
        "windows copied",
        hint="The windows have the right values, but in memory of their own. "
        "as_strided makes a view; what comes after it copies.",
        source="""
def unfold(x, kernel_size, stride, dilation):
    rows = x.unfold(2, dilation[0] * (kernel_size[0] - 1) + 1, stride[0])
    both = rows.unfold(3, dilation[1] * (kernel_size[1] - 1) + 1, stride[1])
    windows = both[..., :: dilation[0], :: dilation[1]]
    return windows.permute(0, 1, 4, 5, 2, 3).contiguous()
""",
    ),
    Mistake(
        "2.4 fold",
        "the last window kept instead of the sum",
        hint="A pixel stands in several windows; it gets the sum of what stands at its copies.",
        replace={"columns] += windows": "columns] = windows"},
    ),
    Mistake(
        "2.4 fold",
        "dilation left out",
        hint="Element (u, v) of window (0, 0) is not pixel (u, v) if the window is dilated.",
        replace={"u * dilation[0], v * dilation[1]": "u, v"},
    ),
    Mistake(
        "2.4 fold",
        "cut off from autograd",
        hint="The sums are right, but nothing flows back through them. detach, .data and "
        "no_grad take a tensor out of the graph, and the second derivative is lost.",
        replace={"+= windows[:, :, u, v]": "+= windows.detach()[:, :, u, v]"},
    ),
    Mistake(
        "2.4 convolve",
        "rows padded as columns",
        hint="F.pad starts with the last axis: first left and right, then above and below. "
        "padding[0] belongs to rows.",
        replace={"(*padding[1:] * 2, *padding[:1] * 2)": "(*padding[:1] * 2, *padding[1:] * 2)"},
    ),
    Mistake(
        "2.4 convolve",
        "every group-th channel",
        hint="The first group is made of the first channels / groups channels, which lie next to "
        "each other, not of every groups-th one.",
        replace={
            "part.reshape(len(part), groups, elements, out_height * out_width)": (
                "part.unflatten(1, (-1, groups)).transpose(1, 2)"
                ".reshape(len(part), groups, elements, out_height * out_width)"
            )
        },
    ),
    Mistake(
        "2.4 convolve",
        "dilation not handed on",
        hint="unfold has to know about the dilation, too.",
        replace={"kernel_width), stride, dilation)": "kernel_width), stride, (1, 1))"},
    ),
    Mistake(
        "2.4 input_gradient",
        "padding not cut off",
        hint="The gradient has the shape of the images without padding. "
        "Where in the padded image does pixel (0, 0) lie?",
        replace={"image[:, :, above : above + height, left : left + width]": "image"},
    ),
    Mistake(
        "2.4 input_gradient",
        "weights reshaped instead of transposed",
        hint="The product needs the transposed matrix of each group. "
        "A reshape to its shape mixes the elements.",
        replace={"matrices.mT @ part": "matrices.reshape(matrices.mT.shape) @ part"},
    ),
    Mistake(
        "2.4 input_gradient",
        "stride left out when adding up",
        hint="fold has to put the windows as far apart as unfold took them.",
        replace={"padded, stride, dilation)": "padded, (1, 1), dilation)"},
    ),
    Mistake(
        "2.4 weight_gradient",
        "mean over the batch",
        hint="A weight is used for every image, so its gradient is the sum over the images. "
        "A mean belongs to the loss.",
        replace={".mT).sum(0)": ".mT).mean(0)"},
    ),
    Mistake(
        "2.4 weight_gradient",
        "padding forgotten",
        hint="In the forward pass the windows at the edge reached into the padding: "
        "the gradient needs the same windows.",
        replace={"if any(padding) else x": "if False else x[:, :, :, :]"},
    ),
    Mistake(
        "2.4 weight_gradient",
        "groups in the wrong order",
        hint="The first out_channels / groups output channels belong to the first group. "
        "Which axis of what arrives comes first, the group or the channel in it?",
        replace={
            "arriving = upstream.reshape(batch, groups, out_channels // groups, places)": (
                "arriving = upstream.reshape(batch, out_channels // groups, groups, places)"
                ".transpose(1, 2)"
            )
        },
    ),
    Mistake(
        "2.4 Convolution",
        "a copy made in forward saved",
        hint="The first derivatives are right and the second ones lack a term: what backward "
        "uses was computed inside forward, where autograd was off. Save x itself.",
        replace={
            "ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)": (
                "ctx.save_for_backward(x.clone() if needs_weight else None, "
                "weight if needs_x else None)"
            ),
        },
    ),
    Mistake(
        "2.4 Convolution",
        "differentiable once",
        hint="once_differentiable, detach and no_grad all forbid a second derivative.",
        replace={
            "    def backward(ctx: Any, upstream: Tensor)": (
                "    @torch.autograd.function.once_differentiable\n"
                "    def backward(ctx: Any, upstream: Tensor)"
            )
        },
    ),
    Mistake(
        "2.4 Convolution",
        "bias summed over places only",
        hint="The bias of a channel is added at every place of every image. "
        "Its gradient has one element for each output channel.",
        replace={"upstream.sum((0, 2, 3))": "upstream.sum((2, 3))"},
    ),
    Mistake(
        "2.4 Convolution",
        "bias along the width",
        hint="Broadcasting starts at the last axis, which is the width. "
        "The bias belongs to the channel, so it needs two more axes of size 1.",
        replace={"result += bias[:, None, None]": "result += bias"},
    ),
    Mistake(
        "2.4 Convolution",
        "everything kept",
        hint="x is used for the gradient of the weights only, and weight for that of x only. "
        "ctx.needs_input_grad says which of them will be asked for.",
        replace={
            "ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)": (
                "ctx.save_for_backward(x, weight)"
            )
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.4 unfold",
        """
def unfold(x, kernel_size, stride, dilation):
    rows = x.unfold(2, dilation[0] * (kernel_size[0] - 1) + 1, stride[0])
    both = rows.unfold(3, dilation[1] * (kernel_size[1] - 1) + 1, stride[1])
    return both[..., :: dilation[0], :: dilation[1]].permute(0, 1, 4, 5, 2, 3)
""",
        "Tensor.unfold, of which every dilation-th element is taken",
    ),
    Alternative(
        "2.4 fold",
        """
def fold(windows, size, stride, dilation):
    batch, channels, kernel_height, kernel_width, *_ = windows.shape
    numbers = torch.arange(size[0] * size[1]).reshape(1, 1, *size)
    owners = unfold(numbers, (kernel_height, kernel_width), stride, dilation).flatten()
    flat = windows.reshape(batch, channels, -1)
    image = torch.zeros(batch, channels, size[0] * size[1], dtype=windows.dtype)
    return image.index_add(2, owners, flat).reshape(batch, channels, *size)
""".replace("def fold", "import torch\n\n\ndef fold", 1),
        "each element knows its pixel",
    ),
    Alternative(
        "2.4 convolve",
        """
def convolve(x, weight, stride, padding, dilation, groups):
    (above, left), kernel_size = padding, tuple(weight.shape[2:])
    windows = unfold(F.pad(x, (left, left, above, above)), kernel_size, stride, dilation)
    results = [
        torch.einsum("ncuvij,ocuv->noij", part, weights)
        for part, weights in zip(windows.chunk(groups, 1), weight.chunk(groups, 0))
    ]
    return torch.cat(results, 1)
""",
        "einsum for each group",
    ),
    Alternative(
        "2.4 input_gradient",
        """
def input_gradient(upstream, weight, size, stride, padding, dilation, groups):
    padded = [size[0] + 2 * padding[0], size[1] + 2 * padding[1]]
    parts = [
        torch.einsum("noij,ocuv->ncuvij", arriving, weights)
        for arriving, weights in zip(upstream.chunk(groups, 1), weight.chunk(groups, 0))
    ]
    image = fold(torch.cat(parts, 1), tuple(padded), stride, dilation)
    image = image[:, :, padding[0] : padded[0] - padding[0]]
    return image[..., padding[1] : padded[1] - padding[1]]
""",
        "einsum for each group",
    ),
    Alternative(
        "2.4 weight_gradient",
        """
def weight_gradient(x, upstream, kernel_size, stride, padding, dilation, groups):
    (above, left) = padding
    windows = unfold(F.pad(x, (left, left, above, above)), kernel_size, stride, dilation)
    parts = [
        torch.einsum("noij,ncuvij->ocuv", arriving, part)
        for arriving, part in zip(upstream.chunk(groups, 1), windows.chunk(groups, 1))
    ]
    return torch.cat(parts)
""",
        "einsum for each group",
    ),
    Alternative(
        "2.4 Convolution",
        """
class Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, dilation, groups):
        kept = [tensor for tensor, need in ((x, ctx.needs_input_grad[1]),
                                            (weight, ctx.needs_input_grad[0])) if need]
        ctx.save_for_backward(*kept)
        ctx.shapes = x.shape[2:], weight.shape[2:]
        ctx.how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        result = convolve(x, weight, **ctx.how)
        return result if bias is None else result + bias.reshape(1, -1, 1, 1)

    @staticmethod
    def backward(ctx, upstream):
        kept = list(ctx.saved_tensors)
        gradients = [None] * 7
        if ctx.needs_input_grad[1]:
            gradients[1] = weight_gradient(kept.pop(0), upstream, tuple(ctx.shapes[1]), **ctx.how)
        if ctx.needs_input_grad[0]:
            gradients[0] = input_gradient(upstream, kept.pop(), tuple(ctx.shapes[0]), **ctx.how)
        if ctx.needs_input_grad[2]:
            gradients[2] = upstream.flatten(2).sum(-1).sum(0)
        return tuple(gradients)
""",
        "only what is needed in the list of what is kept",
    ),
]
