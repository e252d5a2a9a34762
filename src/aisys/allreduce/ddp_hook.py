"""Our all-reduce under PyTorch's DDP, as a communication hook (4.8).

DDP gathers gradients in buckets while the backward pass goes on, and hands each full bucket to its
hook, which gives back a future of the averaged gradients. Li et al., "PyTorch Distributed:
Experiences on Accelerating Data Parallel Training", VLDB 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.transport import Transport
from aisys.course import exercise

AllReduce = Callable[[Transport, np.ndarray], np.ndarray]
"""`allreduce(transport, data)`, which returns a new array of the same shape and dtype."""


@dataclass(frozen=True)
class HookState:
    """What DDP hands to the hook with each bucket: `model.register_comm_hook(state, hook)`.

    Attributes:
        transport: This rank's place.
        allreduce: The algorithm.
    """

    transport: Transport
    allreduce: AllReduce = ring_allreduce


def as_array(tensor: Tensor) -> np.ndarray:
    """The values of a tensor as an array; it shares the tensor's memory where it can.

    NumPy knows no bfloat16: such a tensor becomes float32, which holds each of its values.

    Args:
        tensor: On the CPU, of any shape and strides; it may require gradients.
    """
    values = tensor.detach()
    return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()


@exercise("4.8", points=1)
def allreduce_tensor(
    transport: Transport, tensor: Tensor, allreduce: AllReduce = ring_allreduce
) -> Tensor:
    """The sum of all ranks' tensors, the same on every rank.

    Args:
        transport: This rank's place.
        tensor: On the CPU, of any shape and strides, also empty, of integers, of bfloat16, or one
            that requires gradients; `as_array` makes an array of it. It is not changed.
        allreduce: The algorithm, called as `allreduce(transport, array)`.

    Returns:
        A new tensor of the same shape and dtype.
    """
    total = allreduce(transport, as_array(tensor))
    return torch.from_numpy(total).to(tensor.dtype)


@exercise("4.8", points=2)
def allreduce_hook(state: HookState, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients over all ranks: a communication hook of DDP.

    Args:
        state: The transport and the algorithm.
        bucket: Its `buffer()` is a tensor [n] with this rank's gradients of several parameters.
            All ranks' buckets come in the same order.

    Returns:
        A future that holds the average, a tensor [n] of the same dtype. It may be complete already:
        `torch.futures.Future()` and its `set_result`. DDP itself divides by nothing here.
    """
    total = allreduce_tensor(state.transport, bucket.buffer(), state.allreduce)
    averaged: torch.futures.Future[Tensor] = torch.futures.Future()
    averaged.set_result(total / state.transport.world_size)
    return averaged
