"""Probes of 2.7: what the compiled texts return, and what can be counted of how they do it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from aisys.course import Case, Difference, Plain, probe
from aisys.course.compiling import Built
from aisys.operators import cpp
from aisys.operators.layer_samples import sample_arguments, sample_tensor

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 3e-6
"""Tolerance, relative and absolute, of float32 numbers of size 1: sums of few products."""
TWICE = 2.0


def matrix_case(name: str, seed: int, rows: int, columns: int, **inputs: object) -> Case:
    """A case of the row loops: a matrix of this size."""
    return Case(name, {"rows": rows, "columns": columns, **inputs}, seed)


def product_case(name: str, seed: int, rows: int, inner: int, columns: int) -> Case:
    """A case of the product: x [rows, inner], weight [columns, inner]."""
    return Case(name, {"rows": rows, "inner": inner, "columns": columns}, seed)


def operator_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of the operator; what is left out is as here."""
    default = {"leading": [3], "in_features": 4, "out_features": 5, "layout": "contiguous"}
    return Case(name, {**default, **inputs}, seed)


def refused_case(name: str, argument: str, shape: list[int], dtype: str = "float32") -> Case:
    """A case in which one argument of x [3, 4], weight [5, 4], bias [5] is replaced."""
    return Case(name, {"argument": argument, "shape": shape, "dtype": dtype})


