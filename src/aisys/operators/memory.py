"""How many bytes an operator keeps between its two halves."""

from collections.abc import Callable

import torch
from torch import Tensor

from aisys.course import exercise


@exercise("2.5", points=1.5)
def saved_bytes(function: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Run a function and count the bytes that autograd keeps for its backward pass.

    Between `with torch.autograd.graph.saved_tensors_hooks(pack, unpack):`, autograd calls
    pack(tensor) for each tensor that it saves and keeps what pack returns; backward calls unpack
    on that. Here pack can look at the tensor and return it.

    What keeps memory alive is not the tensor but the storage under it
    (`tensor.untyped_storage()`, with `data_ptr()` and `nbytes()`): a view of one row keeps its
    whole matrix. So count storages, with all their bytes, each once, however many tensors share
    it. The storages of the inputs are there anyway and do not count.

    Args:
        function: Called once, with the inputs.
        inputs: Its arguments.

    Returns:
        The bytes of all storages that are kept, without those of the inputs.
    """
    own = {each.untyped_storage().data_ptr() for each in inputs}
    kept: dict[int, int] = {}
    # A storage that is freed could leave its address to the next one, so hold on to all of them.
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(*inputs)
    return sum(kept.values())
