"""What operators keep, recompute and overwrite; and version counters."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.operators.in_place import leaky_relu_
from aisys.operators.linear_gelu import linear_gelu
from aisys.operators.memory import saved_bytes
from aisys.operators.memory_experiments import WAYS, time_and_memory, what_happens


def drawn(*shape: int) -> torch.Tensor:
    """Random float64 numbers that need a gradient."""
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_saved_bytes_are_those_of_storages_counted_once_without_the_inputs():
    x = drawn(10, 10)
    assert saved_bytes(lambda x: x.exp(), x) == 800
    assert saved_bytes(lambda x: x * x.T, x) == 0
    assert saved_bytes(lambda x: x.exp()[:, 0] ** 2, x) == 800
    assert saved_bytes(lambda x: x.sum(), x) == 0
    assert saved_bytes(lambda x: x.exp().exp(), x) == 1600


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 4), max_size=2),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_the_fused_layer_equals_pytorchs_and_keeps_nothing(front, features, out):
    inputs = [drawn(*front, features), drawn(out, features), drawn(out)]
    ours, theirs = linear_gelu(*inputs), F.gelu(F.linear(*inputs))
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)
    assert saved_bytes(linear_gelu, *inputs) == 0


def test_the_fused_layer_passes_gradcheck_and_computes_in_half_precision():
    assert torch.autograd.gradcheck(linear_gelu, [drawn(2, 3), drawn(4, 3), drawn(4)])
    halves = [each.detach().half() for each in (drawn(5, 3), drawn(4, 3), drawn(4))]
    made = linear_gelu(*halves)
    assert made.dtype == torch.float16
    torch.testing.assert_close(made, F.gelu(F.linear(*halves)), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("slope", [0.01, 1.0, 3.0])
def test_the_activation_in_place_overwrites_and_has_leaky_relus_gradient(slope):
    leaf = drawn(3, 4)
    x = leaf + 0
    result = leaky_relu_(x, slope)
    assert result.data_ptr() == x.data_ptr()
    torch.testing.assert_close(result, F.leaky_relu(leaf, slope))
    assert torch.autograd.gradcheck(lambda each: leaky_relu_(each + 0, slope), [leaf])


def test_bad_arguments_get_a_sentence():
    with pytest.raises(TypeError, match="x: expected a tensor"):
        leaky_relu_(1.0)
    with pytest.raises(RuntimeError, match="slope: expected a number above 0, got 0."):
        leaky_relu_(torch.zeros(2), 0.0)
    with pytest.raises(RuntimeError, match="in-place|inplace"):
        leaky_relu_(drawn(2))
    with pytest.raises(RuntimeError, match="weight: expected shape"):
        linear_gelu(drawn(2, 3), drawn(4, 4), drawn(4))
    with pytest.raises(TypeError, match="bias: expected a tensor, got None."):
        linear_gelu(drawn(2, 3), drawn(4, 3), None)


def test_version_counters_catch_views_and_not_data():
    assert "the right gradient" in what_happens(lambda y: None)
    assert "1 now: error" in what_happens(lambda y: y.detach().mul_(2))
    assert "error" in what_happens(lambda y: leaky_relu_(y))
    assert "0 now: a wrong gradient" in what_happens(lambda y: y.data.mul_(2))


def test_recomputing_and_overwriting_keep_less_than_what_they_replace():
    kept = {name: bytes_ for name, (_, bytes_) in time_and_memory(8, 16, 3, repeats=1).items()}
    result = 8 * 16 * 4  # the bytes of one layer's result
    assert set(kept) == set(WAYS)
    assert kept["your LinearGELU"] == 2 * result
    assert kept["F.linear, F.gelu"] == kept["your 2.1"] == 5 * result
    assert kept["F.linear, your leaky ReLU in place"] == 3 * result
    assert kept["small operators"] > kept["F.linear, F.gelu"]