@probe(
    "2.7 gelu_rows",
    cases=[
        matrix_case("2 rows of 5", 1, 2, 5),
        matrix_case("rows of 37, no vector's multiple", 2, 3, 37),
        matrix_case("large numbers", 3, 2, 19, size=8.0),
        matrix_case("without the slope", 4, 2, 21, slope=False),
        matrix_case("no rows", 5, 0, 4),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def gelu_rows_values(case: dict, rng: np.random.Generator) -> Plain:
    """Value and slope of random numbers."""
    product = case.get("size", 2.0) * rng.standard_normal((case["rows"], case["columns"]))
    bias = rng.standard_normal(case["columns"])
    value, slope = cpp.call_gelu_rows(product, bias, case.get("slope", True))
    return {"value": value, "slope": slope}


@probe("2.7 gelu_rows", cases=[Case("the loop along a row")], seconds=SECONDS)
def gelu_rows_vectorised(case: dict, rng: np.random.Generator) -> Plain:
    """Whether the compiler made vector instructions of a loop."""
    return _vectorised(cpp.build(cpp.gelu_rows), "gelu_rows.cpp")


@probe(
    "2.7 scale_and_sum",
    cases=[
        matrix_case("3 rows of 5", 1, 3, 5),
        matrix_case("rows of 37, no vector's multiple", 2, 4, 37),
        matrix_case("no rows", 3, 0, 4),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def scale_and_sum_values(case: dict, rng: np.random.Generator) -> Plain:
    """The product and the sums of random matrices."""
    shape = (case["rows"], case["columns"])
    result, sums = cpp.call_scale_and_sum(rng.standard_normal(shape), rng.standard_normal(shape))
    return {"result": result, "bias_gradient": sums}


@probe("2.7 scale_and_sum", cases=[Case("the loop along a row")], seconds=SECONDS)
def scale_and_sum_vectorised(case: dict, rng: np.random.Generator) -> Plain:
    """Whether the compiler made vector instructions of a loop."""
    return _vectorised(cpp.build(cpp.scale_and_sum), "scale_and_sum.cpp")


@probe(
    "2.7 blocked_product",
    cases=[
        product_case("one block, and no more", 1, 4, 8, 32),
        product_case("smaller than a block", 2, 3, 5, 7),
        product_case("5 x 6 times 6 x 70", 3, 5, 6, 70),
        product_case("no rows", 4, 0, 3, 40),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def blocked_product_values(case: dict, rng: np.random.Generator) -> Plain:
    """The product of random matrices, with elements of size 1."""
    x = rng.standard_normal((case["rows"], case["inner"]))
    weight = rng.standard_normal((case["columns"], case["inner"])) / np.sqrt(case["inner"])
    return cpp.call_blocked_product(x, weight)


def at_most_twice(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: as many misses as the reference, or up to twice as many."""
    misses, most = _count(got), int(TWICE * _count(expected))
    if misses <= most:
        return None
    return Difference("value", f"{misses:,} misses; at most {most:,} were expected.", "misses")


@probe(
    "2.7 blocked_product",
    cases=[product_case("16 x 96 times 96 x 96: 36 KB of weights", 1, 16, 96, 96)],
    verdict=at_most_twice,
    seconds=SECONDS,
)
def blocked_product_misses(case: dict, rng: np.random.Generator) -> Plain:
    """How often the cache did not have what the product read or wrote."""
    return {"misses": cpp.misses_of_product(case["rows"], case["inner"], case["columns"])}


@probe(
    "2.7 linear_gelu",
    cases=[
        operator_case("3 rows", 1),
        operator_case("a batch of 2 x 3 rows", 2, leading=[2, 3]),
        operator_case("one row, no batch", 3, leading=[]),
        operator_case("transposed and strided arguments", 4, layout="strided"),
        operator_case("no rows", 5, leading=[0]),
        operator_case("no features come out", 6, out_features=0),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def linear_gelu_values(case: dict, rng: np.random.Generator) -> Plain:
    """The result and the three gradients of a random upstream gradient."""
    x, weight, bias = (tensor.requires_grad_() for tensor in _arguments(case, rng))
    operator = cpp.load_operator()
    result = operator.linear_gelu(x, weight, bias)
    upstream = sample_tensor(rng.standard_normal(tuple(result.shape)))
    gradients = torch.autograd.grad(result, (x, weight, bias), upstream)
    value, slope = operator.linear_gelu_slope(x.detach(), weight.detach(), bias.detach())
    names = ("x", "weight", "bias")
    return {
        "result": result.detach().numpy(),
        "result with slope": value.numpy(),
        "slope": slope.numpy(),
        "gradients": {n: g.numpy() for n, g in zip(names, gradients, strict=True)},
    }


@probe("2.7 linear_gelu", cases=[Case("both operators")], seconds=SECONDS)
def linear_gelu_schema(case: dict, rng: np.random.Generator) -> Plain:
    """The schemas that were registered, without their namespace."""
    operator = cpp.load_operator()
    both = (operator.linear_gelu, operator.linear_gelu_slope)
    return [str(packet.default._schema).partition("::")[2] for packet in both]


@probe(
    "2.7 linear_gelu",
    cases=[
        refused_case("weight with 3 columns", "weight", [5, 3]),
        refused_case("bias too long", "bias", [6]),
        refused_case("bias of float64", "bias", [5], "float64"),
        refused_case("weight with one dimension", "weight", [4]),
        refused_case("x of integers", "x", [3, 4], "int64"),
    ],
    seconds=SECONDS,
)
def linear_gelu_refused(case: dict, rng: np.random.Generator) -> Plain:
    """The kind of error, and the argument that its sentence begins with."""
    shapes = {"x": [3, 4], "weight": [5, 4], "bias": [5]}
    dtypes = dict.fromkeys(shapes, "float32")
    shapes[case["argument"]], dtypes[case["argument"]] = case["shape"], case["dtype"]
    arguments = [
        torch.zeros(shape, dtype=getattr(torch, dtypes[name])) for name, shape in shapes.items()
    ]
    operator = cpp.load_operator()
    return [_refusal(f, arguments) for f in (operator.linear_gelu, operator.linear_gelu_slope)]


def _refusal(function: Callable[..., Any], arguments: list[torch.Tensor]) -> Plain:
    try:
        function(*arguments)
    except Exception as error:
        named = re.search(r"(?:^|\s)(\w+): expected", str(error))
        return {"error": type(error).__name__, "argument": named[1] if named else "none"}
    return {"error": "none", "argument": "none"}


def _arguments(case: dict, rng: np.random.Generator) -> list[torch.Tensor]:
    features = case["in_features"], case["out_features"]
    return sample_arguments(case["leading"], *features, case["layout"], rng)


def _vectorised(built: Built, name: str) -> Plain:
    """True, too, where the compiler does not say what it vectorised."""
    return {"vectorised": bool(cpp.vectorised_lines(built, name)) or not cpp.says_vectorised()}


def _count(value: Plain) -> int:
    if not isinstance(value, dict) or not isinstance(value.get("misses"), int):
        raise TypeError("expected a count of misses")
    return value["misses"]
