"""The operator registered from Python: a fresh one each time, inside a compiled function too."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from aisys.operators.citizenship import make_operator
from aisys.operators.placement import TransformerBlock, traced_with


def test_every_operator_has_a_namespace_of_its_own_and_the_old_one_is_dropped() -> None:
    first = make_operator()._opoverload.name()
    second = make_operator()._opoverload.name()
    assert first != second
    with pytest.raises(RuntimeError, match="does not exist"):
        torch._C._dispatch_has_kernel_for_dispatch_key(first, "CPU")


def test_it_is_pytorchs_linear_and_gelu() -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
    expected = F.gelu(F.linear(x, weight, bias))
    torch.testing.assert_close(make_operator()(x, weight, bias), expected)


def test_a_block_with_the_operator_trains_as_before() -> None:
    x = torch.randn(2, 4, 16)
    block = TransformerBlock(16, 2)
    expected = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
    module = traced_with(block, make_operator()._opoverload)
    assert isinstance(module, fx.GraphModule)
    assert not any(node.target is F.gelu for node in module.graph.nodes)
    found = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    names = [name for name, _ in module.named_parameters()]
    wanted = dict(zip((name for name, _ in block.named_parameters()), expected, strict=True))
    for name, gradient in zip(names, found, strict=True):
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-4)
