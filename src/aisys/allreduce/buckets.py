"""Gradients travel in buckets while the backward pass still computes the others (4.7).

Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
section 3.2; Sergeev and Del Balso, "Horovod: fast and easy distributed deep learning in
TensorFlow", 2018, section 4 (tensor fusion).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

import numpy as np
import torch
from torch import Tensor, nn

from aisys.allreduce.communication_thread import CommunicationThread
from aisys.course import exercise


@exercise("4.7", points=1)
def assign_buckets(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Divide a model's parameters into buckets, each of which is all-reduced at once.

    The backward pass comes to the last parameter first, so the first bucket begins with it, and the
    others follow backwards. A parameter goes into the bucket that is being filled, unless that
    would then hold more than `capacity`: in that case it begins the next bucket. So a parameter
    that is larger than the capacity is alone in its bucket.

    Args:
        sizes: Of each parameter, in bytes, in the order of the model.
        capacity: Of a bucket, in bytes.

    Returns:
        The buckets in the order in which they become ready, each with the numbers of its
        parameters, the last parameter first.
    """
    buckets: list[list[int]] = []
    filled = 0
    for index in reversed(range(len(sizes))):
        if not buckets or filled + sizes[index] > capacity:
            buckets.append([])
            filled = 0
        buckets[-1].append(index)
        filled += sizes[index]
    return buckets


@exercise("4.7", points=0.5)
def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All elements of several tensors, one after another.

    Args:
        tensors: At least one, of one dtype, and of any shapes and strides; they are not changed.

    Returns:
        A new tensor [n].
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@exercise("4.7", points=0.5)
def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `flatten`: the parts of a flat tensor, in its memory.

    Args:
        flat: [n].
        like: Tensors whose shapes the parts get, with n elements in all.

    Returns:
        Views of `flat`: who writes into one writes into `flat`.
    """
    parts, begin = [], 0
    for tensor in like:
        parts.append(flat[begin : begin + tensor.numel()].reshape(tensor.shape))
        begin += tensor.numel()
    return parts


class BucketedReducer:
    """Averages a model's gradients over the ranks, each bucket as soon as it is ready.

    After `finish` every parameter's `grad` is the average of the ranks' gradients, and the next
    step may begin. All ranks have the same parameters and buckets, and begin the all-reduces of
    the buckets in the same order, whatever the order of their gradients is.

    Args:
        parameters: Of the model, in its order.
        buckets: As `assign_buckets` gives them; each parameter is in one.
        thread: What passes this rank's messages.

    Attributes:
        parameters: As given, a list.
        buckets: As given.
        thread: As given.
        bucket_of: For each parameter the number of its bucket.
        missing: For each bucket the set of its parameters whose gradient of this step is not there.
        begun: The futures of the all-reduces that have begun in this step, in the order of the
            buckets; so the next one to begin is that of bucket `len(begun)`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        buckets: Sequence[Sequence[int]],
        thread: CommunicationThread,
    ) -> None:
        self.parameters = list(parameters)
        self.buckets, self.thread = [list(bucket) for bucket in buckets], thread
        places = {index: k for k, bucket in enumerate(self.buckets) for index in bucket}
        self.bucket_of = [places[index] for index in range(len(self.parameters))]
        self.missing: list[set[int]] = []
        self.begun: list[Future[np.ndarray]] = []
        self.reset()
        for index, parameter in enumerate(self.parameters):
            parameter.register_post_accumulate_grad_hook(self._hook(index))

    def reset(self) -> None:
        """Begin a step: no gradient is there, and no all-reduce has begun."""
        self.missing = [set(bucket) for bucket in self.buckets]
        self.begun = []

    @exercise("4.7", points=1)
    def begin_next(self) -> None:
        """Begin the all-reduce of the next bucket, number `len(self.begun)`.

        Its gradients become one NumPy array, in the order of the bucket; `self.thread.start(array)`
        returns a future of the sum at once, and it goes to the end of `self.begun`. A parameter
        without a gradient (None), because this rank did not use it, counts as zeros of its dtype:
        the other ranks may have one.
        """
        gradients = []
        for index in self.buckets[len(self.begun)]:
            gradient = self.parameters[index].grad
            gradients.append(
                torch.zeros_like(self.parameters[index]) if gradient is None else gradient
            )
        self.begun.append(self.thread.start(flatten(gradients).detach().numpy()))

    @exercise("4.7", points=1)
    def on_gradient(self, index: int) -> None:
        """Note that a gradient is there, and begin what can begin; the backward pass calls it.

        A bucket begins when all of its gradients are there and all buckets before it have begun: on
        another rank the gradients may come in another order, but the messages must not. Nothing is
        waited for.

        Args:
            index: The parameter whose `grad` is complete.
        """
        self.missing[self.bucket_of[index]].discard(index)
        while len(self.begun) < len(self.buckets) and not self.missing[len(self.begun)]:
            self.begin_next()

    @exercise("4.7", points=1)
    def finish(self) -> None:
        """End a step, after the backward pass: all gradients become the averages.

        Buckets that have not begun, because a gradient never came, begin now. Then the futures'
        `result()`, a NumPy array, is waited for, divided by `self.thread.world_size`, and given
        back to the parameters as their `grad`, also to those that had none. At last
        `self.reset()`.
        """
        while len(self.begun) < len(self.buckets):
            self.begin_next()
        for bucket, future in zip(self.buckets, self.begun, strict=True):
            average = torch.from_numpy(future.result()) / self.thread.world_size
            parameters = [self.parameters[index] for index in bucket]
            for parameter, part in zip(parameters, unflatten(average, parameters), strict=True):
                parameter.grad = part
        self.reset()

    def _hook(self, index: int) -> Callable[[Tensor], None]:
        return lambda parameter: self.on_gradient(index)
