"""Probes of 3.2: whose array it is, GELU for arrays of every module, the cost model, the kernel."""

from typing import Any

import numpy as np

from aisys.course import Case, Difference, Plain, probe
from aisys.cuda import array_module, counted
from aisys.cuda.array_module import Machine
from aisys.cuda.counted import Operation, counting
from aisys.cuda.devices import launch
from aisys.cuda.emulator import Launch

from .threads import few_sectors, grid_case, traffic

SECONDS = 10.0
"""Compiling is among it."""
CLOSE = 1e-5
"""Tolerance, relative and absolute, of float32 numbers of size 1: a dozen operations."""
MOST_LAUNCHES = 10

ARGUMENTS: dict[str, Any] = {
    "numpy": np.ones(3), "numpy float32": np.ones((2, 2), np.float32),
    "counted": counted.asarray([1.0]), "counted float32": counted.asarray([1.0], np.float32),
    "int": 2, "float": 0.5, "numpy scalar": np.float64(1.5), "list": [1.0], "str": "x",
}  # fmt: skip
"""What `get_array_module` is given, by the names that cases use."""


def module_case(name: str, *arguments: str) -> Case:
    """A case of `get_array_module`: names of `ARGUMENTS`."""
    return Case(name, {"arguments": list(arguments)})


def gelu_case(name: str, seed: int, module: str, dtype: str, *shape: int, size: float = 2) -> Case:
    """A case of `gelu`: random numbers of this size in an array of this module, dtype, shape."""
    inputs = {"module": module, "dtype": dtype, "shape": list(shape), "size": size}
    return Case(name, inputs, seed)


def gain_case(
    name: str, operations: list[list[int]], fused_bytes: int, overhead: float,
    bandwidth: float = 1e12, peak: float = 1e13,
) -> Case:  # fmt: skip
    """A case of `fusion_gain`: operations as pairs of bytes and flops."""
    inputs = {"operations": operations, "fused_bytes": fused_bytes, "overhead": overhead}
    return Case(name, {**inputs, "bandwidth": bandwidth, "peak": peak})


@probe(
    "3.2 get_array_module",
    cases=[
        module_case("one array of NumPy", "numpy"),
        module_case("one of `counted`", "counted"),
        module_case("a number first", "int", "counted", "float"),
        module_case("a number of NumPy and an array of `counted`", "numpy scalar", "counted"),
        module_case("numbers only", "int", "numpy scalar"),
        module_case("nothing"),
        module_case("a mixture", "numpy", "counted"),
        module_case("a mixture in the other order", "counted", "float", "numpy"),
        module_case("a list", "numpy", "list"),
    ],
)
def get_array_module_names(case: dict, rng: np.random.Generator) -> Plain:
    """The module's name, or the error's type."""
    try:
        module = array_module.get_array_module(*(ARGUMENTS[name] for name in case["arguments"]))
    except TypeError as error:
        return {"error": type(error).__name__}
    return module.__name__


@probe(
    "3.2 gelu",
    cases=[
        gelu_case("an array of NumPy", 1, "numpy", "float64", 5),
        gelu_case("an array of `counted`", 2, "counted", "float64", 2, 3),
        gelu_case("float32 of NumPy", 3, "numpy", "float32", 7),
        gelu_case("float32 of `counted`", 4, "counted", "float32", 3, 4),
        gelu_case("large numbers", 5, "counted", "float64", 6, size=15),
        gelu_case("no elements", 6, "counted", "float32", 0),
    ],
    rtol=CLOSE,
    atol=CLOSE,
)
def gelu_module_values(case: dict, rng: np.random.Generator) -> Plain:
    """Values, dtype and module of the result, and whether the argument is as it was."""
    values = (case["size"] * rng.standard_normal(case["shape"])).astype(case["dtype"])
    x = _array(case["module"], values)
    y = array_module.gelu(x)
    return {
        "module": type(y).__module__,
        "dtype": str(y.dtype),
        "values": _host(y),
        "argument unchanged": bool((_host(x) == values).all()),
    }


def few_launches(got: Plain, expected: Plain) -> Difference | None:
    """A verdict: at most `MOST_LAUNCHES`, but some."""
    launches = _launches(got)
    if 0 < launches <= MOST_LAUNCHES:
        return None
    return Difference("launches", f"{launches} launches; expected 1 to {MOST_LAUNCHES}.")


@probe(
    "3.2 gelu",
    cases=[gelu_case("100 elements of `counted`", 7, "counted", "float32", 100)],
    verdict=few_launches,
)
def gelu_launches(case: dict, rng: np.random.Generator) -> Plain:
    """How many launches it takes."""
    x = _array("counted", rng.standard_normal(case["shape"]).astype(case["dtype"]))
    with counting() as operations:
        array_module.gelu(x)
    return {"launches": len(operations)}


@probe(
    "3.2 fusion_gain",
    cases=[
        gain_case("eight launches, few elements", [[800, 100]] * 8, 800, 4e-6),
        gain_case(
            "eight launches, many elements", [[800_000_000, 100_000_000]] * 8, 8 * 10**8, 4e-6
        ),
        gain_case("one launch", [[12_000_000, 1_000_000]], 12_000_000, 5e-6),
        gain_case("much arithmetic", [[8_000_000, 90_000_000]] * 9, 8 * 10**6, 2e-6),
        gain_case("a reduction among them", [[8000, 1000], [4004, 1000], [8004, 1000]], 8000, 3e-6),
    ],
)
def fusion_gain_values(case: dict, rng: np.random.Generator) -> Plain:
    """What the model says."""
    operations = [Operation("operator", moved, flops) for moved, flops in case["operations"]]
    machine = Machine(case["overhead"], case["bandwidth"], case["peak"])
    return array_module.fusion_gain(operations, case["fused_bytes"], machine)


@probe(
    "3.2 gelu_fused",
    cases=[
        grid_case("a thread for each of 256 elements", 1, 256, 2, 128),
        grid_case("1,000 elements, 64 threads", 2, 1000, 2, 32),
        grid_case("more threads than elements", 3, 40, 3, 64),
        grid_case("one element", 4, 1, 1, 32),
    ],
    rtol=CLOSE,
    atol=CLOSE,
    seconds=SECONDS,
)
def gelu_fused_values(case: dict, rng: np.random.Generator) -> Plain:
    """GELU of random numbers, with NaN where nothing was written."""
    return _gelu_fused(case, rng)[0]


@probe(
    "3.2 gelu_fused",
    cases=[grid_case("2,048 elements, 4 blocks of 128 threads", 5, 2048, 4, 128)],
    verdict=few_sectors,
    seconds=SECONDS,
)
def gelu_fused_sectors(case: dict, rng: np.random.Generator) -> Plain:
    """Requests and sectors."""
    return traffic(_gelu_fused(case, rng)[1])


def _gelu_fused(case: dict, rng: np.random.Generator) -> tuple[np.ndarray, Launch]:
    n = case["n"]
    x = 2.5 * rng.standard_normal(n, np.float32)
    y = np.full(n, np.nan, np.float32)
    return y, launch(array_module.gelu_fused, case["grid"], case["block"], x, y, n)


def _array(module: str, values: np.ndarray) -> Any:
    return values.copy() if module == "numpy" else counted.asarray(values)


def _host(array: Any) -> np.ndarray:
    return counted.asnumpy(array) if isinstance(array, counted.ndarray) else np.asarray(array)


def _launches(value: Plain) -> int:
    if not isinstance(value, dict) or not isinstance(value.get("launches"), int):
        raise TypeError("expected a number of launches")
    return value["launches"]
