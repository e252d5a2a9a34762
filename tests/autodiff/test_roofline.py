"""Costs of 1.2 against PyTorch's counter of operations, and against arrays that exist."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.measuring import Roofs, layer_seconds, measure_roofs, roofline_axes
from aisys.autodiff.roofline import (
    Cost,
    arithmetic_intensity,
    conv2d_cost,
    lenet_costs,
    linear_cost,
    max_pool2d_cost,
)

small = st.integers(1, 4)


def counted(layer, x):
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops()


def moved(*tensors):
    return sum(each.numel() * each.element_size() for each in tensors)


@settings(max_examples=30, deadline=None)
@given(small, st.integers(1, 9), st.integers(1, 9))
def test_a_linear_layer_costs_what_pytorch_counts(batch, inputs, outputs):
    layer, x = torch.nn.Linear(inputs, outputs), torch.rand(batch, inputs)
    cost = linear_cost(batch, inputs, outputs)
    assert cost.flops == counted(layer, x)
    assert cost.bytes == moved(x, layer.weight, layer.bias, layer(x))


@settings(max_examples=30, deadline=None)
@given(small, small, small, small, small, st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_a_convolution_costs_what_pytorch_counts(
    batch, channels, outputs, rows, columns, stride, padding, double
):
    layer = torch.nn.Conv2d(channels, outputs, (rows, columns), stride, padding)
    layer, x = (layer.double(), 8) if double else (layer, 4)
    itemsize, x = x, torch.rand(batch, channels, 7, 6, dtype=layer.weight.dtype)
    cost = conv2d_cost(x.shape, layer.weight.shape, stride, padding, itemsize)
    assert cost.flops == counted(layer, x)
    assert cost.bytes == moved(x, layer.weight, layer.bias, layer(x))


@settings(max_examples=30, deadline=None)
@given(small, small, st.integers(1, 3), st.one_of(st.none(), st.integers(1, 4)))
def test_pooling_compares_once_less_than_the_window_has_numbers(batch, channels, kernel, stride):
    x = torch.rand(batch, channels, 9, 8)
    y = F.max_pool2d(x, kernel, stride)
    cost = max_pool2d_cost(x.shape, kernel, stride)
    assert cost == Cost(y.numel() * (kernel**2 - 1), moved(x, y))


def test_the_costs_of_lenet_are_those_of_the_model():
    costs = lenet_costs(8)
    pooling = costs["pool1"].flops + costs["pool2"].flops
    assert sum(each.flops for each in costs.values()) - pooling == counted(
        LeNet(), torch.rand(8, 1, 28, 28)
    )


def test_the_batch_raises_the_intensity_of_linear_layers_and_hardly_that_of_pooling():
    one, many = lenet_costs(1), lenet_costs(512)

    def gain(name):
        return arithmetic_intensity([many[name]]) / arithmetic_intensity([one[name]])

    assert gain("fc1") > 50 and gain("fc2") > 20
    assert gain("pool1") == gain("pool2") == 1


def test_several_layers_weigh_by_their_size():
    assert arithmetic_intensity([Cost(1000, 10), Cost(10, 1000)]) == 1.0


def test_every_layer_of_lenet_is_timed():
    seconds = layer_seconds(batch=256, repeats=1)
    assert list(seconds) == list(lenet_costs(1)) and all(each > 0 for each in seconds.values())


def test_a_better_earlier_measurement_counts():
    best = Roofs(1e18, 1e18, 1e18)
    assert measure_roofs(rounds=1, before=best) == best


def test_the_roof_is_drawn_at_the_peak_and_along_the_bandwidth():
    axes = roofline_axes(Roofs(peak=100e9, memory=10e9, cache=50e9), [0.1, 20.0])
    for line, bandwidth in zip(axes.get_lines(), (10.0, 50.0), strict=True):
        x, y = line.get_xdata(), line.get_ydata()
        assert max(y) == 100.0 and min(x) < 0.1 and max(x) >= 20.0
        assert abs(y[0] - bandwidth * x[0]) < 1e-9
