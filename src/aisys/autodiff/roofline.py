"""What a layer costs: floating-point operations, bytes, and the ratio of the two.

The roofline model (Williams, Waterman, Patterson, CACM 2009) needs no more to say how fast a
layer can be: at most the peak of the arithmetic, and at most what the memory delivers times the
operations that are done with each byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aisys.course import exercise


@dataclass(frozen=True)
class Cost:
    """What a layer's forward pass costs.

    Attributes:
        flops: Floating-point operations: multiplications, additions and comparisons, each 1.
        bytes: The bytes that must be moved at least: every input, weight and bias is read once,
            every output is written once.
    """

    flops: int
    bytes: int


@exercise("1.2", points=1)
def linear_cost(batch: int, inputs: int, outputs: int, itemsize: int = 4) -> Cost:
    """The cost of a linear layer with bias, y = x @ weight.T + bias.

    x is [batch, inputs], the weights are [outputs, inputs], the bias is [outputs]. An output is a
    sum of `inputs` products and the bias: as many multiplications as additions.

    Args:
        batch: Rows of x.
        inputs: Columns of x.
        outputs: Columns of y.
        itemsize: Bytes of one number; 4 for float32.
    """
    flops = 2 * batch * inputs * outputs
    numbers = batch * inputs + outputs * inputs + outputs + batch * outputs
    return Cost(flops, numbers * itemsize)


@exercise("1.2", points=1)
def conv2d_cost(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: int = 1,
    padding: int = 0,
    itemsize: int = 4,
) -> Cost:
    """The cost of a convolution with bias.

    An output is a sum over one window, products with padded zeros included, and the bias. The
    zeros are not in memory: they are not read.

    Args:
        x_shape: [batch, channels, height, width].
        weight_shape: [out_channels, channels, kernel_height, kernel_width].
        stride: The step between two windows, in rows and in columns.
        padding: The rows and columns of zeros added on each of the four sides.
        itemsize: Bytes of one number.
    """
    batch, channels, height, width = x_shape
    out_channels, _, kernel_height, kernel_width = weight_shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    outputs = batch * out_channels * out_height * out_width
    window = channels * kernel_height * kernel_width
    images = batch * channels * height * width
    numbers = images + out_channels * window + out_channels + outputs
    return Cost(2 * outputs * window, numbers * itemsize)


@exercise("1.2", points=0.5)
def max_pool2d_cost(
    x_shape: Sequence[int], kernel: int, stride: int | None = None, itemsize: int = 4
) -> Cost:
    """The cost of max-pooling without padding.

    The largest of n numbers takes n - 1 comparisons. All of x counts as read, also a last row or
    column that no window reaches.

    Args:
        x_shape: [batch, channels, height, width].
        kernel: Rows and columns of a window.
        stride: The step between two windows; the kernel's size if left out.
        itemsize: Bytes of one number.
    """
    batch, channels, height, width = x_shape
    step = kernel if stride is None else stride
    out_height, out_width = (height - kernel) // step + 1, (width - kernel) // step + 1
    outputs = batch * channels * out_height * out_width
    numbers = batch * channels * height * width + outputs
    return Cost(outputs * (kernel * kernel - 1), numbers * itemsize)


@exercise("1.2", points=0.5)
def arithmetic_intensity(costs: Sequence[Cost]) -> float:
    """How many floating-point operations are done for each byte moved, in FLOP per byte.

    Args:
        costs: One layer, or several that are computed one after the other: then the operations of
            all of them for the bytes of all of them.
    """
    return sum(each.flops for each in costs) / sum(each.bytes for each in costs)


def lenet_costs(batch: int, itemsize: int = 4) -> dict[str, Cost]:
    """The costs of LeNet's layers by name, in order, without the ReLUs.

    Args:
        batch: Images.
        itemsize: Bytes of one number.
    """
    return {
        "conv1": conv2d_cost((batch, 1, 28, 28), (6, 1, 5, 5), 1, 2, itemsize),
        "pool1": max_pool2d_cost((batch, 6, 28, 28), 2, None, itemsize),
        "conv2": conv2d_cost((batch, 6, 14, 14), (16, 6, 5, 5), 1, 0, itemsize),
        "pool2": max_pool2d_cost((batch, 16, 10, 10), 2, None, itemsize),
        "fc1": linear_cost(batch, 400, 120, itemsize),
        "fc2": linear_cost(batch, 120, 84, itemsize),
        "fc3": linear_cost(batch, 84, 10, itemsize),
    }
