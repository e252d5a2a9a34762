"""Stage 2.8: hidden cases, mistakes and alternatives of prediction and placement."""

import numpy as np

from aisys.course import Case
from aisys.operators.checks.placement import PROGRAMS, speedup_case
from autograder.catalogue import Alternative, Mistake


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def speedups(rng: np.random.Generator) -> list[Case]:
    """Random profiles, faster and slower operators, with and without an overhead."""
    cases = []
    for number, overhead in enumerate((0.0, 0.0, 0.5, 1.5)):
        kinds = int(rng.integers(3, 8))
        inputs = {
            "kinds": kinds,
            "replaced": int(rng.integers(1, kinds)),
            "factor": float(rng.uniform(0.5, 8)),
            "overhead": overhead,
        }
        cases.append(speedup_case(f"hidden {number + 1}: {kinds} kinds", _seed(rng), **inputs))
    every = speedup_case("hidden 5: nothing is left", _seed(rng), kinds=3, replaced=3, factor=3.0)
    return [*cases, every]


CASES = {
    "predicted": speedups,
    "placed": lambda rng: [
        Case(f"hidden: {name}", {"program": name}, _seed(rng)) for name in PROGRAMS
    ],
    "placed_in_blocks": lambda rng: [Case("hidden: three blocks", {"layers": 3}, _seed(rng))],
}

MISTAKES = [
    Mistake(
        "2.8 predict_speedup",
        "the factor taken for the whole step",
        hint="Only the replaced part becomes faster. The rest of the step takes as long as before.",
        replace={'"speedup": total / (rest + part / factor)': '"speedup": factor'},
    ),
    Mistake(
        "2.8 predict_speedup",
        "the overhead left out of the limit",
        hint="However fast the operator is, its overhead is still there.",
        replace={
            '"limit": total / rest if rest > 0 else float("inf")': (
                '"limit": total / (total - part) if total - part > 1e-12 else float("inf")'
            )
        },
    ),
    Mistake(
        "2.8 predict_speedup",
        "the overhead left out of the time afterwards",
        hint="The overhead comes on top of the time that the step takes afterwards.",
        source="""
def predict_speedup(seconds, replaced, factor, overhead=0.0):
    total = sum(seconds.values())
    part = sum(seconds[name] for name in replaced)
    rest = total - part
    return {
        "share": part / total,
        "speedup": total / (rest + part / factor),
        "limit": total / (rest + overhead) if rest + overhead > 0 else float("inf"),
    }
""",
    ),
    Mistake(
        "2.8 place_linear_gelu",
        "other uses of the linear layer not looked at",
        hint="Where something else needs the linear layer's result, too, it has to stay in the "
        "graph, and the operator would compute it a second time. Look at `node.users`.",
        source="""
def place_linear_gelu(module, operator):
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not F.gelu or node.kwargs.get("approximate", "none") != "none":
            continue
        layer = node.args[0]
        if layer.target is not F.linear:
            continue
        named = dict(zip(("input", "weight", "bias"), layer.args)) | layer.kwargs
        if named.get("bias") is None:
            continue
        with module.graph.inserting_before(node):
            fused = module.graph.call_function(
                operator, (named["input"], named["weight"], named["bias"])
            )
        node.replace_all_uses_with(fused)
        module.graph.erase_node(node)
        count += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    return count
""",
    ),
    Mistake(
        "2.8 place_linear_gelu",
        "the kind of GELU not looked at",
        hint='`approximate="tanh"` is another function than the operator\'s.',
        replace={'if node.kwargs.get("approximate", "none") != "none":': "if False:"},
    ),
    Mistake(
        "2.8 place_linear_gelu",
        "the linear layer stays",
        hint="The result is right, but the linear layer is still computed: "
        "a node that nobody uses stays in the graph until it is erased.",
        replace={"        graph.erase_node(layer)\n": ""},
    ),
]

ALTERNATIVES = [
    Alternative(
        "2.8 predict_speedup",
        """
def predict_speedup(seconds, replaced, factor, overhead=0.0):
    before = sum(seconds.values())
    share = sum(time for name, time in seconds.items() if name in replaced) / before
    extra = overhead / before
    left = 0.0 if set(replaced) == set(seconds) else 1 - share
    limit = 1 / (left + extra) if left + extra > 0 else math.inf
    return {"limit": limit, "speedup": 1 / (left + share / factor + extra), "share": share}


import math
""",
    ),
    Alternative(
        "2.8 place_linear_gelu",
        """
def place_linear_gelu(module, operator):
    found = []
    for layer in module.graph.nodes:
        if layer.op != "call_function" or layer.target is not F.linear:
            continue
        arguments = layer.normalized_arguments(module, normalize_to_only_use_kwargs=True)
        given = arguments.kwargs if arguments else {
            **dict(zip(["input", "weight", "bias"], layer.args)), **layer.kwargs
        }
        users = list(layer.users)
        if given.get("bias") is None or len(users) != 1 or users[0].target is not F.gelu:
            continue
        if users[0].kwargs.get("approximate") not in (None, "none"):
            continue
        found.append((layer, users[0], given))
    for layer, activation, given in found:
        activation.target = operator
        activation.kwargs = {}
        activation.args = (given["input"], given["weight"], given["bias"])
        module.graph.erase_node(layer)
    module.graph.lint()
    module.recompile()
    return len(found)
""",
    ),
]

ANSWERS = {
    "2.8-written": (
        "A step of 10 ms of which 4 ms are linear + GELU; the operator takes 2.5 ms instead: "
        "factor 1.6, predicted 10 / (6 + 2.5) = 1.18, at most 10 / 6 = 1.67. Measured 1.12. "
        "Two reasons for the difference: inside the model the caches hold other data than in a "
        "loop over the operator alone, and the call through Python's autograd, some 20 us a layer, "
        "is a part of the step that the factor of large tensors does not show. Next I would look "
        "at the attention's products, now 45 % of the step: twice as fast, they give "
        "1 / (0.55 + 0.225) = 1.29. From the GELU not much more can come: were it free, the step "
        "would gain another 5 %."
    )
}
