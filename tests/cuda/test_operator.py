"""The operator on kernels: PyTorch's numbers and gradients, and little memory traffic."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import attempt_text
from aisys.course.attempts import clear_attempts
from aisys.cuda import extension, operator
from aisys.cuda.emulator import Launch
from aisys.cuda.gpu import has_gpu, why_no_gpu
from aisys.cuda.operator_experiments import (
    errors_of_layer_norm,
    forward_bytes,
    pytorch_layer,
    time_layer,
    train,
)


def layer(*leading: int, inner: int = 7, columns: int = 35) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((*leading, inner), (columns, inner), (columns,))
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("leading", [(5,), (2, 20), (), (0,)])
def test_value_and_gradients_are_those_of_pytorch(leading: tuple[int, ...]) -> None:
    arguments = layer(*leading)
    ours = operator.load_operator("all")(*arguments)
    theirs = pytorch_layer(*arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(ours)
    for left, right in zip(
        torch.autograd.grad(ours, arguments, upstream),
        torch.autograd.grad(theirs, arguments, upstream),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_pytorch_finds_nothing_to_object_to() -> None:
    results = torch.library.opcheck(operator.load_operator(), tuple(layer(4)), atol=1e-5, rtol=1e-5)
    assert set(results.values()) == {"SUCCESS"}


def test_z_never_goes_to_memory() -> None:
    seen: list[Launch] = []
    arguments = [tensor.detach() for tensor in layer(64, inner=32, columns=64)]
    operator.make_kernels("counts", seen).forward(*arguments, False)
    (launch,) = seen
    assert launch.total("global", "write").bytes == 64 * 64 * 4
    tiles = 2 * 2
    read = tiles * 2 * 32 * 32 + tiles * 32 * 8  # two tiles each, and the bias for 8 warps
    assert launch.total("global", "read").bytes == read * 4
    assert launch.total("shared").bank_conflicts == 0


def test_a_changed_text_is_another_operator() -> None:
    arguments = [tensor.detach() for tensor in layer(3)]
    before = operator.load_operator()(*arguments)
    try:
        text = operator.linear_gelu_forward.text.replace("= z * below;", "= 2 * z * below;")
        attempt_text("3.6 linear_gelu_forward", text)
        torch.testing.assert_close(operator.load_operator()(*arguments), 2 * before)
    finally:
        clear_attempts()


@pytest.mark.parametrize("columns", [1, 31, 128, 700])
@pytest.mark.parametrize("threads", [32, 256])
def test_rows_are_pytorchs_whatever_their_length(columns: int, threads: int) -> None:
    torch.manual_seed(columns)
    matrix = 5 * torch.randn(3, columns)
    scale, shift = torch.randn(2, columns)
    softmax, _ = operator.call_softmax_rows(matrix, threads=threads)
    torch.testing.assert_close(softmax, matrix.softmax(1), rtol=1e-5, atol=1e-6)
    normal, _ = operator.call_layer_norm_rows(matrix, scale, shift, threads=threads)
    theirs = F.layer_norm(matrix, (columns,), scale, shift)
    torch.testing.assert_close(normal, theirs, rtol=1e-4, atol=1e-4)


def test_a_masked_row_is_no_nan() -> None:
    matrix = torch.randn(2, 300)
    matrix[0, :299] = -torch.inf
    matrix[1, 1:] = -torch.inf
    softmax, _ = operator.call_softmax_rows(matrix)
    torch.testing.assert_close(softmax, matrix.softmax(1))


def test_training_on_kernels_is_training_on_pytorch() -> None:
    ours = train(operator.load_operator(), epochs=1, batch=500)
    theirs = train(pytorch_layer, epochs=1, batch=500)
    assert ours[0] > ours[-2]
    torch.testing.assert_close(
        torch.tensor(ours[:-1]), torch.tensor(theirs[:-1]), rtol=1e-4, atol=0
    )


def test_fusing_saves_one_write_and_one_read_of_z() -> None:
    moved = forward_bytes(32, [8, 64], 64)
    saved = [apart - fused for fused, apart in zip(*moved.values(), strict=True)]
    assert saved == [2 * 32 * 64 * 4] * 2


@pytest.mark.skipif(has_gpu() or not extension.why_not(), reason="there is a GPU")
def test_without_a_gpu_each_way_to_one_says_what_it_lacks() -> None:
    assert list(time_layer(8, 8, 8).values()) == [why_no_gpu(), extension.why_not()]


def test_two_sums_lose_the_variance_and_welford_does_not() -> None:
    ones, zeros = torch.ones(1024), torch.zeros(1024)
    errors = errors_of_layer_norm(
        [1e4], lambda row: operator.call_layer_norm_rows(row, ones, zeros)[0]
    )
    yours, sums = (values[0] for values in errors.values())
    assert yours < 1e-2 < 1 < sums
