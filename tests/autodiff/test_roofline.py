"""FLOPs and bytes of 1.2 against PyTorch's own counter and the tensors themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from aisys.autodiff.roofline import arithmetic_intensity, conv2d_cost, linear_cost


def counted(function) -> int:  # noqa: ANN001
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 3, 5), (64, 400, 120)])
def test_a_linear_layers_flops_are_those_of_its_product(
    batch: int, inputs: int, outputs: int
) -> None:
    x, weight = torch.ones(batch, inputs), torch.ones(outputs, inputs)
    product = counted(lambda: x @ weight.T)
    assert product <= linear_cost(batch, inputs, outputs).flops <= product + batch * outputs


def test_the_intensity_of_several_layers_is_that_of_their_sums() -> None:
    costs = [linear_cost(8, 20, 30), linear_cost(8, 30, 10)]
    flops, moved = sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs)
    assert arithmetic_intensity(costs) == pytest.approx(flops / moved)


def test_a_convolutions_flops_are_those_that_pytorch_counts() -> None:
    x, weight = torch.ones(4, 6, 14, 14), torch.ones(16, 6, 5, 5)
    product = counted(lambda: F.conv2d(x, weight))
    cost = conv2d_cost(x.shape, weight.shape)
    assert product <= cost.flops <= product + 4 * 16 * 10 * 10
