"""What the probes of autograd Functions share: tensors of any layout, and both halves at work."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aisys.course import Plain

PRODUCTS = {
    *("matmul", "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "inner"),
    *("outer", "ger", "vdot", "addr", "einsum", "tensordot", "linear", "bilinear", "chain_matmul"),
    *("linalg_multi_dot", "linalg_matmul", "linalg_vecdot"),
}
"""The names of PyTorch's functions that multiply matrices or vectors."""


def drawn(rng: np.random.Generator, shape: Sequence[int], layout: str = "contiguous") -> Tensor:
    """Random numbers as a float64 tensor of a layout.

    Args:
        rng: Where they come from.
        shape: The shape.
        layout: `"contiguous"`; `"transposed"` (the last two axes lie the other way round in
            memory); `"strided"` (every second element of the last axis of a larger tensor); or
            `"expanded"` (one number with strides of 0, as the gradient of a sum is).
    """
    if layout == "expanded":
        return torch.tensor(rng.standard_normal(), dtype=torch.float64).expand(*shape)
    if layout == "strided":
        return torch.from_numpy(rng.standard_normal((*shape[:-1], 2 * shape[-1])))[..., ::2]
    if layout == "transposed":
        turned = (*shape[:-2], shape[-1], shape[-2])
        return torch.from_numpy(rng.standard_normal(turned)).transpose(-1, -2)
    return torch.from_numpy(rng.standard_normal(tuple(shape)))


def arrays(made: Any) -> Plain:
    """Tensors as arrays, alone or in a list or tuple; None and numbers stay as they are."""
    if isinstance(made, (list, tuple)):
        return [arrays(each) for each in made]
    return made.detach().numpy() if isinstance(made, Tensor) else made


def passed_back(function: Any, result: Tensor, upstream: Tensor) -> Plain:
    """What a Function's backward returns for a result of its forward, exactly as it returns it.

    The engine of autograd would mend some of it: it sums a gradient that is too large.
    """
    with torch.no_grad():
        made = function.backward(result.grad_fn, upstream)
    return arrays(made if isinstance(made, (list, tuple)) else [made])


@contextlib.contextmanager
def kept_elements() -> Iterator[list[int]]:
    """Note the number of elements of each tensor that is saved for backward in this context."""
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield sizes


class CountProducts(TorchFunctionMode):
    """Counts the calls of functions that multiply matrices; what they call inside is not counted.

    Attributes:
        count: The number of calls so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function, and count it if it is one of PRODUCTS."""
        name = getattr(func, "__name__", "").strip("_")
        self.count += name.removeprefix("r") in PRODUCTS or name in PRODUCTS
        return func(*args, **(kwargs or {}))
