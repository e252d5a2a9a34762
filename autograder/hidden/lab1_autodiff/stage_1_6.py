"""Stage 1.6: hidden cases, mistakes and alternatives of the gradients written by hand."""

import numpy as np

from aisys.autodiff.checks.handwritten import logits_case, window_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab1_autodiff.graph import seed


def windows(rng: np.random.Generator) -> list[Case]:
    """Windows of random sizes, among them strides above 1, paddings above 0, float32."""
    ways = [(1, 0, "float64"), (1, 1, "float64"), (2, 0, "float32"), (2, 1, "float64")]
    cases = []
    for number, (stride, padding, dtype) in enumerate([*ways, (3, 2, "float64")], 1):
        cases.append(
            window_case(
                f"hidden {number}: stride {stride}, padding {padding}, {dtype}",
                seed(rng),
                batch=int(rng.integers(2, 4)),
                channels=int(rng.integers(2, 4)),
                image=rng.permutation([6, 7, 8])[:2].tolist(),
                kernel=rng.permutation([2, 3, 4])[:2].tolist(),
                stride=stride,
                padding=padding,
                dtype=dtype,
            )
        )
    return cases


def convolutions(rng: np.random.Generator) -> list[Case]:
    """Convolutions of different sizes, and one where every axis has the same."""
    a, b, c = (int(size) for size in rng.permutation([2, 3, 4])[:3])
    ways = [
        ([a, b, c], [b, c, 2, 3]),
        ([1, a, b], [c, 1, 3, 3]),
        ([2, 2, 2], [2, 2, 2, 2]),
        ([3, c, a], [3, 2, 1, 2]),
    ]
    return [
        Case(f"hidden {number}: weights {weight}", {"places": places, "weight": weight}, seed(rng))
        for number, (places, weight) in enumerate(ways, 1)
    ]


def poolings(rng: np.random.Generator) -> list[Case]:
    """Poolings with and without equal pixels, with rows and columns that fill no window."""
    n, c = (int(size) for size in rng.permutation([1, 2, 3])[:2])
    ways = [
        ([n, c, 6, 4], 2, "different"),
        ([n, c, 7, 5], 2, "0 or 1"),
        ([n, c, 6, 9], 3, "0 or 1"),
        ([n, c, 8, 7], 3, "different"),
        ([n, c, 4, 6], 2, "equal"),
    ]
    return [
        Case(
            f"hidden {number}: images {shape}, windows of {size}, pixels {values}",
            {"shape": shape, "size": size, "values": values},
            seed(rng),
        )
        for number, (shape, size, values) in enumerate(ways, 1)
    ]


def losses(rng: np.random.Generator) -> list[Case]:
    """Logits of every size, a batch as large as the number of classes, float32."""
    a, b, c = (int(size) for size in rng.permutation([2, 3, 4, 5])[:3])
    return [
        logits_case(f"hidden 1: {a} rows, {b} classes", seed(rng), a, b),
        logits_case(f"hidden 2: {c} rows, {c} classes", seed(rng), c, c, size=3.0),
        logits_case("hidden 3: logits of about 1,000", seed(rng), b, a + 2, size=1e3),
        logits_case("hidden 4: logits of about 10,000", seed(rng), c, b, size=1e4),
        logits_case("hidden 5: float32", seed(rng), b, c, size=5.0, dtype="float32"),
    ]


CASES = {
    "pixels_summed": windows,
    "convolution_passes_on": convolutions,
    "routed": poolings,
    "cross_entropies": losses,
    "cross_entropy_passes_on": losses,
}

