"""Probes of 2.8: Amdahl's law on random profiles, and graphs after the operator was placed."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from aisys.course import Case, Plain, probe
from aisys.operators.placement import TransformerBlock, place_linear_gelu, predict_speedup


def _pair(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight, bias)) + 1


def _two_pairs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(F.gelu(F.linear(x, weight, bias)), weight, bias))


def _used_twice(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    before = F.linear(x, weight, bias)
    return F.gelu(before) + before


def _approximate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def _exact_by_name(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight, bias), approximate="none").sin()


def _no_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight)) * bias


def _bias_none(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight, None)) * bias


def _by_keyword(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(F.linear(x, weight=weight, bias=bias)).cos()


def _other_activation(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x) + F.relu(F.linear(x, weight, bias))


def _mixture(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    kept = F.linear(x, weight, bias)
    inner = F.gelu(F.linear(F.gelu(kept) * kept, weight, bias=bias))
    return F.gelu(F.linear(inner, weight)) + inner


PROGRAMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "pair": _pair,
    "two pairs": _two_pairs,
    "used twice": _used_twice,
    "approximate": _approximate,
    "exact by name": _exact_by_name,
    "no bias": _no_bias,
    "bias None": _bias_none,
    "by keyword": _by_keyword,
    "other activation": _other_activation,
    "mixture": _mixture,
}


def speedup_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of the prediction: so many kinds of operators, of which some are replaced."""
    default = {"kinds": 4, "replaced": 1, "factor": 2.0, "overhead": 0.0}
    return Case(name, {**default, **inputs}, seed)


@probe(
    "2.8 predict_speedup",
    cases=[
        speedup_case("one of four kinds, twice as fast", 1),
        speedup_case("two of five, ten times as fast", 2, kinds=5, replaced=2, factor=10.0),
        speedup_case("with an overhead", 3, overhead=0.25),
        speedup_case("slower than before", 4, factor=0.5),
        speedup_case("everything is replaced", 5, kinds=2, replaced=2, factor=4.0),
    ],
)
def predicted(case: dict, rng: np.random.Generator) -> Plain:
    """The prediction for random times."""
    seconds = {f"kind {n}": float(rng.uniform(0.5, 2)) for n in range(case["kinds"])}
    replaced = list(seconds)[: case["replaced"]]
    return predict_speedup(seconds, replaced, case["factor"], case["overhead"])


@probe(
    "2.8 place_linear_gelu",
    cases=[Case(name, {"program": name}, seed) for seed, name in enumerate(PROGRAMS)],
)
def placed(case: dict, rng: np.random.Generator) -> Plain:
    """The functions that a small graph calls afterwards, how often the operator ran, its result."""
    x, weight, bias = (_tensor(rng, shape) for shape in ((3, 4), (4, 4), (4,)))
    return _after(fx.symbolic_trace(PROGRAMS[case["program"]]), [x, weight, bias])


@probe(
    "2.8 place_linear_gelu",
    cases=[Case("a transformer block", {"layers": 1}), Case("two blocks", {"layers": 2})],
)
def placed_in_blocks(case: dict, rng: np.random.Generator) -> Plain:
    """The same for transformer blocks, one after the other."""
    blocks = nn.Sequential(*(TransformerBlock(8, 2, seed) for seed in range(case["layers"])))
    return _after(_Through().traced(blocks.double()), [_tensor(rng, (2, 3, 8))])


class _Through(fx.Tracer):
    """Traces through the modules of this course, up to their functions."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return False

    def traced(self, module: nn.Module) -> fx.GraphModule:
        return fx.GraphModule(module, self.trace(module))


def _after(module: fx.GraphModule, arguments: list[Tensor]) -> Plain:
    calls = 0

    def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.gelu(F.linear(x, weight, bias))

    count = place_linear_gelu(module, linear_gelu)
    with torch.no_grad():
        result = module(*arguments).numpy()
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "call_method")]
    names = [getattr(node.target, "__name__", str(node.target)) for node in nodes]
    return {"returned": count, "functions": names, "operator ran": calls, "result": result}


def _tensor(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rng.standard_normal(shape)))
