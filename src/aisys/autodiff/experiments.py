"""What the experiments need beside the exercises: a clock, PyTorch, a deep network."""

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from aisys.autodiff.execution import Execution
from aisys.autodiff.graph import Node, log_softmax, placeholder, reduce_sum, relu
from aisys.autodiff.operations import Value
from aisys.course.plotting import figure
from aisys.data import one_hot


def best_seconds(function: Callable[[], object], repeats: int) -> float:
    """The shortest time of several calls: what the others took longer, the machine did meanwhile.

    Args:
        function: What to time.
        repeats: How often it is called.
    """
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def torch_conv2d(
    x: np.ndarray, weight: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """PyTorch's convolution with the arguments of `conv2d_loops`."""
    with torch.no_grad():
        made = F.conv2d(
            torch.from_numpy(x), torch.from_numpy(weight), stride=stride, padding=padding
        )
    return made.numpy()


def two_layer_weights(
    hidden: int, dtype: type[np.floating] = np.float32, seed: int = 0
) -> dict[str, np.ndarray]:
    """Initial weights of a network 784 -> hidden -> 10 (He et al., 2015), biases zero."""
    rng = np.random.default_rng(seed)
    return {
        "w1": (rng.standard_normal((784, hidden)) * np.sqrt(2 / 784)).astype(dtype),
        "b1": np.zeros(hidden, dtype),
        "w2": (rng.standard_normal((hidden, 10)) * np.sqrt(2 / hidden)).astype(dtype),
        "b2": np.zeros(10, dtype),
    }


def train_with_torch(
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    batches: Iterable[np.ndarray],
    rate: float,
) -> list[float]:
    """Train the two-layer network in PyTorch and return the loss of every step.

    Args:
        weights: As from `two_layer_weights`; they are copied.
        images: [count, 784].
        labels: [count].
        batches: Index arrays, one a step.
        rate: The learning rate of plain gradient descent.
    """
    parameters = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=rate)
    losses = []
    for batch in batches:
        x, y = torch.from_numpy(images[batch]), torch.from_numpy(labels[batch])
        hidden = torch.relu(x @ parameters["w1"] + parameters["b1"])
        loss = F.cross_entropy(hidden @ parameters["w2"] + parameters["b2"], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def deep_network(
    images: np.ndarray, labels: np.ndarray, hidden: int = 256, layers: int = 8
) -> tuple[Node, list[Node], dict[Node, Value]]:
    """A deep network on digits as a graph: its loss, its parameters, and all values to feed.

    Args:
        images: [batch, 1, 28, 28].
        labels: [batch].
        hidden: The width of every hidden layer.
        layers: The number of hidden layers.
    """
    rng = np.random.default_rng(0)
    batch = len(images)
    x, y = placeholder((batch, 784), "x"), placeholder((batch, 10), "y")
    feeds: dict[Node, Value] = {
        x: images.reshape(batch, 784),
        y: one_hot(labels, images.dtype.type),
    }
    parameters = []
    value = x
    for layer in range(layers + 1):
        sizes = (value.shape[1], hidden if layer < layers else 10)
        weight, bias = placeholder(sizes, f"w{layer}"), placeholder(sizes[1:], f"b{layer}")
        scaled = rng.standard_normal(sizes) * np.sqrt(2 / sizes[0])
        feeds[weight] = scaled.astype(images.dtype)
        feeds[bias] = np.zeros(sizes[1:], images.dtype)
        parameters += [weight, bias]
        value = value @ weight + bias
        if layer < layers:
            value = relu(value)
    loss = reduce_sum(y * log_softmax(value)) * (-1 / batch)
    return loss, parameters, feeds


def plot_live_bytes(executions: Mapping[str, Execution]) -> Axes:
    """Plot the bytes that runs of a graph held, operation by operation.

    Args:
        executions: A run for each label.
    """
    axes = figure()
    for label, execution in executions.items():
        steps = zip(execution.order, execution.live_bytes, strict=True)
        axes.plot([held / 1e6 for node, held in steps if node.inputs], label=label, marker="")
    return axes
