"""Loss scaling: what half precision loses, and the scale that is found."""

import numpy as np
import pytest
import torch

from aisys.operators.loss_scaling import LossScaler, lost_share
from aisys.operators.precision_experiments import (
    gradients_of_layers,
    initial_weights,
    train_in,
)


def test_what_is_lost_is_what_becomes_zero_or_infinite():
    gradient = torch.tensor([0.0, 2.0**-26, 2.0**-24, 1.0, 1e5])
    assert lost_share(gradient, torch.float16) == 0.5
    assert lost_share(gradient, torch.float16, 4.0) == 0.25
    assert lost_share(gradient, torch.bfloat16) == 0.0
    assert lost_share(torch.zeros(3), torch.float16) == 0.0


def test_the_scaler_behaves_as_pytorchs_on_the_same_gradients():
    rng = np.random.default_rng(0)
    kinds = rng.choice(["good", "inf", "nan"], 40, p=[0.8, 0.1, 0.1])
    ours, theirs = torch.zeros(3), torch.zeros(3)
    optimizers = [torch.optim.SGD([each], lr=0.1, momentum=0.9) for each in (ours, theirs)]
    mine = LossScaler(2.0**10, growth_interval=3)
    other = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    other.scale(torch.ones(()))
    for kind in kinds:
        gradient = torch.from_numpy(rng.standard_normal(3)).float() * mine.scale
        if kind != "good":
            gradient[1] = float(kind)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        assert mine.step(optimizers[0], [ours]) == (kind == "good")
        other.step(optimizers[1])
        other.update()
        assert mine.scale == other.get_scale()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_of_the_experiment_learns(dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    images = np.eye(10, 784, dtype=np.float32)[labels].reshape(-1, 1, 28, 28) * 10
    losses, parameters, _ = train_in(dtype, images, labels, steps=60, rate=5e-3)
    assert losses[-1] < 0.8 * losses[0]
    assert all(each.dtype == torch.float32 for each in parameters)


def test_float16_loses_the_gradients_of_the_first_layers_and_a_scale_saves_them():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(16, 784, generator=generator), torch.arange(16) % 10
    gradients = gradients_of_layers(initial_weights(), x, y)
    assert lost_share(gradients[0], torch.float16) > 0.5
    assert lost_share(gradients[-1], torch.float16) == 0.0
    assert lost_share(gradients[0], torch.float16, 2.0**18) < 0.01


def test_an_overflow_is_thrown_away_and_the_scale_comes_down():
    rng = np.random.default_rng(0)
    images = rng.random((64, 1, 28, 28), dtype=np.float32)
    scaler = LossScaler(2.0**34)
    _, parameters, scales = train_in(
        torch.float16, images, rng.integers(0, 10, 64), scaler, steps=12, batch=16
    )
    assert scales[1] == 2.0**33 and scales[-1] < 2.0**30
    assert all(each.isfinite().all() for each in parameters)
