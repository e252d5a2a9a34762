"""Our algorithms as a back end of torch.distributed, named `aisys` (4.8).

`register` makes it known; then `dist.init_process_group("aisys", ...)` gives a group whose
`all_reduce`, `broadcast` and `all_gather` are ours, and on which DDP trains. The messages go over
Gloo's point-to-point operations.
"""

import itertools
import os
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from aisys.allreduce.ddp_hook import AllReduce, allreduce_tensor, as_array
from aisys.allreduce.ring import all_gather, ring_allreduce
from aisys.allreduce.torch_transport import TorchTransport
from aisys.allreduce.transport import Transport
from aisys.allreduce.trees import broadcast
from aisys.course import exercise
from aisys.course.errors import CourseError

NAME = "aisys"

_ProcessGroup: Any = dist.ProcessGroup
"""Its stub has overloads that no back end has."""

_numbers = itertools.count(1)


class Done(dist._Work):
    """The work of a call that is over when it returns.

    Args:
        result: What its future holds: the tensors that the call has filled.
    """

    def __init__(self, result: list[Any]) -> None:
        super().__init__()
        self._future: torch.futures.Future[list[Any]] = torch.futures.Future()
        self._future.set_result(result)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Return at once."""
        return True

    def is_completed(self) -> bool:
        """It is."""
        return True

    def get_future(self) -> torch.futures.Future[list[Any]]:
        """A complete future of the tensors."""
        return self._future


def checked_work(name: str, result: Any) -> dist.Work:
    """What a method of a group returned, if it is a `dist.Work`; torch crashes over all else.

    Raises:
        CourseError: It is something else.
    """
    if not isinstance(result, dist.Work):
        kind = "nothing" if result is None else f"a {type(result).__name__}"
        raise CourseError(f"AisysGroup.{name} returned {kind}; it has to `return Done(...)`.")
    return result


class AisysGroup(_ProcessGroup):
    """A process group whose collective operations are made of a transport's messages.

    `torch.distributed` and DDP call its methods, each on every rank, in the same order. What a
    method is given it fills in place.

    Args:
        transport: This rank's place.
        algorithm: The all-reduce.

    Attributes:
        transport: As given.
        algorithm: As given.
    """

    def __init__(self, transport: Transport, algorithm: AllReduce = ring_allreduce) -> None:
        super().__init__(transport.rank, transport.world_size)
        self.transport, self.algorithm = transport, algorithm

    def getBackendName(self) -> str:
        """The name under which it is registered."""
        return NAME

    @exercise("4.8", points=2)
    def allreduce(self, tensors: list[Tensor], opts: dist.AllreduceOptions) -> dist.Work:
        """Fill each tensor with the sum, or the average, of all ranks' tensors.

        Args:
            tensors: Usually one; of any shape and strides. They are filled in place.
            opts: `opts.reduceOp` equals (`==`) `dist.ReduceOp.SUM` or `dist.ReduceOp.AVG`. DDP
                asks for the sum of gradients that it has divided itself.

        Returns:
            `Done(tensors)`.

        Raises:
            NotImplementedError: Another operation is asked for; nothing is sent then.
        """
        is_average = opts.reduceOp == dist.ReduceOp.AVG
        if not is_average and not opts.reduceOp == dist.ReduceOp.SUM:
            raise NotImplementedError("The back end aisys has the operations SUM and AVG only.")
        for tensor in tensors:
            total = allreduce_tensor(self.transport, tensor, self.algorithm)
            if is_average:
                total = total / self.transport.world_size
            tensor.detach().copy_(total)
        return Done(tensors)

    @exercise("4.8", points=1)
    def broadcast(self, tensors: list[Tensor], opts: dist.BroadcastOptions) -> dist.Work:
        """Fill each tensor with that of one rank, over the tree of 4.2.

        DDP begins with it, so that all ranks have the same weights.

        Args:
            tensors: Usually one; of any shape, strides and dtype. They are filled in place.
            opts: `opts.rootRank` is the rank whose tensors all get.

        Returns:
            `Done(tensors)`.
        """
        for tensor in tensors:
            received = broadcast(self.transport, as_array(tensor), opts.rootRank)
            tensor.detach().copy_(torch.from_numpy(received))
        return Done(tensors)

    @exercise("4.8", points=1)
    def allgather(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> dist.Work:
        """Give every rank the tensors of all ranks, around the ring of 4.3.

        No tensor is sent by a rank twice: `all_gather` on one array, with a chunk for each rank.

        Args:
            outputs: For each tensor of `inputs` a list of tensors, one a rank, of its shape and
                dtype. They are filled in place.
            inputs: Usually one; of the same shape and dtype on all ranks.
            opts: Not needed here.

        Returns:
            `Done(outputs)`.
        """
        rank, world_size = self.transport.rank, self.transport.world_size
        for filled, tensor in zip(outputs, inputs, strict=True):
            mine = as_array(tensor)
            chunks = np.empty((world_size, mine.size), mine.dtype)
            chunks[rank] = mine.reshape(-1)
            all_gather(self.transport, chunks.reshape(-1), rank)
            for out, chunk in zip(filled, chunks, strict=True):
                out.detach().copy_(torch.from_numpy(chunk).reshape(out.shape))
        return Done(outputs)

    def barrier(self, opts: Any = None) -> dist.Work:
        """Wait for all ranks."""
        self.transport.barrier()
        return Done([])

    def send(self, tensors: list[Tensor], to: int, tag: int = 0) -> dist.Work:
        """Send tensors to a rank."""
        for tensor in tensors:
            self.transport.send(as_array(tensor), to, tag)
        return Done(tensors)

    def recv(self, tensors: list[Tensor], source: int, tag: int = 0) -> dist.Work:
        """Receive tensors from a rank."""
        for tensor in tensors:
            values = as_array(tensor)
            received = np.empty(values.shape, values.dtype)
            self.transport.recv(received, source, tag)
            tensor.detach().copy_(torch.from_numpy(received))
        return Done(tensors)

    def shutdown(self) -> None:
        """Leave; `destroy_process_group` calls it."""
        self.transport.close()


class CheckedGroup(AisysGroup):
    """The group that torch gets: what its methods return is looked at before torch uses it."""

    def allreduce(self, tensors: list[Tensor], opts: dist.AllreduceOptions) -> dist.Work:
        """See `AisysGroup`."""
        return checked_work("allreduce", super().allreduce(tensors, opts))

    def broadcast(self, tensors: list[Tensor], opts: dist.BroadcastOptions) -> dist.Work:
        """See `AisysGroup`."""
        return checked_work("broadcast", super().broadcast(tensors, opts))

    def allgather(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> dist.Work:
        """See `AisysGroup`."""
        return checked_work("allgather", super().allgather(outputs, inputs, opts))


def create(store: dist.Store, rank: int, world_size: int, timeout: timedelta) -> AisysGroup:
    """Make a group as `init_process_group` asks for it, with a transport over Gloo.

    Args:
        store: What the ranks share.
        rank: This rank.
        world_size: How many there are.
        timeout: How long a rank waits for another.
    """
    transport = TorchTransport.connect(store, rank, world_size, timeout.total_seconds())
    return CheckedGroup(transport)


def register(name: str = NAME) -> str:
    """Make the back end known to `torch.distributed`; what had the name before is dropped.

    Its groups call whatever attempts are in place, so one registration serves all of them.

    Returns:
        The name, for `init_process_group`.
    """
    drop(name)
    dist.Backend.register_backend(name, create, devices=["cpu"])
    return name


def drop(name: str) -> None:
    """Take a back end's name out of the tables of `torch.distributed`; it may not be there."""
    back_ends = dist.Backend
    if back_ends._plugins.pop(name.upper(), None) is not None:
        delattr(back_ends, name.upper())
        back_ends.backend_list.remove(name)
        back_ends.backend_capability.pop(name)
        back_ends.backend_type_map.pop(name)


def fresh_name() -> str:
    """A name under which nothing was registered in this process."""
    return f"{NAME}_{os.getpid()}_{next(_numbers)}"
