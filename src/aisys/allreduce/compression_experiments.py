"""What the experiments of 4.6 need: LeNet trained by compressed all-reduces, and smaller things."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import thread_time

import numpy as np
import torch
import torch.nn.functional as F

from aisys.allreduce.compression import Compressor, Float16, Int8, OneBit, TopK
from aisys.allreduce.error_feedback import (
    ErrorFeedback,
    allreduce_compressed,
    allreduce_float16,
    gather_payloads,
)
from aisys.allreduce.in_process import InProcessTransport, run
from aisys.allreduce.ring import ring_allreduce
from aisys.allreduce.three_lc import ThreeLC
from aisys.autodiff.lenet_torch import LeNet
from aisys.data import batches, digits

COMPRESSORS: dict[str, Compressor] = {
    "float16": Float16(),
    "int8": Int8(),
    "top-k 1 %": TopK(0.01),
    "1-bit": OneBit(),
    "3LC, s = 1": ThreeLC(1.0),
    "3LC, s = 1.5": ThreeLC(1.5),
}

MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's pixels; images are standardised by them."""


@dataclass(frozen=True)
class Training:
    """A training run of several workers.

    Attributes:
        losses: The mean of the workers' losses at each step.
        accuracy: The share of held-out digits that the trained network recognises.
        bits: What a worker sends for each element of the gradient in a step, in bits.
    """

    losses: list[float]
    accuracy: float
    bits: float


