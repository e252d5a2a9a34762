"""Stage 1.5: hidden cases, mistakes and alternatives of the gradients."""

import numpy as np

from aisys.course import Case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab1_autodiff.graph import seed


def sizes(rng: np.random.Generator, count: int) -> list[int]:
    """Different sizes of axes."""
    return [int(size) for size in rng.permutation([2, 3, 4, 5])[:count]]


def sums_to_shapes(rng: np.random.Generator) -> list[Case]:
    """Every kind of broadcasting undone."""
    a, b, c = sizes(rng, 3)
    pairs = [
        ([a, b], [b]),
        ([a, b], [a, 1]),
        ([a, b, c], [b, 1]),
        ([a, b, c], [1, 1, c]),
        ([a, b, c], []),
        ([a, 1], [a, 1]),
    ]
    return [
        Case(f"hidden {number}: {old} to {new}", {"from": old, "to": new}, seed(rng))
        for number, (old, new) in enumerate(pairs, 1)
    ]


def broadcasts(rng: np.random.Generator) -> list[Case]:
    """Two inputs of which one or both are broadcast."""
    a, b, c = sizes(rng, 3)
    pairs = [([a, b], [a, b]), ([b], [a, b]), ([a, 1], [1, b]), ([a, b, c], [b, 1]), ([], [a, b])]
    return [
        Case(f"hidden {number}: {left} and {right}", {"left": left, "right": right}, seed(rng))
        for number, (left, right) in enumerate(pairs, 1)
    ]


def matrices(rng: np.random.Generator) -> list[Case]:
    """Products of matrices, one of them of square ones."""
    m, k, n = sizes(rng, 3)
    return [
        Case(f"hidden {number}: [{r}, {i}] @ [{i}, {c}]", inputs, seed(rng))
        for number, (r, i, c) in enumerate([(m, k, n), (k, k, k), (1, n, 1), (n, 1, m)], 1)
        for inputs in [{"rows": r, "inner": i, "columns": c}]
    ]


def reduced(rng: np.random.Generator) -> list[Case]:
    """Sums over some axes, one of them of a cube, where a wrong axis has a fitting shape."""
    a, b, c = sizes(rng, 3)
    ways = [
        ([a, b, c], [0, 1, 2], False),
        ([a, b, c], [1], False),
        ([a, b, c], [1, 2], True),
        ([b, b, b], [1], False),
        ([c, c], [1], False),
    ]
    return [
        Case(
            f"hidden {number}: axes {axis} of {shape}",
            {"shape": shape, "axis": axis, "keepdims": keepdims},
            seed(rng),
        )
        for number, (shape, axis, keepdims) in enumerate(ways, 1)
    ]


def relus(rng: np.random.Generator) -> list[Case]:
    """Positive and negative values, and some zeros."""
    mixed = rng.permutation([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])
    return [
        Case("hidden 1: mixed", {"values": mixed.tolist()}, seed(rng)),
        Case("hidden 2: a matrix", {"values": mixed.reshape(2, 3).tolist()}, seed(rng)),
        Case("hidden 3: zeros", {"values": [0.0, 0.0, 1.0]}, seed(rng)),
    ]


def log_softmaxes(rng: np.random.Generator) -> list[Case]:
    """The last axis, another one, and squares and cubes."""
    a, b, c = sizes(rng, 3)
    ways = [([a, b], -1), ([a, b], 0), ([b, b], 1), ([a, b, c], 1), ([b, b, b], -2)]
    return [
        Case(f"hidden {number}: axis {axis} of {shape}", inputs, seed(rng))
        for number, (shape, axis) in enumerate(ways, 1)
        for inputs in [{"shape": shape, "axis": axis}]
    ]


def reshapes(rng: np.random.Generator) -> list[Case]:
    """Fewer axes, more axes, and a transposed shape."""
    a, b, c = sizes(rng, 3)
    ways = [([a, b, c], [a, b * c]), ([a * b], [b, a]), ([a, b], [b, a])]
    return [
        Case(f"hidden {number}: {old} to {new}", {"old": old, "new": new}, seed(rng))
        for number, (old, new) in enumerate(ways, 1)
    ]


