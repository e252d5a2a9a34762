"""Probes of 3.6: what the kernels compute, what they move, and what PyTorch's operator does."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aisys.course import Case, Difference, Plain, probe
from aisys.course.probes import Verdict
from aisys.cuda import operator
from aisys.cuda.emulator import Launch
from aisys.cuda.operator import Kernels
from aisys.operators.citizenship import define_linear_gelu, fresh_namespace
from aisys.operators.layer_samples import sample_arguments, sample_tensor

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 2e-5
"""Tolerance, relative and absolute, of float32 sums of a hundred products of size 1."""
CLOSE_ROWS = 2e-3
"""The same of a normalised row whose mean is thousands of times its deviation."""
CONFLICTS = 20
"""So many passes of shared memory may have one conflict."""
NAMES = ("x", "weight", "bias")


def layer_case(name: str, seed: int, rows: int, inner: int, columns: int, **more: object) -> Case:
    """A case of the kernels: x [rows, inner], weight [columns, inner]."""
    return Case(name, {"rows": rows, "inner": inner, "columns": columns, **more}, seed)


def rows_case(name: str, seed: int, rows: int, columns: int, **more: object) -> Case:
    """A case of the rows: a matrix [rows, columns]."""
    return Case(name, {"rows": rows, "columns": columns, **more}, seed)


def operator_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of the operator; what is left out is as here."""
    default = {"leading": [3], "inner": 4, "columns": 5, "layout": "contiguous", "upstream": "own"}
    return Case(name, {**default, "needs": list(NAMES), **inputs}, seed)


def at_most(slack: float) -> Verdict:
    """A verdict: at most so many times the sectors that the reference moves, hardly a conflict."""

    def verdict(got: Plain, expected: Plain) -> Difference | None:
        for kernel, wanted in _named(expected).items():
            counts = _named(got)[kernel]
            for what in ("read", "written"):
                most = int(slack * wanted[what])
                if counts[what] > most:
                    return Difference(
                        "value",
                        f"{kernel}: {counts[what]:,} sectors of 32 bytes are {what}; "
                        f"{most:,} are enough.",
                        f"{kernel}.{what}",
                    )
            if counts["conflicts"] * CONFLICTS > counts["passes"]:
                return Difference(
                    "value",
                    f"{kernel}: {counts['conflicts']:,} of {counts['passes']:,} passes of shared "
                    "memory are bank conflicts; none are needed.",
                    f"{kernel}.conflicts",
                )
        return None

    return verdict


layer_moves_little = at_most(1.3)  # a thread may read its bias for each of its results
row_moves_little = at_most(1.1)


