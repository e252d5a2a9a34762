"""LeNet on the engine against LeNet in PyTorch: scores, gradients, and the path of training."""

import numpy as np
import torch
import torch.nn.functional as F

from aisys.autodiff.execution import ready_order, run
from aisys.autodiff.graph import placeholder
from aisys.autodiff.lenet import (
    SHAPES,
    initial_state,
    lenet,
    lenet_scores,
    recognised,
    training_step,
)
from aisys.autodiff.lenet_torch import LeNet, weights_of
from aisys.autodiff.sgd import SGD
from aisys.data import batches, digits


def test_shapes_are_those_of_the_model_in_pytorch():
    assert SHAPES == {name: value.shape for name, value in weights_of(LeNet()).items()}


def test_scores_equal_pytorchs():
    images = digits(np.float64).train_images[:3]
    values = weights_of(LeNet(), np.float64)
    weights = {name: placeholder(shape) for name, shape in SHAPES.items()}
    x = placeholder(images.shape)
    feeds = {x: images, **{weights[name]: values[name] for name in SHAPES}}
    (scores,) = run([lenet_scores(x, weights)], feeds).values
    with torch.no_grad():
        expected = LeNet().double()(torch.from_numpy(images))
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-10)


def test_the_losses_of_the_first_steps_equal_pytorchs():
    data = digits(np.float64)
    chosen = list(batches(len(data.train_labels), size=32, epochs=1))[:8]
    settings = SGD(rate=0.05, momentum=0.9, weight_decay=5e-4)
    network, state = lenet(32), initial_state(weights_of(LeNet(), np.float64))
    model = LeNet().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for batch in chosen:
        images, labels = data.train_images[batch], data.train_labels[batch]
        loss, state = training_step(network, state, images, labels, settings)
        expected = F.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        assert abs(loss - expected.item()) < 1e-9
    for name, theirs in weights_of(model, np.float64).items():
        np.testing.assert_allclose(state.weights[name], theirs, rtol=1e-8, atol=1e-10)


def test_a_step_in_float32_computes_nothing_in_float64():
    data = digits()
    network, state = lenet(2), initial_state(weights_of(LeNet()))
    _, after = training_step(
        network, state, data.train_images[:2], data.train_labels[:2], SGD(0.1, 0.9, 1e-3)
    )
    arrays = [*after.weights.values(), *after.velocities.values()]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}

    order = ready_order([network.loss, *network.slopes.values()])
    feeds = {network.images: data.train_images[:2], network.labels: data.train_labels[:2]}
    feeds |= {network.weights[name]: value for name, value in state.weights.items()}
    values = run(order, feeds).values
    wide = [node for node, value in zip(order, values, strict=True) if _is_float64(value)]
    assert wide == []


def test_a_step_adds_no_node_to_the_graph():
    data = digits()
    network, state = lenet(2), initial_state(weights_of(LeNet()))
    before = len(ready_order(list(network.slopes.values())))
    training_step(network, state, data.train_images[:2], data.train_labels[:2], SGD(0.1))
    assert len(ready_order(list(network.slopes.values()))) == before


def test_recognised_counts_the_last_images_too():
    data = digits()
    state = initial_state(weights_of(LeNet()))
    whole = recognised(state, data.held_out_images[:25], data.held_out_labels[:25])
    parts = recognised(state, data.held_out_images[:25], data.held_out_labels[:25], batch=10)
    assert whole == parts
    assert whole * 25 == round(whole * 25)


def _is_float64(value):
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype == np.float64
