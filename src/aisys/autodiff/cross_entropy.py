"""Softmax and cross-entropy as one node, because together they are simpler than one by one.

The logarithm undoes the exponential, so neither an overflow nor the logarithm of 0 can occur; and
the gradient is a difference that needs no division (Lecture 3: some operators have a better
implementation than the one that automatic differentiation finds).
"""

import numpy as np

from aisys.autodiff.gradients import register_gradient
from aisys.autodiff.graph import Node, apply, softmax
from aisys.autodiff.operations import Shape, Value, register_operation
from aisys.course import exercise


def softmax_cross_entropy(logits: Node, labels: Node) -> Node:
    """The mean over a batch of -log(softmax(logits)[label]), in nats: a single value.

    Args:
        logits: [batch, classes].
        labels: [batch], integers from 0 to classes - 1.
    """
    return apply("softmax_cross_entropy", logits, labels)


def one_hot_node(labels: Node, classes: int) -> Node:
    """[batch, classes]: True in the label's column, False elsewhere; they count as 1 and 0."""
    return apply("one_hot", labels, classes=classes)


@exercise("1.6", points=1)
def compute_softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> Value:
    """The mean over a batch of -log(softmax(z)[label]), where z is a row of logits.

    In exact arithmetic that is log(sum of exp(z)) - z[label], and the same for z minus any
    constant. With the largest of z taken off first, the largest exponential is exp(0) = 1: nothing
    overflows, and the sum is at least 1, so that its logarithm is finite. No softmax is computed.

    Args:
        logits: [batch, classes], of any size, such as 1e4.
        labels: [batch], integers from 0 to classes - 1.

    Returns:
        One number, of the dtype of logits.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_label = shifted[np.arange(len(labels)), labels]
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - of_label)


@register_gradient("softmax_cross_entropy")
@exercise("1.6", points=1)
def softmax_cross_entropy_gradient(node: Node, upstream: Node) -> tuple[Node, None]:
    """The gradient of the logits: softmax minus one-hot, over the batch size.

    Args:
        node: Its inputs are logits [batch, classes] and labels [batch].
        upstream: The gradient that arrives, of shape ().

    Returns:
        A node [batch, classes] for the logits, and None for the labels: nothing flows to integers.
    """
    logits, labels = node.inputs
    batch, classes = logits.shape
    return (softmax(logits) - one_hot_node(labels, classes)) * (upstream * (1 / batch)), None


@register_gradient("one_hot")
def one_hot_gradient(node: Node, upstream: Node) -> tuple[None]:
    """Integers: nothing flows."""
    return (None,)


def compute_one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Compare each label with each class."""
    return labels[:, None] == np.arange(classes)


def softmax_cross_entropy_shape(logits: Shape, labels: Shape) -> Shape:
    """A single value."""
    if len(logits) != 2 or labels != logits[:1]:
        raise ValueError("logits are [batch, classes] and labels [batch]")
    return ()


register_operation(
    "softmax_cross_entropy", softmax_cross_entropy_shape, compute_softmax_cross_entropy
)
register_operation("one_hot", lambda labels, classes: (*labels, classes), compute_one_hot)
