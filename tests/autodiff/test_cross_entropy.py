"""Softmax cross-entropy against PyTorch, and where the automatic gradient fails."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.autodiff.cross_entropy import softmax_cross_entropy
from aisys.autodiff.execution import run
from aisys.autodiff.gradients import gradients
from aisys.autodiff.graph import ShapeError, placeholder, reduce_sum
from aisys.autodiff.handwritten_experiments import exp_over_sum, softmax_then_log, worst_row_error
from aisys.autodiff.numerical import numerical_gradients


def value_and_gradient(build, logits, labels):
    z, y = placeholder(logits.shape), placeholder(labels.shape)
    loss = build(z, y)
    return run([loss, *gradients(loss, [z])], {z: logits, y: labels}).values


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.sampled_from([0.1, 1.0, 30.0, 1e3, 1e5]))
def test_value_and_gradient_equal_pytorchs_for_logits_of_any_size(batch, classes, size):
    rng = np.random.default_rng(0)
    logits = size * rng.standard_normal((batch, classes))
    labels = rng.integers(classes, size=batch)
    found = value_and_gradient(softmax_cross_entropy, logits, labels)

    tensor = torch.tensor(logits, requires_grad=True)
    loss = F.cross_entropy(tensor, torch.from_numpy(labels))
    loss.backward()
    np.testing.assert_allclose(found[0], loss.item(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1], tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_second_derivative_equals_the_difference_quotient_of_the_first():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((3, 4)), np.array([0, 3, 1])
    z, y = placeholder(logits.shape), placeholder(labels.shape)
    (first,) = gradients(softmax_cross_entropy(z, y), [z])
    target = reduce_sum(first * first)
    (found,) = run(gradients(target, [z]), {z: logits, y: labels}).values

    def number(array):
        return float(run([target], {z: array, y: labels}).values[0])

    np.testing.assert_allclose(found, numerical_gradients(number, [logits])[0], atol=1e-8)


def test_float32_stays_float32():
    logits = np.ones((2, 3), np.float32)
    loss, gradient = value_and_gradient(softmax_cross_entropy, logits, np.array([0, 1]))
    assert np.asarray(loss).dtype == gradient.dtype == np.float32


@pytest.mark.parametrize("automatic", [exp_over_sum, softmax_then_log])
def test_the_automatic_gradient_is_right_for_small_logits_and_fails_for_large_ones(automatic):
    assert worst_row_error(automatic, 1.0, np.float32) < 1e-6
    assert worst_row_error(automatic, 1e3, np.float32) == 1
    assert worst_row_error(softmax_cross_entropy, 1e3, np.float32) < 1e-6


@pytest.mark.parametrize("labels", [(3,), (2, 4), ()])
def test_labels_that_do_not_fit_are_an_error(labels):
    with pytest.raises(ShapeError, match="labels"):
        softmax_cross_entropy(placeholder((2, 4)), placeholder(labels))
