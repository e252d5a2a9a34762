"""Probes of 1.8: the update of one array, LeNet's scores, and steps of a small network."""

from typing import Any

import numpy as np

from aisys.autodiff.checks.evaluation import shape_and_value
from aisys.autodiff.graph import Node, apply, as_node, placeholder
from aisys.autodiff.lenet import SHAPES, Network, State, lenet_scores, training_step
from aisys.autodiff.operations import register_operation
from aisys.autodiff.sgd import SGD, sgd_update
from aisys.course import Case, Plain, probe


def settings_case(name: str, seed: int, **inputs: Any) -> Case:
    """A case of steps; what is left out is as here."""
    usual = {"steps": 2, "rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    return Case(name, {**usual, **inputs}, seed)


def settings_of(case: dict) -> SGD:
    """The settings of a case."""
    return SGD(case["rate"], case["momentum"], case["weight_decay"])


@probe(
    "1.8 sgd_update",
    cases=[
        settings_case("plain", 1, momentum=0.0, weight_decay=0.0, steps=1),
        settings_case("momentum, three steps", 2, weight_decay=0.0, steps=3),
        settings_case("weight decay, one step", 3, momentum=0.0, steps=1),
        settings_case("both, two steps", 4),
        settings_case("a rate that changes", 5, rates=[0.1, 0.01]),
    ],
)
def updates(case: dict, rng: np.random.Generator) -> Plain:
    """Weight and velocity after each step, and whether the arguments are as they were."""
    weight, velocity = rng.standard_normal((2, 3)), np.zeros((2, 3))
    steps = []
    for step in range(case["steps"]):
        rate = case["rates"][step] if "rates" in case else case["rate"]
        settings = SGD(rate, case["momentum"], case["weight_decay"])
        slope = rng.standard_normal((2, 3))
        before = [each.copy() for each in (weight, slope, velocity)]
        after = sgd_update(weight, slope, velocity, settings)
        same = all(map(np.array_equal, before, (weight, slope, velocity)))
        weight, velocity = after
        steps.append({"weight": weight, "velocity": velocity, "arguments unchanged": same})
    return steps


@probe(
    "1.8 sgd_update",
    cases=[Case("float32 stays float32", {"dtype": "float32"})],
)
def update_types(case: dict, rng: np.random.Generator) -> Plain:
    """The dtypes that come back."""
    array = np.ones(2, case["dtype"])
    return [str(np.asarray(each).dtype) for each in sgd_update(array, array, array, SGD(0.1, 0.9))]


@probe(
    "1.8 lenet_scores",
    cases=[Case("one image", {"batch": 1}, 1), Case("three images", {"batch": 3}, 2)],
)
def scores_of_lenet(case: dict, rng: np.random.Generator) -> Plain:
    """The scores of random images with random weights."""
    images = placeholder((case["batch"], 1, 28, 28), "images")
    weights = {name: placeholder(shape, name) for name, shape in SHAPES.items()}
    feeds: dict[Node, Any] = {images: rng.standard_normal(images.shape)}
    for node in weights.values():
        feeds[node] = rng.standard_normal(node.shape) / np.sqrt(np.prod(node.shape[1:]))
    return shape_and_value(lenet_scores(images, weights), feeds)


def compute_counted(value: Any, count: list[int]) -> Any:
    """The value; the call is counted."""
    count[0] += 1
    return value


register_operation("check_counted", lambda shape, count: shape, compute_counted)


def linear_network(batch: int, count: list[int]) -> Network:
    """The squared error of x @ weight + bias, summed, with gradients that are written out.

    The error is one node, which loss and gradients share; how often it is computed is counted.
    Names have another order in `slopes` than in `weights`.
    """
    x, y = placeholder((batch, 3), "images"), placeholder((batch,), "labels")
    weight, bias = placeholder((3, 1), "weight"), placeholder((1,), "bias")
    output = apply("add", apply("matmul", x, weight), bias)
    wanted = apply("reshape", y, shape=(batch, 1))
    error = apply("check_counted", apply("subtract", output, wanted), count=count)
    squares = apply("multiply", error, error)
    loss = apply("reduce_sum", squares, axis=(0, 1), keepdims=False)
    twice = apply("multiply", error, as_node(2.0))
    slopes = {
        "bias": apply("reduce_sum", twice, axis=(0,), keepdims=False),
        "weight": apply("matmul", apply("transpose", x, axes=(1, 0)), twice),
    }
    return Network(x, y, {"weight": weight, "bias": bias}, loss, slopes)


@probe(
    "1.8 training_step",
    cases=[
        settings_case("one step", 1, batch=2, steps=1, momentum=0.0, weight_decay=0.0),
        settings_case("three steps with momentum", 2, batch=4, steps=3, rate=0.02),
    ],
)
def steps_of_training(case: dict, rng: np.random.Generator) -> Plain:
    """Losses, states, how often the forward part was computed, and whether the state was kept."""
    count = [0]
    network = linear_network(case["batch"], count)
    state = State(
        {"weight": rng.standard_normal((3, 1)), "bias": rng.standard_normal(1)},
        {"weight": np.zeros((3, 1)), "bias": np.zeros(1)},
    )
    steps = []
    for _ in range(case["steps"]):
        x, y = rng.standard_normal((case["batch"], 3)), rng.integers(0, 3, case["batch"])
        before = state_values(state)
        count[0] = 0
        loss, after = training_step(network, state, x, y, settings_of(case))
        steps.append(
            {
                "loss": loss,
                "state": state_values(after),
                "forward parts computed": count[0],
                "old state unchanged": equal_values(before, state_values(state)),
            }
        )
        state = after
    return steps


def state_values(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Copies of a state's arrays."""
    return {
        "weights": {name: np.array(value) for name, value in state.weights.items()},
        "velocities": {name: np.array(value) for name, value in state.velocities.items()},
    }


def equal_values(left: dict, right: dict) -> bool:
    """Whether two states hold the same numbers."""
    return all(
        np.array_equal(value, right[part].get(name))
        for part, values in left.items()
        for name, value in values.items()
    )
