"""The update against torch.optim.SGD."""

import numpy as np
import pytest
import torch

from aisys.autodiff.sgd import SGD, sgd_update


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_ten_steps_equal_pytorchs_while_the_rate_falls(momentum, weight_decay):
    rng = np.random.default_rng(0)
    weight, velocity = rng.standard_normal((3, 2)), np.zeros((3, 2))
    tensor = torch.tensor(weight, requires_grad=True)
    optimizer = torch.optim.SGD([tensor], lr=1.0, momentum=momentum, weight_decay=weight_decay)
    for step in range(10):
        rate = 0.2 / (1 + step)
        slope = rng.standard_normal((3, 2))
        optimizer.param_groups[0]["lr"] = rate
        tensor.grad = torch.from_numpy(slope.copy())
        optimizer.step()
        settings = SGD(rate, momentum, weight_decay)
        weight, velocity = sgd_update(weight, slope, velocity, settings)
        np.testing.assert_allclose(weight, tensor.detach().numpy(), rtol=1e-12)
