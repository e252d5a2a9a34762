"""What the experiments of 1.8 need: the same training in PyTorch, and one thread for both."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F

from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.sgd import SGD
from aisys.autodiff.training import one_thread
from aisys.data import Digits

try:
    from threadpoolctl import threadpool_limits
except ImportError:  # it comes with scikit-learn, which mlxtend needs
    threadpool_limits = None


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let PyTorch and NumPy's matrix products compute on one thread.

    The matrices of LeNet are small, and where other programs use the same cores, threads that wait
    for each other take several times as long as one. Without threadpoolctl NumPy stays as it is.
    """
    with one_thread(), threadpool_limits(1) if threadpool_limits else nullcontext():
        yield


def lenet_losses_in_torch(
    data: Digits, batches: Iterable[np.ndarray], settings: SGD, seed: int = 0
) -> list[float]:
    """Train LeNet in PyTorch and return the loss of every step.

    Args:
        data: Digits; PyTorch computes in the dtype of their images.
        batches: Index arrays, one a step.
        settings: For `torch.optim.SGD`.
        seed: Of the initial weights, as in `LeNet`.
    """
    model = LeNet(seed).to(torch.from_numpy(data.train_images[:0]).dtype)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    losses = []
    for batch in batches:
        x, y = (
            torch.from_numpy(data.train_images[batch]),
            torch.from_numpy(data.train_labels[batch]),
        )
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
