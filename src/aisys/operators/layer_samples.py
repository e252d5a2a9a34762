"""Random arguments of a layer, for the checks: float32 tensors, contiguous or strided."""

import numpy as np
import torch
from torch import Tensor


def sample_arguments(
    leading: list[int], inner: int, columns: int, layout: str, rng: np.random.Generator
) -> list[Tensor]:
    """x [*leading, inner], weight [columns, inner] and bias [columns].

    Args:
        leading: The axes of a batch.
        inner: Features that come in.
        columns: Features that come out.
        layout: `"contiguous"`, or `"strided"`: x and weight transposed, of bias every second.
        rng: Draws x, weight and bias, in this order.
    """
    made = []
    for shape in ((*leading, inner), (columns, inner), (columns,)):
        values = rng.standard_normal(shape)
        if layout != "strided":
            made.append(sample_tensor(values))
        elif len(shape) > 1:
            made.append(sample_tensor(values.T.copy()).T)
        else:
            made.append(sample_tensor(values.repeat(2))[::2])
    return made


def sample_tensor(values: np.ndarray) -> Tensor:
    """The values as a contiguous float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
