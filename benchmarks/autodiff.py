"""Time of a LeNet training step at batch 64: this engine, PyTorch eager, PyTorch compiled.

All three start from the same weights and run on the same number of threads; the compilation itself
is not timed. Aim: this engine within 4 times of PyTorch eager.
"""

import numpy as np
import torch
import torch.nn.functional as F
from common import Ratio, Row, median, options, report, take_turns

from aisys.autodiff.lenet import initial_state, lenet, training_step
from aisys.autodiff.lenet_torch import LeNet, weights_of
from aisys.autodiff.sgd import SGD
from aisys.data import digits

BATCH = 64
SETTINGS = SGD(rate=0.03, momentum=0.9, weight_decay=5e-4)


def main() -> None:
    """Measure, print, keep."""
    quick = options(__doc__ or "").quick
    data = digits()
    images, labels = data.train_images[:BATCH], data.train_labels[:BATCH]
    systems = {
        "this engine": engine_step(images, labels),
        "PyTorch eager": torch_step(images, labels, compiled=False),
    }
    if not quick:
        systems["PyTorch compiled"] = torch_step(images, labels, compiled=True)
    seconds = take_turns(systems, rounds=7 if quick else 101, warm_up=3)
    rows = [
        Row(f"LeNet step, batch {BATCH}", name, metric, 1000 * value, "ms")
        for name, values in seconds.items()
        for metric, value in (("median", median(values)), ("best", min(values)))
    ]
    eager = median(seconds["PyTorch eager"])
    ratios = {
        "this engine / PyTorch eager": Ratio(median(seconds["this engine"]) / eager, 4, "lower")
    }
    report("autodiff", rows, ratios, quick)


def engine_step(images: np.ndarray, labels: np.ndarray):  # noqa: ANN201
    """A training step of this engine."""
    network, before = lenet(BATCH), initial_state(weights_of(LeNet(seed=0)))
    state = [before]

    def step() -> float:
        loss, state[0] = training_step(network, state[0], images, labels, SETTINGS)
        return loss

    return step


def torch_step(images: np.ndarray, labels: np.ndarray, compiled: bool):  # noqa: ANN201
    """A training step of PyTorch."""
    model = LeNet(seed=0)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=SETTINGS.rate,
        momentum=SETTINGS.momentum,
        weight_decay=SETTINGS.weight_decay,
    )
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def step() -> float:
        loss = F.cross_entropy(forward(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