def train_lenet(
    compressor: Compressor | None,
    feedback: bool = False,
    steps: int = 80,
    ranks: int = 2,
    batch: int = 16,
    rate: float = 0.3,
) -> Training:
    """Train LeNet on MNIST with plain SGD; each layer's gradients go through an all-reduce.

    The learning rate falls to 0 on a straight line, so that few steps are enough. The workers are
    ranks of the in-process transport. float16 is added up in a ring, other payloads are gathered.

    Args:
        compressor: None: float32, added up in a ring.
        feedback: Every worker has an error feedback for each layer.
        steps: How many.
        ranks: Workers.
        batch: Images of a worker in a step.
        rate: The learning rate at the beginning.
    """
    data = digits()
    order = list(batches(len(data.train_labels), ranks * batch, 1 + steps * ranks * batch // 4000))
    losses = np.zeros((ranks, steps))

    def worker(transport: InProcessTransport) -> LeNet:
        network = LeNet(seed=0)
        weights = list(network.parameters())
        layers = list(zip(weights[::2], weights[1::2], strict=True))
        own = [compressor for _ in layers]
        if compressor is not None and feedback:
            own = [ErrorFeedback(compressor, sum(w.numel() for w in layer)) for layer in layers]
        for step in range(steps):
            chosen = order[step][transport.rank :: ranks]
            loss = _loss(network, data.train_images[chosen], data.train_labels[chosen])
            losses[transport.rank, step] = loss.item()
            slopes = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for number, (matrix, offset) in enumerate(layers):
                    pair = [each.numpy().reshape(-1) for each in slopes[2 * number :][:2]]
                    mean = _mean(transport, np.concatenate(pair), own[number])
                    change = torch.from_numpy(rate * (1 - step / steps) * mean)
                    matrix.sub_(change[: matrix.numel()].reshape(matrix.shape))
                    offset.sub_(change[matrix.numel() :])
        return network

    done = run(ranks, worker)
    network = done.results[0]
    with torch.no_grad():
        guessed = network(_standardised(data.held_out_images)).argmax(dim=1).numpy()
    elements = steps * sum(each.numel() for each in network.parameters())
    return Training(
        losses.mean(axis=0).tolist(),
        float((guessed == data.held_out_labels).mean()),
        8 * done.trace.bytes_sent[0] / elements,
    )


def lenet_gradients(
    steps: int = 60, batch: int = 32, rate: float = 0.1
) -> Iterator[list[np.ndarray]]:
    """The gradients of LeNet's five matrices of weights at each step of training, flat."""
    data, network = digits(), LeNet(seed=0)
    weights = list(network.parameters())
    for chosen in islice(batches(len(data.train_labels), batch, steps), steps):
        loss = _loss(network, data.train_images[chosen], data.train_labels[chosen])
        slopes = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight.sub_(rate * slope)
        yield [slope.numpy().reshape(-1) for slope in slopes if slope.dim() > 1]


def bits_of(
    compressor: Compressor, gradients: Sequence[list[np.ndarray]], feedback: bool = False
) -> float:
    """Compress gradients step after step: bits for each element, over the second half of the steps.

    Args:
        compressor: Of each layer's gradient.
        gradients: As from `lenet_gradients`.
        feedback: Each layer has an error feedback.
    """
    own: list[Compressor] = [compressor for _ in gradients[0]]
    if feedback:
        own = [ErrorFeedback(compressor, len(each)) for each in gradients[0]]
    sent = []
    for layers in gradients:
        payloads = [one.compress(each) for one, each in zip(own, layers, strict=True)]
        sent.append(8 * sum(payload.nbytes for payload in payloads))
    elements = sum(len(each) for each in gradients[0])
    return sum(sent[len(sent) // 2 :]) / (len(sent) - len(sent) // 2) / elements


def least_squares_losses(
    compressor: Compressor, steps: int = 500, rate: float = 0.05, epsilon: float = 0.2
) -> list[float]:
    """SGD on the least squares of Karimireddy et al. (2019, section 3), starting at (1, 1).

    The loss is the sum of the squares of <a, x> for a = (1, -1) + epsilon (1, 1) and for
    a = -(1, -1) + epsilon (1, 1); a step sees one of the two. Its gradient's signs are always
    (1, -1) or (-1, 1), while the minimum, at (0, 0), lies in the direction of (1, 1).

    Args:
        compressor: What a step does goes through it.
        steps: How many.
        rate: The learning rate.
        epsilon: Above 0 and below 1/3.

    Returns:
        The loss before each step and after the last.
    """
    rows = np.array([[1 + epsilon, epsilon - 1], [epsilon - 1, 1 + epsilon]])
    x, losses = np.ones(2), []
    for which in np.random.default_rng(0).integers(0, 2, steps):
        losses.append(float(((rows @ x) ** 2).sum()))
        gradient = (2 * (rows[which] @ x) * rows[which]).astype(np.float32)
        x = x - rate * compressor.decompress(compressor.compress(gradient), 2)
    return [*losses, float(((rows @ x) ** 2).sum())]


def bytes_by_ranks(
    make: Callable[[np.ndarray], np.ndarray] | None, sizes: Sequence[int], n: int = 8192
) -> list[int]:
    """The most that one rank sends for an all-reduce of n elements, in bytes, counted in a run.

    Args:
        make: Makes a payload of a gradient, which is gathered; None: float32, added up in a ring.
        sizes: How many ranks there are.
        n: Elements, drawn at random.
    """

    def program(transport: InProcessTransport) -> None:
        gradient = np.random.default_rng(transport.rank).standard_normal(n).astype(np.float32)
        if make is None:
            ring_allreduce(transport, gradient)
        else:
            gather_payloads(transport, make(gradient))

    return [max(run(ranks, program).trace.bytes_sent) for ranks in sizes]


def break_even_bandwidth(compressor: Compressor, n: int = 1 << 18, repeats: int = 5) -> float:
    """The bandwidth of a link above which compressing takes longer than it saves, in bytes/s.

    Measured on this machine: the processor time of one thread that compresses and decompresses,
    the median.

    Args:
        compressor: Of gradients with elements of very different magnitude.
        n: Elements of the gradient.
        repeats: How often it is measured.
    """
    rng = np.random.default_rng(0)
    gradient = (rng.standard_normal(n) * np.exp(rng.standard_normal(n))).astype(np.float32)
    seconds = []
    for _ in range(repeats):
        start = thread_time()
        payload = compressor.compress(gradient)
        compressor.decompress(payload, n)
        seconds.append(thread_time() - start)
    return (gradient.nbytes - payload.nbytes) / float(np.median(seconds))


def _mean(
    transport: InProcessTransport, gradient: np.ndarray, compressor: Compressor | None
) -> np.ndarray:
    if compressor is None:
        return ring_allreduce(transport, gradient) / np.float32(transport.world_size)
    if isinstance(getattr(compressor, "compressor", compressor), Float16):
        return allreduce_float16(transport, gradient, compressor)
    return allreduce_compressed(transport, gradient, compressor)


def _loss(network: LeNet, images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    return F.cross_entropy(network(_standardised(images)), torch.from_numpy(labels))


def _standardised(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((images - np.float32(MEAN)) / np.float32(DEVIATION))
