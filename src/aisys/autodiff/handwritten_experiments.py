"""What the experiment of 1.6 compares: two compositions for cross-entropy, and their errors."""

from collections.abc import Callable

import numpy as np

from aisys.autodiff.cross_entropy import one_hot_node
from aisys.autodiff.execution import run
from aisys.autodiff.gradients import gradients
from aisys.autodiff.graph import Node, exp, log, placeholder, reduce_sum, softmax


def exp_over_sum(logits: Node, labels: Node) -> Node:
    """Cross-entropy as the formula is written: exp, sum, division, logarithm."""
    powers = exp(logits)
    return mean_loss(powers / reduce_sum(powers, 1, keepdims=True), labels)


def softmax_then_log(logits: Node, labels: Node) -> Node:
    """Cross-entropy with a softmax that cannot overflow, and its logarithm."""
    return mean_loss(softmax(logits), labels)


def mean_loss(probabilities: Node, labels: Node) -> Node:
    """The mean of -log(probability of the label); probabilities are [batch, classes]."""
    batch, classes = probabilities.shape
    of_label = reduce_sum(probabilities * one_hot_node(labels, classes), 1)
    return reduce_sum(log(of_label)) * (-1 / batch)


def worst_row_error(
    loss: Callable[[Node, Node], Node], size: float, dtype: type[np.floating], batch: int = 64
) -> float:
    """The relative error of the gradient of a loss, in the worst row of a batch.

    The labels are not the largest logits: all rows are mistakes, from which there is most to learn.

    Args:
        loss: A function of logits [batch, 10] and labels [batch].
        size: The standard deviation of the logits.
        dtype: In which the graph is run; the gradient is compared with the one in float64.
        batch: The number of rows.

    Returns:
        The largest error of an element over the largest element of the row; 1 where it is not a
        number.
    """
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((batch, 10))
    labels = np.argsort(drawn)[np.arange(batch), rng.integers(9, size=batch)]
    values = (size * drawn).astype(dtype)
    z, y = placeholder(values.shape, "logits"), placeholder(labels.shape, "labels")
    with np.errstate(all="ignore"):
        (found,) = run(gradients(loss(z, y), [z]), {z: values, y: labels}).values

    wide = values.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    exact = (powers / powers.sum(axis=1, keepdims=True) - np.eye(10)[labels]) / batch
    errors = np.abs(found - exact).max(axis=1) / np.abs(exact).max(axis=1)
    return float(np.where(np.isfinite(errors), errors, 1).max())