@probe(
    "3.6 linear_gelu_forward",
    cases=[
        layer_case("one tile: 32 x 32 times 32 x 32", 1, 32, 32, 32),
        layer_case("35 x 41 times 41 x 6", 2, 35, 41, 6),
        layer_case("without the slope", 3, 5, 33, 40, keep=False),
        layer_case("1 x 1 times 1 x 1", 4, 1, 1, 1),
        layer_case("nothing to add up", 5, 3, 0, 4),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def linear_gelu_forward_values(case: dict, rng: np.random.Generator) -> Plain:
    """Value and slope of a random layer."""
    x, weight, bias, _ = _layer(case, rng)
    value, slope = operator.make_kernels("all").forward(x, weight, bias, case.get("keep", True))
    return {"value": value.numpy(), "slope": None if slope is None else slope.numpy()}


@probe(
    "3.6 linear_gelu_forward",
    cases=[layer_case("what 64 x 64 times 64 x 64 moves", 1, 64, 64, 64)],
    verdict=layer_moves_little,
    seconds=SECONDS,
)
def linear_gelu_forward_moves(case: dict, rng: np.random.Generator) -> Plain:
    """Sectors and bank conflicts."""
    x, weight, bias, _ = _layer(case, rng)
    seen: list[Launch] = []
    operator.make_kernels("all", seen).forward(x, weight, bias, True)
    return _counts(seen)


@probe(
    "3.6 linear_gelu_backward",
    cases=[
        layer_case("one tile: 32 x 32 times 32 x 32", 1, 32, 32, 32),
        layer_case("35 x 41 times 41 x 6", 2, 35, 41, 6),
        layer_case("6 x 70 times 70 x 40", 3, 6, 70, 40),
        layer_case("1 x 1 times 1 x 1", 4, 1, 1, 1),
        layer_case("no rows", 5, 0, 4, 3),
        layer_case("no inputs", 6, 3, 0, 4),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def linear_gelu_backward_values(case: dict, rng: np.random.Generator) -> Plain:
    """The three gradients for random upstream gradients and slopes."""
    return _gradients(_layer(case, rng), rng, [])


@probe(
    "3.6 linear_gelu_backward",
    cases=[layer_case("what 64 x 64 times 64 x 64 moves", 1, 64, 64, 64)],
    verdict=layer_moves_little,
    seconds=SECONDS,
)
def linear_gelu_backward_moves(case: dict, rng: np.random.Generator) -> Plain:
    """Sectors and bank conflicts of both kernels."""
    seen: list[Launch] = []
    _gradients(_layer(case, rng), rng, seen)
    return _counts(seen)


@probe(
    "3.6 softmax_rows",
    cases=[
        rows_case("3 rows of 300", 1, 3, 300),
        rows_case("rows of 7, shorter than a warp", 2, 2, 7),
        rows_case("large numbers", 3, 2, 150, size=200.0),
        rows_case("masked: the first 130 are -infinity", 4, 2, 200, masked=130),
        rows_case("one element", 5, 1, 1),
    ],
    rtol=CLOSE,
    atol=1e-7,
    seconds=SECONDS,
)
def softmax_rows_values(case: dict, rng: np.random.Generator) -> Plain:
    """The softmax of random rows."""
    matrix = case.get("size", 3.0) * rng.standard_normal((case["rows"], case["columns"]))
    matrix[:, : case.get("masked", 0)] = -np.inf
    return operator.call_softmax_rows(sample_tensor(matrix))[0].numpy()


@probe(
    "3.6 softmax_rows",
    cases=[rows_case("what 2 rows of 512 move", 1, 2, 512)],
    verdict=row_moves_little,
    seconds=SECONDS,
)
def softmax_rows_moves(case: dict, rng: np.random.Generator) -> Plain:
    """Sectors and bank conflicts."""
    matrix = sample_tensor(rng.standard_normal((case["rows"], case["columns"])))
    return _counts([operator.call_softmax_rows(matrix)[1]])


@probe(
    "3.6 layer_norm_rows",
    cases=[
        rows_case("3 rows of 300", 1, 3, 300),
        rows_case("rows of 7, shorter than a warp", 2, 2, 7),
        rows_case("a mean of 3000", 3, 2, 200, mean=3000.0),
        rows_case("a row of equal numbers", 4, 2, 40, size=0.0),
        rows_case("one element", 5, 1, 1),
    ],
    rtol=CLOSE_ROWS,
    atol=CLOSE_ROWS,
    seconds=SECONDS,
)
def layer_norm_rows_values(case: dict, rng: np.random.Generator) -> Plain:
    """Random rows, normalised."""
    noise = rng.standard_normal((case["rows"], case["columns"]))
    matrix = sample_tensor(case.get("mean", 0.5) + case.get("size", 1.5) * noise)
    scale, shift = (sample_tensor(rng.standard_normal(case["columns"])) for _ in range(2))
    epsilon = case.get("epsilon", 1e-5)
    return operator.call_layer_norm_rows(matrix, scale, shift, epsilon)[0].numpy()


@probe(
    "3.6 layer_norm_rows",
    cases=[rows_case("what 2 rows of 512 move", 1, 2, 512)],
    verdict=row_moves_little,
    seconds=SECONDS,
)
def layer_norm_rows_moves(case: dict, rng: np.random.Generator) -> Plain:
    """Sectors and bank conflicts."""
    matrix = sample_tensor(rng.standard_normal((case["rows"], case["columns"])))
    ones = torch.ones(case["columns"])
    return _counts([operator.call_layer_norm_rows(matrix, ones, ones)[1]])


@probe(
    "3.6 register",
    cases=[
        operator_case("3 rows", 1),
        operator_case("a batch of 2 x 3 rows", 2, leading=[2, 3]),
        operator_case("one row, no batch", 3, leading=[]),
        operator_case("transposed and strided arguments", 4, layout="strided"),
        operator_case("a sum's gradient: one number, expanded", 5, upstream="expanded"),
        operator_case("a first layer: x needs no gradient", 6, needs=["weight", "bias"]),
        operator_case("a frozen layer: only x needs one", 7, needs=["x"]),
        operator_case("no features come out", 8, columns=0),
    ],
    rtol=CLOSE,
    atol=CLOSE,
)
def registered(case: dict, rng: np.random.Generator) -> Plain:
    """Result, gradients and what was kept; which kernels were called, and with what."""
    calls: list[str] = []
    layer = _operator(calls)
    inputs = dict(zip(NAMES, _arguments(case, rng), strict=True))
    for name in case["needs"]:
        inputs[name].requires_grad_()
    kept: list[list[int]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(list(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = layer(*inputs.values())
    forward = list(calls)
    calls.clear()
    upstream = sample_tensor(rng.standard_normal(tuple(result.shape)))
    if case["upstream"] == "expanded":
        upstream = torch.ones(()).expand(result.shape)
    result.backward(upstream)
    return {
        "result": result.detach().numpy(),
        "gradients": {n: None if t.grad is None else t.grad.numpy() for n, t in inputs.items()},
        "kept": sorted(kept),
        "kernels in forward": forward,
        "kernels in backward": sorted(calls),
    }


@probe("3.6 register", cases=[Case("which devices")])
def registered_devices(case: dict, rng: np.random.Generator) -> Plain:
    """For which devices a function was registered."""
    name = _operator([])._opoverload.name()
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return {key: bool(has(name, key)) for key in ("CPU", "CUDA")}


def _operator(calls: list[str]) -> Any:
    """Lab 2's operator with kernels that are PyTorch's calls and write down how they are called."""

    def note(name: str, *tensors: Tensor) -> None:
        matrices = all(t.is_contiguous() and t.dim() == 2 for t in tensors if t.dim() != 1)
        calls.append(f"{name} with {'contiguous matrices' if matrices else 'other tensors'}")

    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        note(f"forward(keep={bool(keep)})", x, weight, bias)
        z = F.linear(x, weight, bias)
        below = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return z * below, below + z * density if keep else None

    def gradient_of_x(upstream: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
        note("gradient_of_x", upstream, slope, weight)
        return (upstream * slope) @ weight

    def gradient_of_weight(upstream: Tensor, slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        note("gradient_of_weight", upstream, slope, x)
        return (upstream * slope).T @ x, (upstream * slope).sum(0)

    made = define_linear_gelu(fresh_namespace())
    operator.register(made, Kernels(forward, gradient_of_x, gradient_of_weight))
    return made


def _arguments(case: dict, rng: np.random.Generator) -> list[Tensor]:
    return sample_arguments(case["leading"], case["inner"], case["columns"], case["layout"], rng)


def _layer(case: dict, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """x, weight, bias, and a slope or an upstream gradient."""
    rows, inner, columns = case["rows"], case["inner"], case["columns"]
    x, weight = rng.standard_normal((rows, inner)), rng.standard_normal((columns, inner))
    weight /= math.sqrt(max(inner, 1))
    bias, upstream = rng.standard_normal(columns), rng.standard_normal((rows, columns))
    return tuple(sample_tensor(values) for values in (x, weight, bias, upstream))


def _gradients(layer: tuple[Tensor, ...], rng: np.random.Generator, seen: list[Launch]) -> Plain:
    x, weight, _, upstream = layer
    slope = sample_tensor(rng.standard_normal(tuple(upstream.shape)))
    kernels = operator.make_kernels("all", seen)
    by_x = kernels.gradient_of_x(upstream, slope, weight)
    by_weight, by_bias = kernels.gradient_of_weight(upstream, slope, x)
    return {"x": by_x.numpy(), "weight": by_weight.numpy(), "bias": by_bias.numpy()}


def _counts(seen: list[Launch]) -> Plain:
    return {
        launch.kernel: {
            "read": launch.total("global", "read").sectors,
            "written": launch.total("global", "write").sectors,
            "passes": launch.total("shared").wavefronts,
            "conflicts": launch.total("shared").bank_conflicts,
        }
        for launch in seen
    }


def _named(value: Plain) -> dict[str, dict[str, int]]:
    if not isinstance(value, dict):
        raise TypeError("expected the counts of kernels")
    return value
