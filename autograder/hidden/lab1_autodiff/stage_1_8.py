"""Stage 1.8: hidden cases, mistakes and alternatives of LeNet and its training."""

import numpy as np

from aisys.autodiff.checks.lenet import settings_case
from aisys.course import Case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab1_autodiff.graph import seed


def drawn(rng: np.random.Generator) -> dict[str, float]:
    """Rate, momentum and weight decay."""
    return {
        "rate": round(float(rng.uniform(0.05, 0.3)), 3),
        "momentum": round(float(rng.uniform(0.5, 0.95)), 3),
        "weight_decay": round(float(rng.uniform(0.02, 0.2)), 3),
    }


def updates(rng: np.random.Generator) -> list[Case]:
    """Updates with and without momentum and weight decay, and with a rate that changes."""
    ways: list[tuple[str, dict]] = [
        ("plain", {"steps": 1, "momentum": 0.0, "weight_decay": 0.0}),
        ("momentum", {"steps": 3, "weight_decay": 0.0}),
        ("weight decay", {"steps": 1, "momentum": 0.0}),
        ("both", {"steps": 4}),
        ("a rate that changes", {"steps": 3, "rates": [0.1, 0.1, 0.02]}),
    ]
    return [
        settings_case(f"hidden {number}: {name}", seed(rng), **{**drawn(rng), **inputs})
        for number, (name, inputs) in enumerate(ways, 1)
    ]


def types(rng: np.random.Generator) -> list[Case]:
    """Both precisions."""
    return [Case(f"hidden: {dtype}", {"dtype": dtype}) for dtype in ("float32", "float64")]


def scores(rng: np.random.Generator) -> list[Case]:
    """Batches of different sizes."""
    return [
        Case(f"hidden {number}: {batch} images", {"batch": int(batch)}, seed(rng))
        for number, batch in enumerate(rng.permutation([1, 2, 4]), 1)
    ]


def steps(rng: np.random.Generator) -> list[Case]:
    """Steps of a small network."""
    ways: list[tuple[str, dict]] = [
        ("one step", {"steps": 1}),
        ("plain gradient descent", {"steps": 2, "momentum": 0.0, "weight_decay": 0.0}),
        ("four steps", {"steps": 4}),
    ]
    return [
        settings_case(
            f"hidden {number}: {name}",
            seed(rng),
            **{**drawn(rng), "rate": 0.02, "batch": int(rng.integers(2, 5)), **inputs},
        )
        for number, (name, inputs) in enumerate(ways, 1)
    ]


CASES = {
    "updates": updates,
    "update_types": types,
    "scores_of_lenet": scores,
    "steps_of_training": steps,
}