MISTAKES = [
    Mistake(
        "1.6 col2im",
        "the last window kept instead of the sum",
        hint="A pixel lies in several windows. Each of its copies has got a gradient; "
        "the pixel gets their sum.",
        replace={
            "padded[:, :, rows, columns] += elements": "padded[:, :, rows, columns] = elements"
        },
    ),
    Mistake(
        "1.6 col2im",
        "the stride left out of the places",
        hint="Neighbouring windows begin `stride` pixels apart, so element (u, v) of all windows "
        "is every stride-th pixel.",
        replace={
            "slice(u, u + stride * out_height, stride)": "slice(u, u + out_height)",
            "slice(v, v + stride * out_width, stride)": "slice(v, v + out_width)",
        },
    ),
    Mistake(
        "1.6 col2im",
        "elements of a row in the wrong order",
        hint="The elements of a row are ordered by (channel, kernel row, kernel column): "
        "the kernel column changes fastest.",
        replace={
            "batch, out_height, out_width, channels, kernel_height, kernel_width\n": (
                "batch, out_height, out_width, kernel_height, kernel_width, channels\n"
            ),
            ".transpose(4, 5, 0, 3, 1, 2)": ".transpose(3, 4, 0, 5, 1, 2)",
        },
    ),
    Mistake(
        "1.6 col2im",
        "padding cut off on one side only",
        hint="im2col put `padding` rows above and below and as many columns left and right. "
        "Where in the padded image does pixel (0, 0) lie?",
        replace={
            "padded[:, :, padding : padding + height, padding : padding + width]": (
                "padded[:, :, :height, :width]"
            )
        },
    ),
    Mistake(
        "1.6 col2im",
        "always float64",
        hint="The result has the dtype of windows; `np.zeros` makes float64 if it is not told.",
        replace={"width + 2 * padding), windows.dtype": "width + 2 * padding)"},
    ),
    Mistake(
        "1.6 conv2d_gradient",
        "channels of what arrives not moved to the front",
        hint="reshape does not move axes. In [batch, out_channels, out_height, out_width] the "
        "channels come second, and the matrix has them first.",
        replace={"reshape(transpose(upstream, (1, 0, 2, 3)), (": "reshape(upstream, ("},
    ),
    Mistake(
        "1.6 conv2d_gradient",
        "gradients of the windows for the transposed matrix",
        hint="The gradient of the windows has the shape of the windows: a row for each place, "
        "not for each element.",
        replace={
            "transpose(transpose(matrix) @ arriving)": "transpose(matrix) @ arriving",
        },
    ),
    Mistake(
        "1.6 conv2d_gradient",
        "bias gets what arrives from one image",
        hint="The bias is added at every place of every image, so its gradient is the sum over "
        "all of them.",
        replace={"reduce_sum(arriving, 1)": "reduce_sum(upstream, (2, 3))"},
    ),
    Mistake(
        "1.6 conv2d_gradient",
        "weights left as a matrix",
        hint="Each gradient has the shape of its input: the weights have four axes.",
        replace={"reshape(arriving @ windows, weight.shape)": "arriving @ windows"},
    ),
    Mistake(
        "1.6 route_to_max",
        "all equally large pixels get it",
        hint="Where several pixels are equally large, only the first one, row by row, gets what "
        "arrives. The others get 0.",
        replace={"(x[place] == largest) & waiting": "x[place] == largest"},
    ),
    Mistake(
        "1.6 route_to_max",
        "the last of the equally large pixels gets it",
        hint="Where several pixels are equally large, the first one gets it: upper rows before "
        "lower ones, and in a row from left to right.",
        replace={
            "for u in range(size):": "for u in reversed(range(size)):",
            "for v in range(size):": "for v in reversed(range(size)):",
        },
    ),
    Mistake(
        "1.6 route_to_max",
        "shared between the pixels of a window",
        hint="That is the gradient of the mean. A change of a pixel that is not the largest "
        "does not change the maximum.",
        replace={
            "gradient[place] = upstream * found": "gradient[place] = upstream / size**2",
        },
    ),
    Mistake(
        "1.6 route_to_max",
        "places in the window counted column by column",
        hint="Row by row: of two equally large pixels, the one in the upper row comes first.",
        replace={
            "slice(u, height, size), slice(v, width, size)": (
                "slice(v, height, size), slice(u, width, size)"
            ),
        },
    ),
    Mistake(
        "1.6 compute_softmax_cross_entropy",
        "nothing taken off first",
        hint="exp(1000) is infinite. The loss is the same for logits from which the largest of "
        "the row is taken off.",
        replace={"logits - logits.max(axis=1, keepdims=True)": "logits"},
    ),
    Mistake(
        "1.6 compute_softmax_cross_entropy",
        "the sum over the batch",
        hint="The loss is the mean over the rows.",
        replace={"np.mean(np.log": "np.sum(np.log"},
    ),
    Mistake(
        "1.6 compute_softmax_cross_entropy",
        "labels used as rows",
        hint="Row i has the label labels[i]: take from each row the logit in its label's column.",
        replace={
            "shifted[np.arange(len(labels)), labels]": (
                "shifted[labels % len(labels), np.arange(len(labels)) % shifted.shape[1]]"
            )
        },
    ),
    Mistake(
        "1.6 softmax_cross_entropy_gradient",
        "not divided by the batch size",
        hint="The loss is a mean over the batch, so each row counts with one over the batch size.",
        replace={"(upstream * (1 / batch))": "upstream"},
    ),
    Mistake(
        "1.6 softmax_cross_entropy_gradient",
        "the other sign",
        hint="A larger logit at the label makes the loss smaller. "
        "Which sign has softmax minus one-hot there?",
        replace={
            "softmax(logits) - one_hot_node(labels, classes)": (
                "one_hot_node(labels, classes) - softmax(logits)"
            )
        },
    ),
    Mistake(
        "1.6 softmax_cross_entropy_gradient",
        "what arrives left out",
        hint="The derivative of the operation is only half of it: multiply it by what arrives.",
        replace={"(upstream * (1 / batch))": "(1 / batch)"},
    ),
    Mistake(
        "1.6 softmax_cross_entropy_gradient",
        "nothing returned for the labels",
        hint="There is an entry for every input, in their order; None says that nothing flows.",
        replace={"(upstream * (1 / batch)), None": "(upstream * (1 / batch)),"},
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.6 col2im",
        """
def col2im(windows, shape, kernel_height, kernel_width, stride=1, padding=0):
    n, c, height, width = shape
    numbers = np.arange(n * c * height * width).reshape(shape) + 1
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    views = np.lib.stride_tricks.sliding_window_view(
        np.pad(numbers, border), (kernel_height, kernel_width), axis=(2, 3)
    )[:, :, ::stride, ::stride]
    owner = views.transpose(0, 2, 3, 1, 4, 5).reshape(windows.shape)
    sums = np.zeros(n * c * height * width + 1, windows.dtype)
    np.add.at(sums, owner, windows)
    return sums[1:].reshape(shape)
""",
        "each element knows its pixel",
    ),
    Alternative(
        "1.6 conv2d_gradient",
        """
def conv2d_gradient(node, upstream):
    windows, weight, bias = node.inputs
    count = bias.shape[0]
    places = reshape(transpose(upstream, (0, 2, 3, 1)), (-1, count))
    by_windows = places @ reshape(weight, (count, -1))
    by_matrix = transpose(transpose(windows) @ places)
    return [by_windows, reshape(by_matrix, weight.shape), reduce_sum(upstream, (0, 2, 3))]
""",
        "a row for each place",
    ),
    Alternative(
        "1.6 route_to_max",
        """
def route_to_max(upstream, x, largest, size):
    batch, channels, rows, columns = largest.shape
    inner = x[:, :, : rows * size, : columns * size]
    split = inner.reshape(batch, channels, rows, size, columns, size).transpose(0, 1, 2, 4, 3, 5)
    winner = split.reshape(batch, channels, rows, columns, size * size).argmax(axis=-1)
    shares = np.zeros((*winner.shape, size * size), upstream.dtype)
    np.put_along_axis(shares, winner[..., None], upstream[..., None], axis=-1)
    shares = shares.reshape(batch, channels, rows, columns, size, size)
    result = np.zeros(x.shape, upstream.dtype)
    result[:, :, : rows * size, : columns * size] = shares.transpose(0, 1, 2, 4, 3, 5).reshape(
        inner.shape
    )
    return result
""",
        "argmax",
    ),
    Alternative(
        "1.6 compute_softmax_cross_entropy",
        """
def compute_softmax_cross_entropy(logits, labels):
    largest = np.max(logits, axis=1)
    total = largest + np.log(np.sum(np.exp(logits - largest[:, None]), axis=1))
    chosen = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return (total - chosen).sum() / logits.dtype.type(len(labels))
""",
        "the maximum added back",
    ),
    Alternative(
        "1.6 softmax_cross_entropy_gradient",
        """
def softmax_cross_entropy_gradient(node, upstream):
    logits, labels = node.inputs
    difference = softmax(logits, axis=1) - one_hot_node(labels, logits.shape[1])
    return [upstream * difference / logits.shape[0], None]
""",
    ),
]
