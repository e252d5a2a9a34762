"""Probes of 2.6: what the registered operator does when PyTorch's own machinery calls it."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aisys.course import Case, Plain, probe
from aisys.course.errors import Hole
from aisys.operators.citizenship import (
    add_batching,
    add_fake,
    add_gradient,
    add_precision,
    define_linear_gelu,
    fresh_namespace,
)

NAMES = ("x", "weight", "bias")
COMPILE_SECONDS = 10.0


def layer_case(name: str, seed: int, **inputs: object) -> Case:
    """A case of a layer; what is left out is as here."""
    default = {"leading": [3], "in_features": 4, "out_features": 5}
    return Case(name, {**default, **inputs}, seed)


def warm_up() -> None:
    """Import the compiler and compile something: the first time takes long."""
    import torch._dynamo
    import torch.testing._internal.optests  # what opcheck imports

    torch.compile(lambda x: x.sin() + 1, backend="aot_eager", fullgraph=True)(torch.zeros(2))
    torch._dynamo.reset()


@probe(
    "2.6 define_linear_gelu",
    cases=[
        layer_case("3 rows", 1),
        layer_case("a batch of 2 x 3 rows", 2, leading=[2, 3]),
        layer_case("one row, no batch", 3, leading=[]),
        layer_case("no rows", 4, leading=[0]),
    ],
)
def define_values(case: dict, rng: np.random.Generator) -> Plain:
    """The schema, and the result on random numbers."""
    operator = _fresh(define_linear_gelu)
    schema = str(operator._opoverload._schema).partition("::")[2]
    return {"schema": schema, "result": operator(*_layer(case, rng)).numpy()}


@probe(
    "2.6 define_linear_gelu",
    cases=[
        Case("weight with 3 columns", {"argument": "weight", "shape": [5, 3]}),
        Case("bias with 4 elements", {"argument": "bias", "shape": [4]}),
    ],
)
def define_refused(case: dict, rng: np.random.Generator) -> Plain:
    """The kind of error for an argument that does not fit x [3, 4], weight [5, 4], bias [5]."""
    shapes = {"x": [3, 4], "weight": [5, 4], "bias": [5], case["argument"]: case["shape"]}
    operator = _fresh(define_linear_gelu)
    return _error(lambda: operator(*(torch.zeros(shapes[name]) for name in NAMES)))


@probe(
    "2.6 add_fake",
    cases=[
        layer_case("3 rows", 1),
        layer_case("a batch of 2 x 3 rows of float32", 2, leading=[2, 3], dtype="float32"),
        layer_case("no features come out", 3, out_features=0),
    ],
)
def fake_shapes(case: dict, rng: np.random.Generator) -> Plain:
    """Shape and dtype of the result for fake tensors."""
    operator = _fresh(define_linear_gelu, add_fake)
    dtype = getattr(torch, case.get("dtype", "float64"))
    with FakeTensorMode() as mode:
        arguments = [mode.from_tensor(tensor.to(dtype)) for tensor in _layer(case, rng)]
        result = operator(*arguments)
    kind = "fake" if isinstance(result, torch._subclasses.FakeTensor) else "real"
    return {"shape": list(result.shape), "dtype": str(result.dtype), "tensor": kind}


@probe("2.6 add_fake", cases=[layer_case("3 rows", 1)], seconds=COMPILE_SECONDS)
def compiled_values(case: dict, rng: np.random.Generator) -> Plain:
    """The operator between two others, compiled as one graph: result, number of graphs."""
    operator = _fresh(define_linear_gelu, add_fake)
    counter = _counting()

    def block(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return operator(x * 2, weight, bias) + 1

    with _compiler():
        compiled = torch.compile(block, backend=counter, fullgraph=True)
        result = compiled(*_layer(case, rng))
    return {"result": result.numpy(), "graphs": counter.frame_count}


@probe("2.6 add_fake", cases=[layer_case("3 rows, then 7", 1)], seconds=COMPILE_SECONDS)
def exported_values(case: dict, rng: np.random.Generator) -> Plain:
    """The operator in a program of `torch.export` whose batch may have any size."""
    operator = _fresh(define_linear_gelu, add_fake)
    x, weight, bias = _layer(case, rng)

    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return operator(x, weight, bias)

    with _compiler():
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(Layer(), (x,), dynamic_shapes={"x": {0: batch}})
        more = _tensor(rng, (7, case["in_features"]))
        targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        return {
            "operators": [target.split(".")[1] for target in targets],
            "result": program.module()(more).numpy(),
        }


@probe(
    "2.6 add_gradient",
    cases=[
        layer_case("3 rows", 1),
        layer_case("a batch of 2 x 3 rows", 2, leading=[2, 3]),
        layer_case("one row, no batch", 3, leading=[]),
        layer_case("no rows", 4, leading=[0]),
        layer_case("only bias needs one", 5, needs=["bias"]),
        layer_case("x needs none", 6, needs=["weight", "bias"]),
    ],
)
def registered_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """The gradients of a random upstream gradient, and what was kept for them."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient)
    layer = dict(zip(NAMES, _layer(case, rng), strict=True))
    for name in case.get("needs", NAMES):
        layer[name].requires_grad_()
    kept: list[list[int]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(list(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = operator(*layer.values())
    result.backward(_tensor(rng, tuple(result.shape)))
    gradients = {n: None if t.grad is None else t.grad.numpy() for n, t in layer.items()}
    return {"gradients": gradients, "kept": sorted(kept)}


@probe("2.6 add_gradient", cases=[layer_case("3 rows", 1)], seconds=COMPILE_SECONDS)
def checked_by_opcheck(case: dict, rng: np.random.Generator) -> Plain:
    """What `torch.library.opcheck` says of schema, registrations, fake tensors and compilation."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient)
    arguments = tuple(tensor.requires_grad_() for tensor in _layer(case, rng))
    with _compiler():
        results = torch.library.opcheck(
            operator._opoverload, arguments, raise_exception=False, atol=1e-9, rtol=1e-9
        )
    return {name: "SUCCESS" if said == "SUCCESS" else "failed" for name, said in results.items()}


@probe("2.6 add_gradient", cases=[layer_case("3 rows", 2)], seconds=COMPILE_SECONDS)
def compiled_gradients(case: dict, rng: np.random.Generator) -> Plain:
    """Gradients of a compiled function with the operator in it, and the number of graphs."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient)
    counter = _counting()
    arguments = [tensor.requires_grad_() for tensor in _layer(case, rng)]
    with _compiler():
        compiled = torch.compile(
            lambda *layer: operator(*layer).square().sum(), backend=counter, fullgraph=True
        )
        compiled(*arguments).backward()
    gradients = [None if tensor.grad is None else tensor.grad.numpy() for tensor in arguments]
    return {"gradients": gradients, "graphs": counter.frame_count}


@probe(
    "2.6 add_batching",
    cases=[
        layer_case("a batch of rows", 1, leading=[], axes=[0, None, None]),
        layer_case("the batch's axis is the last one", 2, leading=[2], axes=[2, None, None]),
        layer_case("a layer for each element", 3, leading=[2], axes=[0, 0, 0]),
        layer_case("one x, several layers", 4, leading=[], axes=[None, 1, 0]),
        layer_case("a weight for each, one bias", 5, leading=[3, 2], axes=[1, 2, None]),
        layer_case("a bias for each", 6, leading=[2], axes=[None, None, 1]),
    ],
)
def batched_values(case: dict, rng: np.random.Generator) -> Plain:
    """The operator under vmap, with the batch's axes where the case says."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient, add_batching)
    batch = 3
    arguments = []
    for tensor, axis in zip(_layer(case, rng), case["axes"], strict=True):
        if axis is not None:
            tensor = _tensor(rng, (batch, *tensor.shape)).movedim(0, axis)
        arguments.append(tensor)
    return torch.vmap(operator, in_dims=tuple(case["axes"]))(*arguments).numpy()


@probe("2.6 add_batching", cases=[Case("64 layers", {"batch": 64})])
def batched_calls(case: dict, rng: np.random.Generator) -> Plain:
    """Whether a larger batch takes more operators, which is a loop over it."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient, add_batching)

    def calls(batch: int) -> int:
        arguments = [torch.zeros(batch, *shape) for shape in ((2, 3), (4, 3), (4,))]
        with _Counting() as counting:
            torch.vmap(operator)(*arguments)
        return counting.calls

    return {"more for a larger batch": calls(case["batch"]) > calls(2)}


@probe(
    "2.6 add_precision",
    cases=[
        Case("float32 arguments", {"dtypes": ["float32", "float32", "float32"]}),
        Case("x of bfloat16", {"dtypes": ["bfloat16", "float32", "float32"]}),
    ],
)
def precision_of_results(case: dict, rng: np.random.Generator) -> Plain:
    """The dtype of the result inside and outside of autocast, and that of the gradients."""
    operator = _fresh(define_linear_gelu, add_fake, add_gradient, add_precision)
    shapes = ((3, 4), (5, 4), (5,))
    arguments = [
        torch.ones(shape, dtype=getattr(torch, dtype), requires_grad=True)
        for shape, dtype in zip(shapes, case["dtypes"], strict=True)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        result = operator(*arguments)
    result.float().sum().backward()
    outside = operator(*(torch.ones(shape) for shape in shapes))
    gradients = [None if tensor.grad is None else str(tensor.grad.dtype) for tensor in arguments]
    return {"inside": str(result.dtype), "outside": str(outside.dtype), "gradients": gradients}


@probe("2.6 add_precision", cases=[Case("which devices")])
def precision_by_device(case: dict, rng: np.random.Generator) -> Plain:
    """For which devices a rule was registered."""
    name = _fresh(define_linear_gelu, add_precision)._opoverload.name()
    keys = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA"}
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return {device: bool(has(name, key)) for device, key in keys.items()}


class _Listening:
    """Takes every registration, and does nothing with it."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: given[0] if given else None


class _Counting(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operators that are called."""

    calls = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls += 1
        return function(*args, **(kwargs or {}))


def _fresh(define: Callable[[str], Any], *others: Callable[[Any], None]) -> Any:
    """An operator with only these registrations, in a fresh namespace.

    The last one is the exercise that is probed: where it is not written, it says so first.
    """
    for add in others[-1:]:
        try:
            add(_Listening())
        except (Hole, NotImplementedError):
            raise
        except Exception:  # it wants more of an operator than this one has
            pass
    operator = define(fresh_namespace())
    for add in others:
        add(operator)
    return operator


@contextlib.contextmanager
def _compiler() -> Any:
    """The compiler without what it remembers of earlier runs, and without its warnings."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


def _counting() -> Any:
    from torch._dynamo.testing import CompileCounterWithBackend

    return CompileCounterWithBackend("aot_eager")


def _layer(case: dict, rng: np.random.Generator) -> list[Tensor]:
    """Random x, weight and bias of float64."""
    inner, columns = case["in_features"], case["out_features"]
    shapes = [(*case["leading"], inner), (columns, inner), (columns,)]
    return [_tensor(rng, shape) for shape in shapes]


def _tensor(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rng.standard_normal(shape)))


def _error(call: Callable[[], Any]) -> Plain:
    try:
        call()
    except Exception as error:
        return {"error": type(error).__name__}
    return {"error": "none"}
