"""Probes of 2.3: values and gradients of functions with steps, at and between their steps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aisys.course import Case, Plain, probe
from aisys.operators.checks.evaluation import arrays, drawn, passed_back
from aisys.operators.straight_through import Quantize, ReLU, Sign, quantize_weight


def step_case(name: str, seed: int, size: float, step: float, levels: int) -> Case:
    """A case of Quantize: random numbers of a size."""
    return Case(name, {"size": size, "step": step, "levels": levels, "numbers": []}, seed)


def exact_case(name: str, seed: int, numbers: Sequence[float], **inputs: object) -> Case:
    """A case with given numbers, such as those on the border between two levels."""
    return Case(name, {"numbers": list(numbers), **inputs}, seed)


def tensor_of(case: dict, rng: np.random.Generator) -> Tensor:
    """The given numbers of a case, or random ones [3, 4] that lie oddly in memory."""
    if case["numbers"]:
        return torch.tensor(case["numbers"], dtype=torch.float64)
    return drawn(rng, (3, 4), "transposed") * case["size"]


STEPS = [
    step_case("within the levels", 1, 1.0, 0.5, 7),
    step_case("many beyond the levels", 2, 3.0, 0.5, 2),
    exact_case("half-way between levels", 3, [0.25, 0.75, -0.25, -1.25, 0], step=0.5, levels=7),
    exact_case(
        "around the outermost level", 4, [0.99, 1, 1.01, 1.24, 1.26, -1.24, -9], step=0.5, levels=2
    ),
]


@probe("2.3 Quantize", cases=STEPS)
def quantized_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return arrays(Quantize.apply(tensor_of(case, rng), case["step"], case["levels"]))


@probe("2.3 Quantize", cases=STEPS)
def quantized_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns for x and the two numbers."""
    x = tensor_of(case, rng).requires_grad_()
    result = Quantize.apply(x, case["step"], case["levels"])
    return passed_back(Quantize, result, drawn(rng, x.shape))


SIGNS = [
    exact_case("random numbers", 1, [], size=1.0),
    exact_case("0 and tiny numbers", 2, [0.0, 1e-300, -1e-300]),
    exact_case("around 1 and -1", 3, [1.0, -1.0, 1.001, -1.001, 0.999, 50.0]),
]


@probe("2.3 Sign", cases=SIGNS)
def sign_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward."""
    return arrays(Sign.apply(tensor_of(case, rng)))


@probe("2.3 Sign", cases=SIGNS)
def sign_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """What backward returns."""
    x = tensor_of(case, rng).requires_grad_()
    return passed_back(Sign, Sign.apply(x), drawn(rng, x.shape))


@probe(
    "2.3 ReLU",
    cases=[
        exact_case("random numbers", 1, [], size=1.0, slope=0.0),
        exact_case("zeros, slope 0", 2, [0.0, -1.0, 2.0, 0.0], slope=0.0),
        exact_case("zeros, slope 1", 3, [0.0, -1.0, 2.0, 0.0], slope=1.0),
        exact_case("zeros, slope 0.5", 4, [3.0, 0.0, -2.0], slope=0.5),
    ],
)
def relu_halves(case: dict, rng: np.random.Generator) -> Plain:
    """The result of forward, and what backward returns for x and the slope."""
    x = tensor_of(case, rng).requires_grad_()
    result = ReLU.apply(x, case["slope"])
    return {
        "result": arrays(result),
        "backward": passed_back(ReLU, result, drawn(rng, x.shape)),
    }


def bits_case(
    name: str, seed: int, bits: int, shape: Sequence[int] = (3, 5), zero: bool = False
) -> Case:
    """A case of quantize_weight."""
    return Case(name, {"bits": bits, "shape": list(shape), "zero": zero}, seed)


@probe(
    "2.3 quantize_weight",
    cases=[
        bits_case("1 bit", 1, 1),
        bits_case("2 bits", 2, 2),
        bits_case("4 bits", 3, 4),
        bits_case("all weights 0, 3 bits", 4, 3, zero=True),
    ],
)
def weights_in_bits(case: dict, rng: np.random.Generator) -> Plain:
    """The weights, and the gradient that arrives at the weights they were made from."""
    bits, shape = case["bits"], tuple(case["shape"])
    # The largest is a power of two times the number of levels, so that no rounding of the step
    # decides on which side of a border a weight lies.
    largest = 0.25 * max(2 ** (bits - 1) - 1, 1)
    values = largest * rng.uniform(-0.98, 0.98, shape)
    values.flat[rng.integers(values.size)] = largest * rng.choice([-1, 1])
    weight = torch.from_numpy(0 * values if case["zero"] else values).requires_grad_()
    made = quantize_weight(weight, bits)
    gradients = torch.autograd.grad(made, weight, drawn(rng, shape), allow_unused=True)
    return {"weight": arrays(made), "gradient": arrays(gradients[0])}