MISTAKES = [
    Mistake(
        "1.8 sgd_update",
        "weight decay beside the velocity",
        hint="In PyTorch's SGD the decay is part of the gradient, before the velocity is formed. "
        "Taken off the weight by itself it is what AdamW does.",
        source="""
def sgd_update(weight, slope, velocity, settings):
    velocity = settings.momentum * velocity + slope
    decay = settings.weight_decay * weight
    return weight - settings.rate * (velocity + decay), velocity
""",
    ),
    Mistake(
        "1.8 sgd_update",
        "the gradient enters the velocity with 1 - momentum",
        hint="That is an average of the gradients. In PyTorch's velocity the new gradient counts "
        "fully (dampening is 0).",
        replace={
            "settings.momentum * velocity + decayed": (
                "settings.momentum * velocity + (1 - settings.momentum) * decayed"
            )
        },
    ),
    Mistake(
        "1.8 sgd_update",
        "the rate inside the velocity",
        hint="The velocity is a sum of gradients; the rate is applied when it is used. "
        "It makes a difference when the rate changes.",
        source="""
def sgd_update(weight, slope, velocity, settings):
    step = settings.rate * (slope + settings.weight_decay * weight)
    velocity = settings.momentum * velocity + step
    return weight - velocity, velocity
""",
    ),
    Mistake(
        "1.8 sgd_update",
        "Nesterov's momentum",
        hint="The weight moves by the velocity itself. Looking one step ahead is Nesterov's "
        "variant, which PyTorch has too, but not by default.",
        source="""
def sgd_update(weight, slope, velocity, settings):
    decayed = slope + settings.weight_decay * weight
    velocity = settings.momentum * velocity + decayed
    return weight - settings.rate * (decayed + settings.momentum * velocity), velocity
""",
    ),
    Mistake(
        "1.8 sgd_update",
        "arguments changed in place",
        hint="The arrays that came in belong to the caller. `-=` and `*=` change them.",
        source="""
def sgd_update(weight, slope, velocity, settings):
    velocity *= settings.momentum
    velocity += slope + settings.weight_decay * weight
    weight -= settings.rate * velocity
    return weight, velocity
""",
    ),
    Mistake(
        "1.8 sgd_update",
        "always float64",
        hint="A Python float leaves float32 as it is; a NumPy float64 makes float64 of it.",
        replace={
            "weight - settings.rate * velocity": "weight - np.float64(settings.rate) * velocity"
        },
    ),
    Mistake(
        "1.8 lenet_scores",
        "no ReLU after the convolutions",
        hint="Without ReLU between them, two convolutions are one linear function apart from the "
        "pooling. It stands between convolution and pooling.",
        replace={
            "relu(conv2d(x, weight, bias, padding=padding))": (
                "conv2d(x, weight, bias, padding=padding)"
            )
        },
    ),
    Mistake(
        "1.8 lenet_scores",
        "ReLU on the scores",
        hint="The last layer has no ReLU: scores may be negative.",
        replace={'return linear(x, "fc3")': 'return relu(linear(x, "fc3"))'},
    ),
    Mistake(
        "1.8 lenet_scores",
        "no ReLU after fc2",
        hint="fc2 has a ReLU too; without it fc2 and fc3 are one linear layer.",
        replace={'x = relu(linear(x, "fc2"))': 'x = linear(x, "fc2")'},
    ),
    Mistake(
        "1.8 lenet_scores",
        "channels last in the row of 400",
        hint="The row of an image has all of channel 0 first, then channel 1, and so on: "
        "that is the order of [channels, rows, columns], without moving an axis.",
        replace={
            "reshape(x, (x.shape[0], -1))": (
                "reshape(transpose(x, (0, 2, 3, 1)), (x.shape[0], -1))"
            )
        },
    ),
    Mistake(
        "1.8 lenet_scores",
        "padding forgotten in the first convolution",
        hint="With padding 2 the first convolution keeps 28x28. Follow the sizes: "
        "28, 14, 10, 5, and 16 * 5 * 5 = 400.",
        replace={'convolved(images, "conv1", padding=2)': 'convolved(images, "conv1", padding=0)'},
    ),
    Mistake(
        "1.8 training_step",
        "the loss after the update",
        hint="The loss belongs to the gradients: both come from the weights before the update.",
        source="""
def training_step(network, state, images, labels, settings):
    feeds = {network.images: images, network.labels: labels}
    old = {node: state.weights[name] for name, node in network.weights.items()}
    names = list(network.slopes)
    slopes = run([network.slopes[name] for name in names], {**feeds, **old}).values
    weights, velocities = {}, {}
    for name, slope in zip(names, slopes):
        weights[name], velocities[name] = sgd_update(
            state.weights[name], slope, state.velocities[name], settings
        )
    new = {node: weights[name] for name, node in network.weights.items()}
    (loss,) = run([network.loss], {**feeds, **new}).values
    return float(loss), State(weights, velocities)
""",
    ),
    Mistake(
        "1.8 training_step",
        "one run for the loss and another for the gradients",
        hint="The results are right, but the forward part is computed twice: what two runs need, "
        "each computes for itself. Give one run all targets.",
        replace={
            "loss, *slopes = run([network.loss, *network.slopes.values()], feeds).values": (
                "(loss,) = run([network.loss], feeds).values\n"
                "    slopes = run(list(network.slopes.values()), feeds).values"
            )
        },
    ),
    Mistake(
        "1.8 training_step",
        "velocities not handed on",
        hint="The next step needs the new velocities: without them there is no momentum.",
        replace={"State(weights, velocities)": "State(weights, state.velocities)"},
    ),
    Mistake(
        "1.8 training_step",
        "gradients matched to weights by their place",
        hint="The two dictionaries have the same names, not the same order. "
        "Look a gradient up by its name.",
        replace={"zip(network.slopes, slopes": "zip(network.weights, slopes"},
    ),
    Mistake(
        "1.8 training_step",
        "the old state changed",
        hint="The state that came in stays as it is: make new dictionaries for the new one.",
        replace={
            "weights, velocities = {}, {}": (
                "weights, velocities = state.weights, state.velocities"
            )
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.8 sgd_update",
        """
def sgd_update(weight, slope, velocity, settings):
    new_velocity = velocity * settings.momentum
    new_velocity += slope
    new_velocity += weight * settings.weight_decay
    new_weight = weight.copy()
    new_weight -= new_velocity * settings.rate
    return new_weight, new_velocity
""",
        "in place on copies",
    ),
    Alternative(
        "1.8 lenet_scores",
        """
def lenet_scores(images, weights):
    x = images
    for layer, padding in (("conv1", 2), ("conv2", 0)):
        x = conv2d(x, weights[layer + ".weight"], weights[layer + ".bias"], 1, padding)
        x = relu(max_pool2d(x, 2))
    x = reshape(x, (-1, 400))
    for layer in ("fc1", "fc2", "fc3"):
        if layer != "fc1":
            x = relu(x)
        x = x @ transpose(weights[layer + ".weight"], (1, 0)) + weights[layer + ".bias"]
        if layer == "fc1":
            x = relu(x)
    return x
""",
        "ReLU after the pooling, which is the same",
    ),
    Alternative(
        "1.8 training_step",
        """
def training_step(network, state, images, labels, settings):
    values = {network.weights[name]: value for name, value in state.weights.items()}
    values[network.images] = images
    values[network.labels] = labels
    names = sorted(network.weights)
    result = run([network.slopes[name] for name in names] + [network.loss], values).values
    pairs = {
        name: sgd_update(state.weights[name], slope, state.velocities[name], settings)
        for name, slope in zip(names, result)
    }
    weights = {name: pair[0] for name, pair in pairs.items()}
    velocities = {name: pair[1] for name, pair in pairs.items()}
    return result[-1].item(), State(weights, velocities)
""",
        "by sorted names",
    ),
]