def transposes(rng: np.random.Generator) -> list[Case]:
    """Permutations that are not their own inverse, of different and of equal sizes."""
    a, b, c = sizes(rng, 3)
    ways = [
        ([a, b], [1, 0]),
        ([a, b, c], [2, 0, 1]),
        ([b, b, b], [1, 2, 0]),
        ([2, 3, 4, 5], rng.permutation([1, 2, 3, 0]).tolist()),
    ]
    return [
        Case(f"hidden {number}: axes {axes}", {"shape": shape, "axes": axes}, seed(rng))
        for number, (shape, axes) in enumerate(ways, 1)
    ]


def graphs(rng: np.random.Generator) -> list[Case]:
    """Every kind of graph, some with an upstream of their own."""
    ways = [
        ("slides", False),
        ("reused", True),
        ("network", False),
        ("inner node", False),
        ("unreached", False),
        ("itself", True),
    ]
    return [
        Case(
            f"hidden {number}: {kind}" + (", upstream given" if upstream else ""),
            {"kind": kind, "upstream": upstream, "sizes": sizes(rng, 2)},
            seed(rng),
        )
        for number, (kind, upstream) in enumerate(ways, 1)
    ]


def hessians(rng: np.random.Generator) -> list[Case]:
    """Second derivatives."""
    return [
        Case(f"hidden {number}: {kind}", {"kind": kind, "sizes": sizes(rng, 2)}, seed(rng))
        for number, kind in enumerate(["reused", "network", "inner node"], 1)
    ]


def calls(rng: np.random.Generator) -> list[Case]:
    """Graphs with many paths, and with an operation that has no gradient."""
    depth = int(rng.integers(6, 10))
    return [
        Case("hidden 1: every node used twice", {"kind": "ladder", "depth": depth}),
        Case("hidden 2: an operation off the way", {"kind": "off the way", "depth": 3}),
        Case("hidden 3: an operation in the way", {"kind": "in the way", "depth": 3}),
    ]


CASES = {
    "summed": sums_to_shapes,
    "add_passes_on": broadcasts,
    "multiply_passes_on": broadcasts,
    "matmul_passes_on": matrices,
    "reduce_sum_passes_on": reduced,
    "relu_passes_on": relus,
    "log_softmax_passes_on": log_softmaxes,
    "reshape_passes_on": reshapes,
    "transpose_passes_on": transposes,
    "gradient_values": graphs,
    "second_derivatives": hessians,
    "gradient_calls": calls,
}

BROADCAST_FORGOTTEN = (
    "A gradient has the shape of its input. An input that was broadcast was used once for each "
    "copy: sum over the copies."
)

