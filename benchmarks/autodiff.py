"""Time of a LeNet training step at batch 64: this engine, PyTorch eager, PyTorch compiled.

All start from the same weights and compute in float32 on equally many threads. What is compiled is
compiled before the clock runs. Aim: this engine within 4 times of PyTorch eager.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from common import measured_in_child, median_ratio, median_rows, options, report, take_turns

from aisys.autodiff.compiler import compile_graph
from aisys.autodiff.lenet import Network, initial_state, lenet, training_step
from aisys.autodiff.lenet_torch import LeNet, weights_of
from aisys.autodiff.sgd import SGD
from aisys.data import digits

BATCH = 64
SETTINGS = SGD(rate=0.03, momentum=0.9, weight_decay=5e-4)
ENGINE, ENGINE_COMPILED = "this engine", "this engine, compiled (1.7)"
EAGER, COMPILED = "PyTorch eager", "PyTorch compiled"


def main() -> None:
    """Measure, print, keep."""
    chosen = options(__doc__ or "")
    if chosen.child:
        print(json.dumps(measure(chosen.quick)))
        return
    seconds = measured_in_child(__file__, chosen)
    case = f"LeNet step, batch {BATCH}, {chosen.threads} thread{'s' * (chosen.threads > 1)}"
    ratios = {
        "this engine / PyTorch eager": median_ratio(seconds, ENGINE, EAGER, aim=4),
    }
    report("autodiff", median_rows(case, seconds), ratios, chosen.quick)


def measure(quick: bool) -> dict[str, list[float]]:
    """Seconds of a step; a quick run leaves PyTorch's compiler out, which takes long to start."""
    data = digits()
    images, labels = data.train_images[:BATCH], data.train_labels[:BATCH]
    network = lenet(BATCH)
    systems = {
        ENGINE: engine_step(network, images, labels),
        ENGINE_COMPILED: engine_step(compiled(network), images, labels),
        EAGER: torch_step(images, labels, torch_compiled=False),
    }
    if not quick:
        systems[COMPILED] = torch_step(images, labels, torch_compiled=True)
    return take_turns(systems, rounds=9 if quick else 101, warm_up=5)


def compiled(network: Network) -> Network:
    """The network after all passes of the small compiler."""
    loss, *slopes = compile_graph([network.loss, *network.slopes.values()])
    return replace(network, loss=loss, slopes=dict(zip(network.slopes, slopes, strict=True)))


def engine_step(network: Network, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """A training step of this engine."""
    state = initial_state(weights_of(LeNet(seed=0)))

    def step() -> float:
        nonlocal state
        loss, state = training_step(network, state, images, labels, SETTINGS)
        return loss

    return step


def torch_step(images: np.ndarray, labels: np.ndarray, torch_compiled: bool) -> Callable[[], float]:
    """A training step of PyTorch."""
    model = LeNet(seed=0)
    forward = torch.compile(model) if torch_compiled else model
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
