"""LeNet on this engine: the network as a graph, and the step that trains it.

The graph is built once for a batch size and run as often as there are steps. What changes from
step to step is fed: images, labels and weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisys.autodiff.convolution_gradient import conv2d
from aisys.autodiff.cross_entropy import softmax_cross_entropy
from aisys.autodiff.execution import run
from aisys.autodiff.gradients import gradients
from aisys.autodiff.graph import Node, placeholder, relu, reshape, transpose
from aisys.autodiff.max_pooling import max_pool2d
from aisys.autodiff.operations import Value
from aisys.autodiff.sgd import SGD, sgd_update
from aisys.course import exercise

SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "fc1.weight": (120, 400),
    "fc1.bias": (120,),
    "fc2.weight": (84, 120),
    "fc2.bias": (84,),
    "fc3.weight": (10, 84),
    "fc3.bias": (10,),
}
"""The names and shapes of LeNet's weights, as in PyTorch: [out, in] for a linear layer."""


@dataclass(frozen=True)
class Network:
    """A classifier as a graph with its gradients, for one batch size.

    Attributes:
        images: A placeholder [batch, ...].
        labels: A placeholder [batch], for integers.
        weights: A placeholder for each array of weights, by name.
        loss: The node of the loss, a single value.
        slopes: The gradient of the loss with respect to each of the weights, by the same names.
    """

    images: Node
    labels: Node
    weights: dict[str, Node]
    loss: Node
    slopes: dict[str, Node]


@dataclass(frozen=True)
class State:
    """What training changes: weights and velocities, by name."""

    weights: dict[str, np.ndarray]
    velocities: dict[str, np.ndarray]


def initial_state(weights: Mapping[str, np.ndarray]) -> State:
    """The state before the first step: these weights, and velocities of zero."""
    return State(dict(weights), {name: np.zeros_like(value) for name, value in weights.items()})


@exercise("1.8", points=2)
def lenet_scores(images: Node, weights: Mapping[str, Node]) -> Node:
    """LeNet as a graph: two convolutions, each with ReLU and pooling, and three linear layers.

    - conv1: 1 to 6 channels, 5x5, padding 2; ReLU; max-pooling 2x2.
    - conv2: 6 to 16 channels, 5x5, no padding; ReLU; max-pooling 2x2.
    - The 16 x 5 x 5 values of an image become a row of 400.
    - fc1: 400 to 120, ReLU; fc2: 120 to 84, ReLU; fc3: 84 to 10, without ReLU.

    A linear layer is x @ transpose(weight) + bias: its weight is [out, in], as in PyTorch.

    Args:
        images: [batch, 1, 28, 28].
        weights: A node for each name of SHAPES, such as "conv1.weight".

    Returns:
        The scores of the ten digits, [batch, 10].
    """

    def convolved(x: Node, name: str, padding: int) -> Node:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return max_pool2d(relu(conv2d(x, weight, bias, padding=padding)), 2)

    def linear(x: Node, name: str) -> Node:
        return x @ transpose(weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    x = convolved(images, "conv1", padding=2)  # [batch, 6, 14, 14]
    x = convolved(x, "conv2", padding=0)  # [batch, 16, 5, 5]
    x = reshape(x, (x.shape[0], -1))
    x = relu(linear(x, "fc1"))
    x = relu(linear(x, "fc2"))
    return linear(x, "fc3")


def lenet(batch: int) -> Network:
    """LeNet with cross-entropy as its loss and all gradients, for batches of this size."""
    images, labels = placeholder((batch, 1, 28, 28), "images"), placeholder((batch,), "labels")
    weights = {name: placeholder(shape, name) for name, shape in SHAPES.items()}
    loss = softmax_cross_entropy(lenet_scores(images, weights), labels)
    slopes = gradients(loss, list(weights.values()))
    return Network(images, labels, weights, loss, dict(zip(weights, slopes, strict=True)))


@exercise("1.8", points=2)
def training_step(
    network: Network, state: State, images: np.ndarray, labels: np.ndarray, settings: SGD
) -> tuple[float, State]:
    """One step of training: the loss and all gradients, then an update of all weights.

    The graph is there already, with its gradients: a step adds no node to it. One `run` computes
    all of them, so that the backward part uses the values of the forward part.

    Args:
        network: The graph; it may be of any network and loss.
        state: Weights and velocities before the step, by the names of network.weights. It is not
            changed.
        images: The value for network.images.
        labels: The value for network.labels.
        settings: For `sgd_update`.

    Returns:
        The loss before the update, a Python float, and the state after it.
    """
    feeds: dict[Node, Value] = {network.images: images, network.labels: labels}
    for name, node in network.weights.items():
        feeds[node] = state.weights[name]
    loss, *slopes = run([network.loss, *network.slopes.values()], feeds).values

    weights, velocities = {}, {}
    for name, slope in zip(network.slopes, slopes, strict=True):
        weights[name], velocities[name] = sgd_update(
            state.weights[name], np.asarray(slope), state.velocities[name], settings
        )
    return float(loss), State(weights, velocities)


def recognised(state: State, images: np.ndarray, labels: np.ndarray, batch: int = 500) -> float:
    """The share of images whose highest score is that of their label, from 0 to 1.

    Args:
        state: Weights of LeNet.
        images: [count, 1, 28, 28].
        labels: [count].
        batch: So many images at a time.
    """
    weights = {name: placeholder(shape, name) for name, shape in SHAPES.items()}
    fed: dict[Node, Value] = {node: state.weights[name] for name, node in weights.items()}
    right = 0
    for start in range(0, len(images), batch):
        chosen = images[start : start + batch]
        x = placeholder(chosen.shape, "images")
        (scores,) = run([lenet_scores(x, weights)], {**fed, x: chosen}).values
        right += int(np.sum(np.argmax(scores, axis=1) == labels[start : start + batch]))
    return right / len(images)
