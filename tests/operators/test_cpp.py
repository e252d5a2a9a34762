"""The operator in C++: equal to PyTorch, at home in its registries, and refusing in sentences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import attempt_text
from aisys.course.attempts import clear_attempts
from aisys.operators import cpp


def layer(*leading: int, inner: int = 7, columns: int = 33) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((*leading, inner), (columns, inner), (columns,))
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("leading", [(5,), (2, 3), (), (0,)])
def test_value_and_gradients_are_those_of_pytorch(leading: tuple[int, ...]) -> None:
    arguments = layer(*leading)
    ours = cpp.load_operator().linear_gelu(*arguments)
    theirs = F.gelu(F.linear(*arguments))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(ours)
    for left, right in zip(
        torch.autograd.grad(ours, arguments, upstream),
        torch.autograd.grad(theirs, arguments, upstream),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_pytorch_finds_nothing_to_object_to() -> None:
    arguments = tuple(tensor.detach() for tensor in layer(4))
    results = torch.library.opcheck(cpp.load_operator().linear_gelu.default, arguments)
    assert set(results.values()) == {"SUCCESS"}


def test_a_changed_text_is_another_operator_and_the_cell_can_be_run_again() -> None:
    first = cpp.load_operator()
    try:
        attempt_text("2.7 linear_gelu", cpp.linear_gelu.text + "// mine\n")
        second = cpp.load_operator()
        assert cpp.load_operator() is second is not first
        arguments = [tensor.detach() for tensor in layer(4)]
        assert torch.equal(second.linear_gelu(*arguments), first.linear_gelu(*arguments))
    finally:
        clear_attempts()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "said"),
    [
        ("weight", (33, 6), torch.float32, "weight: expected as many columns as x has features, 7"),
        ("weight", (33, 7), torch.float64, "weight: expected dtype float32; it has Double"),
        ("bias", (32,), torch.float32, "bias: expected as many elements as weight has rows, 33"),
        ("x", (), torch.float32, "x: expected 1 or more dimensions; it has 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, said: str
) -> None:
    arguments = dict(zip(("x", "weight", "bias"), layer(4), strict=True))
    arguments[name] = torch.zeros(shape, dtype=dtype)
    with pytest.raises(RuntimeError, match=said):
        cpp.load_operator().linear_gelu(*arguments.values())


def test_blocks_miss_the_cache_far_less_often_than_three_loops() -> None:
    assert cpp.misses_of_product(32, 96, 96) < 32 * 96 * 6 / 4