MISTAKES = [
    Mistake(
        "1.5 sum_to_shape",
        "only the new axes summed",
        hint="Broadcasting also repeats an axis of size 1. Those axes stay, with size 1, "
        "but their copies have to be added up.",
        replace={
            "    if repeated:\n        node = reduce_sum(node, repeated, keepdims=True)\n": ""
        },
    ),
    Mistake(
        "1.5 sum_to_shape",
        "only the axes of size 1 summed",
        hint="Shapes are aligned at their last axes; axes that are missing on the left were added "
        "by broadcasting and have to be summed away first.",
        replace={
            "    if new_axes > 0:\n        node = reduce_sum(node, range(new_axes))\n": "",
            "for axis, size in enumerate(shape) if size != node.shape[axis]": (
                "for axis, size in enumerate(shape) if size != node.shape[new_axes + axis]"
            ),
        },
    ),
    Mistake(
        "1.5 sum_to_shape",
        "summed axes of size 1 dropped",
        hint="The result has exactly the shape that was asked for: [4, 1] is not [4]. "
        "`reduce_sum` can keep a summed axis.",
        replace={"reduce_sum(node, repeated, keepdims=True)": "reduce_sum(node, repeated)"},
    ),
    Mistake(
        "1.5 add_gradient",
        "broadcasting forgotten",
        hint=BROADCAST_FORGOTTEN,
        replace={
            "sum_to_shape(upstream, x.shape), sum_to_shape(upstream, y.shape)": "upstream, upstream"
        },
    ),
    Mistake(
        "1.5 add_gradient",
        "only the second input may be broadcast",
        hint="Either input may be the one that was broadcast, and both at once: "
        "[4, 1] + [1, 3] is [4, 3].",
        replace={"return sum_to_shape(upstream, x.shape),": "return upstream,"},
    ),
    Mistake(
        "1.5 multiply_gradient",
        "each input gets its own value",
        hint="d(x * y) / dx is y: each input gets what arrives times the other input.",
        replace={
            "sum_to_shape(upstream * y, x.shape), sum_to_shape(upstream * x, y.shape)": (
                "sum_to_shape(upstream * x, x.shape), sum_to_shape(upstream * y, y.shape)"
            )
        },
    ),
    Mistake(
        "1.5 multiply_gradient",
        "broadcasting forgotten",
        hint=BROADCAST_FORGOTTEN,
        replace={
            "sum_to_shape(upstream * y, x.shape), sum_to_shape(upstream * x, y.shape)": (
                "upstream * y, upstream * x"
            )
        },
    ),
    Mistake(
        "1.5 multiply_gradient",
        "summed before the product",
        hint="Each copy of a broadcast input meets another element of the other input. "
        "Multiply first, then sum.",
        replace={
            "sum_to_shape(upstream * y, x.shape), sum_to_shape(upstream * x, y.shape)": (
                "sum_to_shape(sum_to_shape(upstream, x.shape) * y, x.shape), "
                "sum_to_shape(sum_to_shape(upstream, y.shape) * x, y.shape)"
            )
        },
    ),
    Mistake(
        "1.5 matmul_gradient",
        "transposes forgotten",
        hint="Write the shapes down: what arrives is [rows, columns], the gradient of x is "
        "[rows, inner], and y is [inner, columns]. Which product has that shape?",
        replace={"upstream @ transpose(y), transpose(x) @ upstream": "upstream @ y, x @ upstream"},
    ),
    Mistake(
        "1.5 matmul_gradient",
        "factors in the wrong order",
        hint="The shapes fit only for square matrices. What arrives stands where the product's "
        "rows and columns have to stay: on the left for x, on the right for y.",
        replace={
            "upstream @ transpose(y), transpose(x) @ upstream": (
                "transpose(y) @ upstream, upstream @ transpose(x)"
            )
        },
    ),
    Mistake(
        "1.5 reduce_sum_gradient",
        "broadcast without putting the summed axes back",
        hint="A sum over axis 1 of [2, 3] has shape [2], which does not line up with [2, 3]. "
        "First give it shape [2, 1]. For a square the wrong axis fits too, with wrong values.",
        replace={
            "broadcast_to(reshape(upstream, kept), x.shape)": "broadcast_to(upstream, x.shape)"
        },
    ),
    Mistake(
        "1.5 reduce_sum_gradient",
        "what arrives divided by the number of elements",
        hint="That is the gradient of the mean. In a sum every element counts fully.",
        replace={
            "broadcast_to(reshape(upstream, kept), x.shape)": (
                "broadcast_to(reshape(upstream, kept), x.shape) "
                "* (float(np.prod(node.shape)) / float(np.prod(x.shape)))"
            ),
        },
    ),
    Mistake(
        "1.5 relu_gradient",
        "1 at zero",
        hint="At x = 0 this course, like PyTorch, takes 0: only x > 0 lets the gradient through.",
        replace={"upstream * greater(x, 0)": "upstream * (1 - greater(0, x))"},
    ),
    Mistake(
        "1.5 relu_gradient",
        "the sign of what arrives decides",
        hint="It is the input x that decides whether something passes, not what arrives.",
        replace={"upstream * greater(x, 0)": "upstream * greater(upstream, 0)"},
    ),
    Mistake(
        "1.5 relu_gradient",
        "what arrives left out",
        hint="The derivative of the operation is only half of it: multiply it by what arrives.",
        replace={"upstream * greater(x, 0)": "greater(x, 0)"},
    ),
    Mistake(
        "1.5 log_softmax_gradient",
        "the logarithm used as the probability",
        hint="The node's value is the logarithm of s; the formula needs s.",
        replace={"exp(node) * total": "node * total"},
    ),
    Mistake(
        "1.5 log_softmax_gradient",
        "what arrives taken to sum to 1",
        hint="upstream - s is right where what arrives sums to 1 along the axis, as a one-hot "
        "label does. In general s is multiplied by that sum.",
        replace={"upstream - exp(node) * total": "upstream - exp(node)"},
    ),
    Mistake(
        "1.5 log_softmax_gradient",
        "always the last axis",
        hint="The axis is an attribute of the node.",
        replace={'node.attributes["axis"]': "-1"},
    ),
    Mistake(
        "1.5 log_softmax_gradient",
        "the summed axis dropped",
        hint="The sum has to line up with s again: keep the summed axis. "
        "For a square the wrong axis fits too, with wrong values.",
        replace={", keepdims=True)": ")"},
    ),
    Mistake(
        "1.5 reshape_gradient",
        "the shape of the result kept",
        hint="The gradient has the shape of the input, which is node.inputs[0].shape.",
        replace={"node.inputs[0].shape": "node.shape"},
    ),
    Mistake(
        "1.5 reshape_gradient",
        "ones passed on",
        hint="The elements that arrive are passed on, in the input's shape; they are not replaced.",
        source="""
def reshape_gradient(node, upstream):
    return (apply("ones_like", node.inputs[0]),)
""",
    ),
    Mistake(
        "1.5 transpose_gradient",
        "the same permutation again",
        hint="Doing a permutation twice undoes it only for two axes. Axis i of the result came "
        "from axis axes[i]: where does axis 0 of the input have to be fetched from?",
        replace={"[axes.index(axis) for axis in range(len(axes))]": "axes"},
    ),
    Mistake(
        "1.5 transpose_gradient",
        "axes reversed",
        hint="Reversing the axes undoes the transposition of a matrix, and no other.",
        replace={", [axes.index(axis) for axis in range(len(axes))])": ")"},
    ),
    Mistake(
        "1.5 gradients",
        "the last gradient kept instead of the sum",
        hint="A node with several consumers gets a gradient from each of them; they add up.",
        replace={"arrived[each] + gradient if each in arrived else gradient": "gradient"},
    ),
    Mistake(
        "1.5 gradients",
        "passed on before everything has arrived",
        hint="A node may pass its gradient on only when all its consumers have sent theirs. "
        "Going through the nodes in reverse order ensures that.",
        source="""
def gradients(target, sources, upstream=None):
    arrived = {}
    depends = set(sources)
    for node in ready_order([target]):
        if any(each in depends for each in node.inputs):
            depends.add(node)

    def send(node, gradient):
        arrived[node] = arrived[node] + gradient if node in arrived else gradient
        if any(each in depends for each in node.inputs):
            passed_on = gradient_function(node.operation)(node, gradient)
            for each, part in zip(node.inputs, passed_on):
                if part is not None and each in depends:
                    send(each, part)

    send(target, ones_like(target) if upstream is None else upstream)
    return [arrived[node] if node in arrived else zeros_like(node) for node in sources]
""",
    ),
    Mistake(
        "1.5 gradients",
        "None where a source is not reached",
        hint="A target that does not depend on a source has the derivative 0: return zeros of the "
        "source's shape, which can be differentiated again.",
        replace={
            "[arrived[node] if node in arrived else zeros_like(node) for node in sources]": (
                "[arrived.get(node) for node in sources]"
            )
        },
    ),
    Mistake(
        "1.5 gradients",
        "upstream ignored",
        hint="The gradient that arrives at the target is given by `upstream`; "
        "ones are only the default.",
        replace={"ones_like(target) if upstream is None else upstream": "ones_like(target)"},
    ),
    Mistake(
        "1.5 gradients",
        "every node asked, needed or not",
        hint="A node that depends on no source has nothing to pass on, and its operation need not "
        "have a gradient. Ask only the nodes between a source and the target.",
        source="""
def gradients(target, sources, upstream=None):
    arrived = {target: ones_like(target) if upstream is None else upstream}
    for node in reversed(ready_order([target])):
        if node in arrived and node.inputs:
            passed_on = gradient_function(node.operation)(node, arrived[node])
            for each, gradient in zip(node.inputs, passed_on):
                if gradient is not None:
                    arrived[each] = arrived[each] + gradient if each in arrived else gradient
    return [arrived[node] if node in arrived else zeros_like(node) for node in sources]
""",
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.5 sum_to_shape",
        """
def sum_to_shape(node, shape):
    extra = len(node.shape) - len(shape)
    aligned = [1] * extra + list(shape)
    axes = [i for i, size in enumerate(aligned) if i < extra or size != node.shape[i]]
    if not axes:
        return node
    summed = reduce_sum(node, axes, keepdims=True)
    return apply("reshape", summed, shape=tuple(shape))
""",
        "one sum and a reshape",
    ),
    Alternative(
        "1.5 add_gradient",
        """
def add_gradient(node, upstream):
    return tuple(sum_to_shape(upstream, each.shape) for each in node.inputs)
""",
    ),
    Alternative(
        "1.5 multiply_gradient",
        """
def multiply_gradient(node, upstream):
    shapes = [each.shape for each in node.inputs]
    others = node.inputs[::-1]
    return [sum_to_shape(other * upstream, shape) for other, shape in zip(others, shapes)]
""",
    ),
    Alternative(
        "1.5 matmul_gradient",
        """
def matmul_gradient(node, upstream):
    x, y = node.inputs
    return transpose(y @ transpose(upstream)), transpose(transpose(upstream) @ x)
""",
        "both transposed",
    ),
    Alternative(
        "1.5 reduce_sum_gradient",
        """
def reduce_sum_gradient(node, upstream):
    x = node.inputs[0]
    shape = list(x.shape)
    for axis in node.attributes["axis"]:
        shape[axis] = 1
    spread = reshape(upstream, shape) * apply("ones_like", x)
    return (spread,)
""",
        "times ones",
    ),
    Alternative(
        "1.5 relu_gradient",
        """
def relu_gradient(node, upstream):
    return (greater(node, 0) * upstream,)
""",
        "asks the result",
    ),
    Alternative(
        "1.5 log_softmax_gradient",
        """
def log_softmax_gradient(node, upstream):
    axis = node.attributes["axis"]
    probabilities = apply("softmax", node.inputs[0], axis=axis)
    return (upstream - reduce_sum(upstream, axis, True) * probabilities,)
""",
        "softmax computed again",
    ),
    Alternative(
        "1.5 reshape_gradient",
        """
def reshape_gradient(node, upstream):
    (x,) = node.inputs
    return [apply("reshape", upstream, shape=x.shape)]
""",
    ),
    Alternative(
        "1.5 transpose_gradient",
        """
def transpose_gradient(node, upstream):
    inverse = [0] * len(node.shape)
    for place, axis in enumerate(node.attributes["axes"]):
        inverse[axis] = place
    return (transpose(upstream, inverse),)
""",
    ),
    Alternative(
        "1.5 gradients",
        """
def gradients(target, sources, upstream=None):
    order = ready_order([target])
    reaches = {node: node in sources for node in order}
    consumers = {node: [] for node in order}
    for node in order:
        for place, each in enumerate(node.inputs):
            consumers[each].append((node, place))
            reaches[node] = reaches[node] or reaches[each]
    totals, parts = {}, {}
    for node in order[::-1]:
        terms = [parts[consumer][place] for consumer, place in consumers[node] if consumer in parts]
        terms = [term for term in terms if term is not None]
        if node is target:
            terms.append(upstream if upstream is not None else ones_like(target))
        if not terms or not reaches[node]:
            continue
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        totals[node] = total
        if any(reaches[each] for each in node.inputs):
            parts[node] = gradient_function(node.operation)(node, total)
    return [totals.get(node, None) or zeros_like(node) for node in sources]
""",
        "each node collects from its consumers",
    ),
]

ANSWERS = {
    "1.5-written": """\
The nodes of the backward part are consumers of the forward part. The gradient of a weight is \
transpose(input) @ upstream, so the result of every relu, the input of the next layer, waits for \
that matrix product; the mask of every relu waits for the product with what arrives. The product \
before the bias is added and the sum before the relu do not wait: their last consumers (the \
addition; the relu and the comparison that makes the mask) are in the forward part.

The first layer's values are made first and are the last to be used. So every layer adds what \
waits until the forward part ends, and from there every layer of the backward part frees what it \
has used: the peak lies between the two. At the end the gradients themselves, which are targets, \
remain.

To lower the peak: keep the results of only some layers and compute the others again in the \
backward part, which costs up to a second forward computation; or smaller batches, whose matrix \
products use the machine less well; or a narrower type, which costs precision.
""",
}
