"""Probes of 2.2: both halves of the three functions, for inputs of every size, in float64.

A small number is as good as its digits, not as its distance from the right one, so the probes
return its logarithm besides: 0 in the place of 4e-18 is far off.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisys.course import Case, Plain, probe
from aisys.operators.checks.evaluation import arrays, drawn, passed_back
from aisys.operators.stability import LogSumExp, SigmoidCrossEntropy, Softplus


def range_case(name: str, seed: int, low: float, high: float, **inputs: object) -> Case:
    """A case of numbers between two bounds; equal bounds give that number."""
    return Case(name, {"low": low, "high": high, "count": 5, **inputs}, seed)


def numbers(case: dict, rng: np.random.Generator) -> Tensor:
    """The numbers of a case; a bound may be infinite where both are."""
    low, high = case["low"], case["high"]
    if low == high:
        return torch.full((case["count"],), low, dtype=torch.float64)
    return torch.from_numpy(rng.uniform(low, high, case["count"]))


def with_sizes(numbers: Any) -> Plain:
    """Arrays, alone or in a list, and the logarithms of their elements without sign."""
    if isinstance(numbers, list):
        return [each if each is None else with_sizes(each) for each in numbers]
    if not isinstance(numbers, np.ndarray):
        return numbers
    return {"result": numbers, "size (logarithm)": np.log(np.abs(numbers))}


SOFTPLUS = [
    range_case("between -3 and 3", 1, -3, 3),
    range_case("0", 2, 0, 0, count=1),
    range_case("between 20 and 30", 3, 20, 30),
    range_case("about 1,000", 4, 900, 1100),
    range_case("about -40", 5, -41, -39),
    range_case("about -300", 6, -310, -290),
    range_case("infinite", 7, float("inf"), float("inf"), count=1),
]


@probe("2.2 Softplus", rtol=1e-12, atol=1e-12, cases=SOFTPLUS)
def softplus_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return with_sizes(arrays(Softplus.apply(numbers(case, rng))))


@probe("2.2 Softplus", rtol=1e-12, atol=1e-12, cases=SOFTPLUS)
def softplus_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns."""
    x = numbers(case, rng).requires_grad_()
    return with_sizes(passed_back(Softplus, Softplus.apply(x), drawn(rng, x.shape)))


def sum_case(name: str, seed: int, shape: Sequence[int], dim: int, **inputs: object) -> Case:
    """A case of log-sum-exp: random numbers of a shape and size, some places hidden by -inf."""
    more = {"size": 1.0, "offsets": 0.0, "hidden": "none", **inputs}
    return Case(name, {"shape": list(shape), "dim": dim, **more}, seed)


SUMS = [
    sum_case("two rows of three", 1, [2, 3], -1),
    sum_case("along the first axis of a square", 2, [3, 3], 0),
    sum_case("of size 1,000", 3, [3, 4], 1, size=1e3),
    sum_case("rows 10,000 apart", 4, [3, 4], 1, offsets=1e4),
    sum_case("some elements hidden", 5, [2, 4], -1, hidden="some"),
    sum_case("a row hidden as a whole", 6, [3, 4], -1, hidden="a row"),
]


def rows(case: dict, rng: np.random.Generator) -> Tensor:
    """The numbers of a case of log-sum-exp, the axis that is summed over moved to its place."""
    shape = list(case["shape"])
    length = shape.pop(case["dim"])
    x = case["size"] * rng.standard_normal((*shape, length))
    x += case["offsets"] * rng.permutation(int(np.prod(shape))).reshape(*shape, 1)
    if case["hidden"] == "some":
        x[..., rng.integers(length)] = -np.inf
    if case["hidden"] == "a row":
        x[0] = -np.inf
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, case["dim"])))


@probe("2.2 LogSumExp", rtol=1e-11, atol=1e-12, cases=SUMS)
def sum_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return arrays(LogSumExp.apply(rows(case, rng), case["dim"]))


@probe("2.2 LogSumExp", rtol=1e-9, atol=1e-12, cases=SUMS)
def sum_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns for x and for dim."""
    x = rows(case, rng).requires_grad_()
    result = LogSumExp.apply(x, case["dim"])
    return passed_back(LogSumExp, result, drawn(rng, result.shape))


LOSSES = [
    range_case("between -3 and 3, targets between 0 and 1", 1, -3, 3, target=None),
    range_case("about 40, target 1", 2, 39, 41, target=1.0),
    range_case("about -40, target 0", 3, -41, -39, target=0.0),
    range_case("about -1,000, target 1", 4, -1100, -900, target=1.0),
    range_case("about 1,000, target 0", 5, 900, 1100, target=0.0),
    range_case("0, targets between 0 and 1", 6, 0, 0, target=None),
]


def logits_and_targets(case: dict, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Logits of a case, and its targets; random ones where the case gives none."""
    logits, target = numbers(case, rng), case["target"]
    drawn_targets = rng.uniform(0.1, 0.9, case["count"])
    targets = drawn_targets if target is None else np.full(case["count"], target)
    return logits, torch.from_numpy(targets)


@probe("2.2 SigmoidCrossEntropy", rtol=1e-11, atol=1e-11, cases=LOSSES)
def loss_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return with_sizes(arrays(SigmoidCrossEntropy.apply(*logits_and_targets(case, rng))))


@probe(
    "2.2 SigmoidCrossEntropy",
    rtol=1e-11,
    atol=1e-11,
    cases=[
        *LOSSES,
        range_case("targets that need a gradient", 7, -3, 3, target=None, needs_targets=True),
    ],
)
def loss_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns for logits and targets."""
    logits, targets = logits_and_targets(case, rng)
    targets.requires_grad_(case.get("needs_targets", False))
    result = SigmoidCrossEntropy.apply(logits.requires_grad_(), targets)
    return with_sizes(passed_back(SigmoidCrossEntropy, result, drawn(rng, logits.shape)))
