"""Stage 1.7: hidden cases, mistakes and alternatives of the compiler."""

from typing import Any

import numpy as np

from aisys.course import Case
from autograder.catalogue import Alternative, Mistake
from autograder.hidden.lab1_autodiff.graph import seed


def number(rng: np.random.Generator) -> float:
    """A number of two digits, none of them special."""
    return round(float(rng.uniform(1.1, 9.9)), 1)


def matrix(rng: np.random.Generator, rows: int, columns: int) -> str:
    """A constant array as a piece of a program."""
    return f"array({np.round(rng.uniform(-3, 3, (rows, columns)), 2).tolist()})"


def foldings(rng: np.random.Generator) -> list[Case]:
    """Numbers, arrays, float32, branches, and a target that folds."""
    a, b, c = (number(rng) for _ in range(3))
    rows, inner = (int(n) for n in rng.permutation([2, 3, 4])[:2])
    product = f"({matrix(rng, rows, inner)} @ {matrix(rng, inner, 2)})"
    programs: list[tuple[str, dict[str, Any]]] = [
        ("numbers, four deep", {"program": f"x - (({a} * {b} - {c}) ** 2 + {a})"}),
        ("a product of matrices", {"program": f"x + exp({product})", "shapes": {"x": [rows, 2]}}),
        (
            "float32 stays float32",
            {"program": f"(3 - 1) * {a} * x - zeros_like(x), ones_like(x)", "dtype": "float32"},
        ),
        (
            "in a branch of a branch",
            {
                "program": f'cond(x > 0.0, "a0 / ({a} + {b})",'
                f" \"cond(a0 > -1.0, 'a0 * ({b} * {c})', '-a0', a0)\", x)",
                "shapes": {"x": []},
            },
        ),
        ("a target that is constant", {"program": f"log(array([{a}, {b}])) * {c}, x, x + 1.0"}),
    ]
    return [
        Case(f"hidden {i}: {name}", {"shapes": {"x": [4]}, **inputs}, seed(rng))
        for i, (name, inputs) in enumerate(programs, 1)
    ]


def random_program(rng: np.random.Generator, statements: int) -> str:
    """A program on x and y in which much is computed more than once."""
    lines: list[str] = []
    names = ["x", "y"]
    for i in range(statements):
        left, right = (names[k] for k in rng.integers(len(names), size=2))
        right = right if rng.random() < 0.8 else "2.0"
        lines.append(f"t{i} = {left} {'+-*'[rng.integers(3)]} {right}")
        if rng.random() < 0.5:
            names.append(f"t{i}")
    return "; ".join([*lines, ", ".join(f"t{i}" for i in range(statements))])


def repetitions(rng: np.random.Generator) -> list[Case]:
    """Random graphs with much to merge, and every way in which merging goes wrong."""
    a, b = number(rng), number(rng)
    axes = "axis=(0,), keepdims=False", "axis=(1,), keepdims=False"
    sums = [f"reduce_sum(x * y, {axis})" for axis in (*axes, axes[0])]
    rows = matrix(rng, 2, 2), matrix(rng, 2, 2)
    programs = [
        ("a random graph", random_program(rng, 8)),
        ("a larger one", random_program(rng, 16)),
        (
            "commuted, deep down",
            f"exp((x + {a}) * y) - {b}, exp(y * ({a} + x)), exp(x * (y + {a}))",
        ),
        ("what does not commute", f"x - {a}, {a} - x, x / y, y / x, x @ y, y @ x, x @ y"),
        ("other axes", f"{sums[0]} - {sums[1]}, exp({sums[2]})"),
        (
            "types of constants",
            "t = x > y; t * 2, t * 2.0, t * 2, t * True, t * 1, x / 0.0 + x / (-0.0)",
        ),
        ("arrays", f"x @ {rows[0]}, x @ {rows[1]}, x @ {rows[0]}, y + {rows[1]}, {rows[1]} + y"),
        (
            "branches",
            f"p = x > {a}; s = reduce_sum(x, axis=(0, 1), keepdims=False) > 0.0;"
            f' cond(s, "a0 * a1 + a1 * a0", "a0", x, y), cond(s, "a0 - a1", "a1", x, y), p',
        ),
    ]
    return [
        Case(f"hidden {i}: {name}", {"program": program, "shapes": shapes}, seed(rng))
        for i, (name, program) in enumerate(programs, 1)
        for shapes in [{"x": [2, 2], "y": [2, 2]}]
    ]


def arrays(rng: np.random.Generator) -> list[Case]:
    """Large arrays that differ in the middle."""
    same, other = (int(place) for place in rng.permutation(np.arange(1200, 1800))[:2])
    return [
        Case("hidden 1: large arrays", {"size": 3000, "places": [same, other, same]}, seed(rng)),
        Case("hidden 2: two of each", {"size": 2600, "places": [other, same, other, same]}),
    ]


def conditionals(rng: np.random.Generator) -> list[Case]:
    """Operands that no, one or two branches use; constant predicates; nested conditionals."""
    k, (a, b, c, d, e) = number(rng), (int(i) for i in rng.permutation(5))
    operands = ", ".join(f"exp(x * {i}.0) + y" for i in range(1, 6))
    then, otherwise = f"a{a} - a{b} * a{a}", f"relu(a{b}) + a{c}"
    nested = f"cond(a4 > 0.0, 'a{min(a, 3)} * {k}', '-a{min(a, 3)}', a0, a1, a2, a3, a4)"
    shapes = {"p": [], "x": [2, 2], "y": [2, 2]}
    programs = [
        ("used by one or both", f'cond(p > 0.0, "{then}", "{otherwise}", {operands})', 1.0),
        ("the same, false", f'cond(p > 0.0, "{then}", "{otherwise}", {operands})', -1.0),
        ("used by the second", f'cond(p > 0.0, "a{d}", "a{e} * a{c}", {operands}) + y', -0.5),
        ("True", f'cond(True, "a0 / {k} + a1", "exp(a0)", x - y, x), x', 0.0),
        (
            "an array that holds False",
            f'cond(array(False, "bool"), "a0", "a1 - a0 * a1 / {k}", x - y, x + y)',
            0.0,
        ),
        (
            "nested",
            f'cond(p > 0.0, "{nested}", "a0 + a0", x, x * y, y - x, x + y, p * {k}), x',
            0.5,
        ),
    ]
    return [
        Case(
            f"hidden {i}: {name}",
            {"program": program, "shapes": shapes, "values": {"p": p}},
            seed(rng),
        )
        for i, (name, program, p) in enumerate(programs, 1)
    ]


def arithmetic(rng: np.random.Generator) -> list[Case]:
    """What goes, what stays, and what only looks like it."""
    k = number(rng)
    special = rng.permutation([float("inf"), float("-inf"), float("nan"), 0.0, k]).tolist()
    ones = "array([[1.0], [1.0], [1.0]])"
    programs: list[tuple[str, dict[str, Any]]] = [
        ("a chain", {"program": f"1 * ((x * {k} - 0.0) / 1 + 0) ** 1.0"}),
        ("both sides", {"program": "0.0 + x, x * 1, 1 - x, 0 - x, 1 / x, 1.0 ** x"}),
        (
            "infinity and nan",
            {"program": "x * 0, 0.0 * x, x - x, x / x, x + 0.0", "values": {"x": special}},
        ),
        (
            "arrays and NumPy's numbers",
            {
                "program": f"x * {ones}, {ones} * x, x + array(0.0), x / array(1.0), x - 0.0",
                "dtype": "float32",
            },
        ),
        (
            "booleans",
            {"program": f"(x > {k}) * 1.0, 0 + reshape(x > 0.0, shape=(5, 1)), relu(x) * 1"},
        ),
        ("signs", {"program": f"-(-(x * {k})), (-x) + {k}, {k} + (-x), x - (-{k} * x), x - (-x)"}),
    ]
    return [
        Case(f"hidden {i}: {name}", {"shapes": {"x": [5]}, **inputs}, seed(rng))
        for i, (name, inputs) in enumerate(programs, 1)
    ]


def reshaped(rng: np.random.Generator) -> list[Case]:
    """Changes of shape that go, that are joined, and that have to stay."""
    a, b, c = (int(size) for size in rng.permutation([2, 3, 4]))
    k = number(rng)
    first = tuple(int(i) for i in rng.permutation([(1, 2, 0), (2, 0, 1)])[0])
    back = tuple(first.index(i) for i in range(3))
    programs = [
        (
            "shapes that stay",
            f"reshape(x, shape=({a}, {b})) + {k}, transpose(x, axes=(0, 1)) * {k},"
            f" transpose(x, axes=(1, 0)), broadcast_to(x, shape=({a}, {b})),"
            f" broadcast_to(x, shape=({c}, {a}, {b}))",
            {"x": [a, b]},
        ),
        (
            "there, on and back",
            f"reshape(reshape(reshape(x, shape=({b * a},)), shape=({b}, {a})), shape=({a}, {b})),"
            f" reshape(reshape(x, shape=(1, {a * b})), shape=({a * b}, 1)),"
            f" broadcast_to(broadcast_to(x, shape=(1, {a}, {b})), shape=({c}, {a}, {b}))",
            {"x": [a, b]},
        ),
        (
            "circles of three axes",
            f"transpose(transpose(x, axes={first}), axes={back}),"
            f" transpose(transpose(x, axes={first}), axes=(0, 2, 1)),"
            f" transpose(transpose(x, axes=(2, 1, 0)), axes={first})",
            {"x": [c, c, c]},
        ),
        (
            "broadcasts on either side",
            f"x * broadcast_to(y, shape=({a}, {b})), broadcast_to(z, shape=({a}, {b})) - x,"
            f" broadcast_to(y, shape=({a}, {b})) / broadcast_to(z, shape=({a}, {b}))",
            {"x": [a, b], "y": [b], "z": [a, 1]},
        ),
        (
            "broadcasts that are needed",
            f"exp(broadcast_to(y, shape=({a}, {b}))) - w,"
            f" broadcast_to(y, shape=({a}, {b})) * broadcast_to(w, shape=({a}, {b})),"
            f" broadcast_to(y, shape=({a}, {b})) + {k}",
            {"y": [b], "w": [1, b]},
        ),
        (
            "numbers in float32",
            f"broadcast_to({k}, shape=({b},)) * y, broadcast_to(2, shape=({b},)) + y,"
            f" reshape({k}, shape=()) - y",
            {"y": [b]},
        ),
    ]
    return [
        Case(
            f"hidden {i}: {name}",
            {"program": program, "shapes": shapes, "dtype": "float32" if i == 6 else "float64"},
            seed(rng),
        )
        for i, (name, program, shapes) in enumerate(programs, 1)
    ]


def random_elementwise(rng: np.random.Generator, statements: int) -> str:
    """A program of elementwise and other operations, with targets at the end and in the middle."""
    names = ["x", "y", "z"]
    lines = []
    for i in range(statements):
        left = names[-1] if rng.random() < 0.6 else names[rng.integers(len(names))]
        right = names[rng.integers(len(names))]
        kind = rng.random()
        if kind < 0.15:
            text = f"softmax({left}, axis=-1)"
        elif kind < 0.5:
            text = f"{('exp', 'relu', 'sqrt')[rng.integers(3)]}({left})"
        else:
            text = f"{left} {'+-*/>'[rng.integers(5)]} {right}"
        lines.append(f"t{i} = {text}")
        names.append(f"t{i}")
    targets = {statements - 1, statements - 2, int(rng.integers(statements))}
    return "; ".join([*lines, ", ".join(f"t{i}" for i in sorted(targets))])


def groups(rng: np.random.Generator) -> list[Case]:
    """Random graphs, and one of each kind of neighbour that must stay outside."""
    rows, columns = (int(n) for n in rng.permutation([2, 3, 4])[:2])
    full = {name: [rows, columns] for name in "xyz"}
    k = number(rng)
    programs = [
        ("a random graph", random_elementwise(rng, 8), full),
        ("a larger one", random_elementwise(rng, 14), full),
        ("a third", random_elementwise(rng, 20), full),
        (
            "several consumers",
            f"a = x - {k}; b = a * y; c = softmax(b, axis=0); d = a + c; e = relu(d); f = e * d;"
            " g = exp(f); g",
            full,
        ),
        (
            "targets in the middle",
            f"a = x * {k}; b = a + y; c = exp(b); d = c - z; e = sqrt(d); e, c, e",
            full,
        ),
        (
            "shapes that differ",
            f"a = r * {k}; b = exp(a); c = x * b; d = s + s; e = d * {k}; f = c / e;"
            " g = reduce_sum(f, axis=(0,), keepdims=True); h = g + r; i = -h; i",
            {"x": [rows, columns], "r": [columns], "s": []},
        ),
        ("a power", f"a = x + y; b = a ** 2; c = b * {k}; d = exp(c); d", full),
    ]
    return [
        Case(f"hidden {i}: {name}", {"program": program, "shapes": shapes})
        for i, (name, program, shapes) in enumerate(programs, 1)
    ]


def sources(rng: np.random.Generator) -> list[Case]:
    """Chains, trees and shared values; rows, columns and numbers; blocks that do not divide."""
    k = number(rng)
    rows, columns = 10 * int(rng.integers(20, 40)), int(rng.integers(60, 120))
    rest = int(rng.integers(2, 9))
    programs: list[tuple[str, str, dict[str, list[int]], dict[str, Any]]] = [
        (
            "a tree",
            f"a = x * y; b = a - {k}; c = exp(x); d = b / c; d",
            {"x": [rows, columns], "y": [rows, columns]},
            {"rows": rows // 10},
        ),
        (
            "a rest of rows",
            f"a = relu(x); b = q * a; c = b + {k}; c",
            {"x": [rows + rest, columns], "q": [rows + rest, 1]},
            {"rows": rows // 10},
        ),
        (
            "float32",
            f"a = x > {k}; b = u * a; d = b + r; d",
            {"x": [rows, columns], "u": [rows, columns], "r": [columns]},
            {"rows": rows // 10, "dtype": "float32"},
        ),
        (
            "a square",
            f"a = r - x; b = a * s; c = b / {k}; c",
            {"x": [columns * 2] * 2, "r": [columns * 2], "s": [1, columns * 2]},
            {"rows": columns // 5},
        ),
        (
            "shared values",
            "a = x - y; b = a * a; d = b + b; e = d * b; f = e - a; f",
            {"x": [rows, columns], "y": [rows, columns]},
            {"rows": rows // 20},
        ),
    ]
    return [
        Case(f"hidden {i}: {name}", {"program": program, "shapes": shapes, **more}, seed(rng))
        for i, (name, program, shapes, more) in enumerate(programs, 1)
    ]


CASES = {
    "folded": foldings,
    "merged": repetitions,
    "large_arrays_merged": arrays,
    "cleaned": conditionals,
    "arithmetic_simplified": arithmetic,
    "shapes_simplified": reshaped,
    "grouped": groups,
    "generated": sources,
}

MISTAKES = [
    Mistake(
        "1.7 fold_constants",
        "a node without inputs folded",
        hint="`all` and `any` over no inputs say that all of them are constants, and a placeholder "
        "has none. What has no inputs stays.",
        replace={"if not node.inputs or any(": "if any("},
    ),
    Mistake(
        "1.7 fold_constants",
        "numbers made into arrays",
        hint="The dtype changed. A Python number leaves a float32 in float32, an array of float64 "
        "does not: the constant's value is exactly what `compute` returned.",
        replace={
            "constant(OPERATIONS[node.operation].compute(*values, **node.attributes), node.name)": (
                "constant(np.array(OPERATIONS[node.operation].compute(*values, **node.attributes)))"
            )
        },
    ),
    Mistake(
        "1.7 fold_constants",
        "ones_like folded by its shape",
        hint="The shape of a placeholder is known when the graph is compiled, its dtype is not. "
        "ones_like(x) has to wait for x.",
        source="""
def fold_constants(targets):
    def fold(node):
        if node.operation == "ones_like":
            return constant(np.ones(node.shape))
        if node.operation == "zeros_like":
            return constant(np.zeros(node.shape))
        if not node.inputs or any(each.operation != "constant" for each in node.inputs):
            return node
        values = [each.attributes["value"] for each in node.inputs]
        return constant(OPERATIONS[node.operation].compute(*values, **node.attributes))

    return rewrite(targets, fold)
""",
    ),
    Mistake(
        "1.7 fold_constants",
        "nodes changed in place",
        hint="The graph that came in is somebody else's: make a new node with `constant` and leave "
        "the old one as it is.",
        source="""
def fold_constants(targets):
    def fold(node):
        if node.inputs and all(each.operation == "constant" for each in node.inputs):
            values = [each.attributes["value"] for each in node.inputs]
            value = OPERATIONS[node.operation].compute(*values, **node.attributes)
            node.operation, node.inputs, node.attributes = "constant", (), {"value": value}
        return node

    return rewrite(targets, fold)
""",
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "attributes left out",
        hint="Two sums over different axes are not the same: attributes belong to the key.",
        replace={", tuple(sorted(node.attributes.items()))": ""},
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "the order of inputs never counts",
        hint="x + y is y + x, but x - y is not y - x. Only the operations in COMMUTATIVE let the "
        "order of their inputs go.",
        replace={
            "inputs = frozenset(node.inputs) if commutes else node.inputs": (
                "inputs = frozenset(node.inputs)"
            )
        },
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "the order of inputs always counts",
        hint="x + y and y + x compute the same. For the operations in COMMUTATIVE a key must not "
        "depend on the order of the inputs.",
        replace={
            "inputs = frozenset(node.inputs) if commutes else node.inputs": "inputs = node.inputs"
        },
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "constants compared by ==",
        hint="1, 1.0 and True are equal and hash alike, and so are 0.0 and -0.0, but they are "
        "different constants. Put the type and the bytes into the key.",
        replace={
            'key = "constant", type(value), array.dtype, array.shape, array.tobytes()': (
                'key = "constant", array.shape, tuple(array.ravel().tolist())'
            )
        },
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "arrays compared by how they print",
        hint="A large array prints as its first and last elements, and numbers print with few "
        "digits: different arrays can look the same. Compare their bytes.",
        replace={"array.shape, array.tobytes()": "array.shape, str(array)"},
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "placeholders merged",
        hint="Two placeholders of one shape are still two: they are fed different values.",
        replace={
            "            return node\n": "            return first.setdefault(node.shape, node)\n"
        },
    ),
    Mistake(
        "1.7 merge_common_subexpressions",
        "constants left apart",
        hint="Every number that is written in a program makes a constant of its own. Equal ones "
        "have to become one node, or nothing that uses them will be equal.",
        replace={'if node.operation == "placeholder":': "if not node.inputs:"},
    ),
    Mistake(
        "1.7 eliminate_dead_code",
        "what one branch does not use dropped",
        hint="An operand is dead only if neither branch needs it. It may be the other one that is "
        "taken.",
        replace={
            "if any(branch.parameters[i] in used[name]": "if all(branch.parameters[i] in used[name]"
        },
    ),
    Mistake(
        "1.7 eliminate_dead_code",
        "only the first branch looked at",
        hint="What `otherwise` uses is alive as well.",
        replace={
            "if any(branch.parameters[i] in used[name] for name, branch in branches.items())": (
                'if branches["then"].parameters[i] in used["then"]'
            )
        },
    ),
    Mistake(
        "1.7 eliminate_dead_code",
        "each branch keeps only its own parameters",
        hint="Both branches get all operands of the node, in order. A parameter that only the "
        "other branch uses has to stay, or the operands no longer line up.",
        replace={
            "tuple(branch.parameters[i] for i in kept)": (
                "tuple(each for each in branch.parameters if each in used[name])"
            )
        },
    ),
    Mistake(
        "1.7 eliminate_dead_code",
        "a constant predicate overlooked",
        hint="If the predicate is a constant, it is known now which branch is taken, and the other "
        "is dead code.",
        replace={'predicate.operation == "constant"': "False"},
    ),
    Mistake(
        "1.7 eliminate_dead_code",
        "the branch's own parameters left in place",
        hint="The branch's result is made from its parameters, which nobody feeds outside of a "
        "conditional node. `rebuild` puts the operands in their places.",
        replace={
            "rebuild(taken.result, dict(zip(taken.parameters, operands, strict=True)))": (
                "taken.result"
            )
        },
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "x * 0 made 0",
        hint="Infinity times 0 is nan, and so is nan times 0. x * 0 has to be computed.",
        replace={
            "        commutes = node": (
                '        if node.operation == "multiply" and python_number(right) == 0:\n'
                '            return apply("zeros_like", left)\n'
                "        commutes = node"
            )
        },
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "1 / x and 0 - x made x",
        hint="A sum and a product may have the neutral number on either side. In a difference, a "
        "quotient or a power it does nothing only on the right.",
        replace={'commutes = node.operation in ("add", "multiply")': "commutes = True"},
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "only looked at on the right",
        hint="1 * x and 0 + x change nothing either.",
        replace={'commutes = node.operation in ("add", "multiply")': "commutes = False"},
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "an array of ones taken for a 1",
        hint="x * ones may have a larger shape than x, or another dtype. Only a Python number "
        "leaves both as they are: ask `python_number`.",
        replace={
            "if python_number(right) == neutral[node.operation] and is_floating(left):": (
                'if right.operation == "constant" and is_floating(left) and np.all(\n'
                '            right.attributes["value"] == neutral[node.operation]\n'
                "        ):"
            )
        },
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "a boolean times 1 left a boolean",
        hint="(x > y) * 1.0 is a number, x > y is not, and later arithmetic will differ. "
        "`is_floating` says whether the dtype stays.",
        replace={
            "neutral[node.operation] and is_floating(left)": "neutral[node.operation]",
            "neutral[node.operation] and is_floating(right)": "neutral[node.operation]",
        },
    ),
    Mistake(
        "1.7 simplify_arithmetic",
        "the sides of the difference exchanged",
        hint="x + (-y) is x - y. Which of the two is taken away?",
        replace={
            'apply("subtract", left, right.inputs[0], name=node.name)': (
                'apply("subtract", right.inputs[0], left, name=node.name)'
            )
        },
    ),
    Mistake(
        "1.7 simplify_shapes",
        "transposes joined in the wrong order",
        hint="Axis i of the outer transpose is axis outer[i] of the inner one, and that is axis "
        "inner[outer[i]] of what goes in. With two axes one does not see the difference.",
        replace={
            'tuple(inner[axis] for axis in attributes["axes"])': (
                'tuple(attributes["axes"][axis] for axis in inner)'
            )
        },
    ),
    Mistake(
        "1.7 simplify_shapes",
        "every broadcast dropped",
        hint="A broadcast is needed where it alone makes the shape: work out the shape that the "
        "operation would have without it.",
        replace={"elementwise_shape(*(taken.shape for taken in shorter)) == node.shape": "shorter"},
    ),
    Mistake(
        "1.7 simplify_shapes",
        "both broadcasts dropped because either could be",
        hint="Each of two broadcasts may be superfluous only as long as the other one is there. "
        "Try the second with what you have done to the first.",
        replace={
            "[*inputs[:i], each.inputs[0], *inputs[i + 1 :]]": (
                "[*node.inputs[:i], each.inputs[0], *node.inputs[i + 1 :]]"
            ),
            "inputs = shorter": "inputs[i] = each.inputs[0]",
        },
    ),
    Mistake(
        "1.7 simplify_shapes",
        "two in a row taken to cancel",
        hint="The second reshape undoes the first only if it leads back to the shape that was "
        "there before. Otherwise both become one.",
        replace={
            "            node = apply(node.operation, x, name=node.name, **attributes)": (
                "            return x"
            )
        },
    ),
    Mistake(
        "1.7 simplify_shapes",
        "what was joined not looked at again",
        hint="There and back again joins to a change that changes nothing. Look at the joined node "
        "once more.",
        replace={
            "            node = apply(node.operation, x,": (
                "            return apply(node.operation, x,"
            )
        },
    ),
    Mistake(
        "1.7 simplify_shapes",
        "a broadcast number dropped",
        hint="2.0 is a Python number, and broadcast_to makes an array of float64 of it: without "
        "the broadcast a float32 stays one. `is_python_number` tells.",
        replace={
            " and not is_python_number(each.inputs[0])": "",
            " and not is_python_number(x)": "",
        },
    ),
    Mistake(
        "1.7 fusion_groups",
        "one of several consumers decides",
        hint="A value that two groups need has to be written to memory once. Only if all consumers "
        "are in one group may it disappear in it.",
        replace={
            "{root[consumer] for consumer in consumers[node]}": (
                "{root[consumer] for consumer in consumers[node][:1]}"
            )
        },
    ),
    Mistake(
        "1.7 fusion_groups",
        "exactly one consumer asked for",
        hint="A value may be used several times inside its group: what counts is that all its "
        "consumers are in the same one.",
        replace={
            "if len(roots) == 1 and": "if len(consumers[node]) == 1 and",
        },
    ),
    Mistake(
        "1.7 fusion_groups",
        "targets swallowed",
        hint="The caller wants the value of a target. It can be the root of a group, but not "
        "disappear inside one.",
        replace={" and node not in targets": ""},
    ),
    Mistake(
        "1.7 fusion_groups",
        "shapes not compared",
        hint="A row that is broadcast later is small: computed inside the group it would be "
        "computed again for every block. It stays outside.",
        replace={"shared.shape == node.shape != ()": "node.shape != ()"},
    ),
    Mistake(
        "1.7 fusion_groups",
        "anything taken as a root",
        hint="A softmax or a sum needs all elements before it can give one, so it cannot be the "
        "root of a group: the root's operation is in CALLS as well.",
        replace={"if shared.operation in CALLS and shared.shape": "if shared.shape"},
    ),
    Mistake(
        "1.7 generate_source",
        "no blocks",
        hint="Each operation still goes through whole arrays, so nothing is saved. The loop has "
        "to be over blocks of rows, with all operations inside it.",
        replace={
            "    shape = group[-1].shape\n": "    shape = group[-1].shape\n    rows = shape[0]\n"
        },
    ),
    Mistake(
        "1.7 generate_source",
        "the result always float64",
        hint="The result has the dtype of the last operation's block, which is known after the "
        "first block.",
        replace={", {last}.dtype)": ")"},
    ),
    Mistake(
        "1.7 generate_source",
        "a smaller last block",
        hint="The temporary arrays have the rows of a full block, and NumPy will not write fewer "
        "into them. Let the last block begin earlier.",
        replace={
            "slice(min(start, {shape[0]} - {rows}), start + {rows})": "slice(start, start + {rows})"
        },
    ),
    Mistake(
        "1.7 generate_source",
        "cut by the first size alone",
        hint="A vector of n elements beside an n by n matrix is a row of it. Only an input with as "
        "many axes as the result is cut into rows.",
        replace={"cut = len(each.shape) == len(shape) and": "cut = bool(each.shape) and"},
    ),
    Mistake(
        "1.7 generate_source",
        "only inputs of the full shape cut",
        hint="A column [rows, 1] has a row for each row of the result: it is cut like the others.",
        replace={
            "cut = len(each.shape) == len(shape) and each.shape[0] == shape[0]": (
                "cut = each.shape == shape"
            )
        },
    ),
    Mistake(
        "1.7 generate_source",
        "expressions nested",
        hint="A value that is used twice was computed twice. Give each node of the group a name.",
        source='''
def generate_source(group, inputs, rows):
    shape = group[-1].shape
    names = {}
    for i, each in enumerate(inputs):
        cut = len(each.shape) == len(shape) and each.shape[0] == shape[0]
        names[each] = f"x{i}[block]" if cut else f"x{i}"
    for node in group:
        names[node] = call_source(node.operation, [names[each] for each in node.inputs], "None")
    return f"""
def fused({', '.join(f'x{i}' for i in range(len(inputs)))}):
    result = None
    for start in range(0, {shape[0]}, {rows}):
        block = slice(start, start + {rows})
        value = {names[group[-1]]}
        if result is None:
            result = np.empty({shape}, value.dtype)
        result[block] = value
    return result
"""
''',
    ),
    Mistake(
        "1.7 generate_source",
        "written into an input",
        hint="The inputs belong to others, who will use them again: out= is never one of them.",
        replace={
            "call_source(node.operation, arguments, f't{i}')": (
                "call_source(node.operation, arguments, "
                "arguments[0] if arguments[0].endswith('[block]') else f't{i}')"
            )
        },
    ),
]

ALTERNATIVES = [
    Alternative(
        "1.7 fold_constants",
        """
from aisys.autodiff.passes import map_branches, with_inputs

def fold_constants(targets):
    new = {}
    for node in ready_order(targets):
        inputs = [new[each] for each in node.inputs]
        known = [each.attributes["value"] for each in inputs if each.operation == "constant"]
        if inputs and len(known) == len(inputs):
            value = OPERATIONS[node.operation].compute(*known, **node.attributes)
            new[node] = Node("constant", (), node.shape, {"value": value})
        else:
            new[node] = map_branches(with_inputs(node, inputs), fold_constants)
    return [new[node] for node in targets]
""",
        "a walk of its own",
    ),
    Alternative(
        "1.7 merge_common_subexpressions",
        """
def merge_common_subexpressions(targets):
    seen = []

    def alike(a, b):
        if a.operation != b.operation or a.operation == "placeholder":
            return False
        if a.operation == "constant":
            left, right = a.attributes["value"], b.attributes["value"]
            if type(left) is not type(right):
                return False
            left, right = np.asarray(left), np.asarray(right)
            same_kind = left.dtype == right.dtype and left.shape == right.shape
            return same_kind and left.tobytes() == right.tobytes()
        ways = [a.inputs]
        if a.operation in COMMUTATIVE:
            ways.append(a.inputs[::-1])
        fits = any(all(i is j for i, j in zip(way, b.inputs, strict=True)) for way in ways)
        return fits and a.attributes == b.attributes

    def merge(node):
        for other in seen:
            if alike(node, other):
                return other
        seen.append(node)
        return node

    return rewrite(targets, merge)
""",
        "every pair compared",
    ),
    Alternative(
        "1.7 eliminate_dead_code",
        """
def eliminate_dead_code(targets):
    def needed(branch):
        nodes, found = set(), [branch.result]
        while found:
            node = found.pop()
            if node not in nodes:
                nodes.add(node)
                found += node.inputs
        return [parameter in nodes for parameter in branch.parameters]

    def clean(node):
        if node.operation != "cond":
            return node
        then, otherwise = node.attributes["then"], node.attributes["otherwise"]
        predicate = node.inputs[0]
        if predicate.operation == "constant":
            branch = then if bool(predicate.attributes["value"]) else otherwise
            return rebuild(branch.result, dict(zip(branch.parameters, node.inputs[1:])))
        rows = zip(
            node.inputs[1:],
            then.parameters,
            otherwise.parameters,
            needed(then),
            needed(otherwise),
        )
        alive = [row[:3] for row in rows if row[3] or row[4]]
        if len(alive) + 1 == len(node.inputs):
            return node
        return apply(
            "cond",
            predicate,
            *[row[0] for row in alive],
            then=Branch(tuple(row[1] for row in alive), then.result),
            otherwise=Branch(tuple(row[2] for row in alive), otherwise.result),
        )

    return rewrite(targets, clean)
""",
        "by columns",
    ),
    Alternative(
        "1.7 simplify_arithmetic",
        """
def simplify_arithmetic(targets):
    def simplify(node):
        operation, inputs = node.operation, node.inputs
        numbers = [python_number(each) for each in inputs]
        keeps = [is_floating(each) for each in inputs]
        if operation == "multiply":
            if numbers[0] == 1 and keeps[1]:
                return inputs[1]
            if numbers[1] == 1 and keeps[0]:
                return inputs[0]
        elif operation in ("divide", "power"):
            if numbers[1] == 1 and keeps[0]:
                return inputs[0]
        elif operation == "add":
            for here, there in ((0, 1), (1, 0)):
                if numbers[here] == 0 and keeps[there]:
                    return inputs[there]
            for here, there in ((1, 0), (0, 1)):
                if inputs[here].operation == "negate":
                    return apply("subtract", inputs[there], inputs[here].inputs[0])
        elif operation == "subtract":
            if numbers[1] == 0 and keeps[0]:
                return inputs[0]
            if inputs[1].operation == "negate":
                return apply("add", inputs[0], inputs[1].inputs[0])
        elif operation == "negate" and inputs[0].operation == "negate":
            return inputs[0].inputs[0]
        return node

    return rewrite(targets, simplify)
""",
        "operation by operation",
    ),
    Alternative(
        "1.7 simplify_shapes",
        """
def simplify_shapes(targets):
    def bare(node):
        return is_python_number(node)

    def simplify(node):
        operation = node.operation
        if operation in ("reshape", "broadcast_to"):
            inner = node.inputs[0]
            if inner.operation == operation:
                inner = inner.inputs[0]
            if inner.shape == node.shape and not bare(inner):
                return inner
            if inner is not node.inputs[0]:
                return apply(operation, inner, shape=node.shape)
        elif operation == "transpose":
            inner, axes = node.inputs[0], list(node.attributes["axes"])
            if inner.operation == "transpose":
                axes = [inner.attributes["axes"][axis] for axis in axes]
                inner = inner.inputs[0]
            if axes == sorted(axes) and not bare(inner):
                return inner
            if inner is not node.inputs[0]:
                return apply("transpose", inner, axes=tuple(axes))
        elif operation in ELEMENTWISE:
            for i in range(len(node.inputs)):
                if node.inputs[i].operation != "broadcast_to" or bare(node.inputs[i].inputs[0]):
                    continue
                inputs = list(node.inputs)
                inputs[i] = inputs[i].inputs[0]
                if np.broadcast_shapes(*[each.shape for each in inputs]) == node.shape:
                    node = apply(operation, *inputs)
        return node

    return rewrite(targets, simplify)
""",
        "case by case",
    ),
    Alternative(
        "1.7 fusion_groups",
        """
def fusion_groups(targets):
    order = ready_order(targets)
    place = {node: i for i, node in enumerate(order)}
    users = [set() for _ in order]
    for i, node in enumerate(order):
        for each in node.inputs:
            users[place[each]].add(i)
    wanted = {place[node] for node in targets}
    root = list(range(len(order)))
    groups = {}
    for i in range(len(order) - 1, -1, -1):
        roots = {root[j] for j in users[i]}
        fits = order[i].operation in CALLS and i not in wanted and len(order[i].shape) > 0
        if fits and len(roots) == 1:
            j = next(iter(roots))
            if order[j].operation in CALLS and order[j].shape == order[i].shape:
                root[i] = j
        groups.setdefault(root[i], []).insert(0, order[i])
    return [group for group in groups.values() if len(group) >= 2]
""",
        "by numbers",
    ),
    Alternative(
        "1.7 generate_source",
        '''
def generate_source(group, inputs, rows):
    result = group[-1]
    height = result.shape[0]
    parameters = [f"x{i}" for i in range(len(inputs))]
    code = {}
    lines = []
    for parameter, each in zip(parameters, inputs):
        code[each] = parameter
        if len(each.shape) == len(result.shape) and each.shape[0] == height:
            code[each] = f"part_{parameter}"
            lines.append(f"part_{parameter} = {parameter}[start:stop]")
    for i, node in enumerate(group):
        arguments = [code[each] for each in node.inputs]
        code[node] = f"v{i}"
        lines.append(f"v{i} = {call_source(node.operation, arguments, 'None')}")
    body = "\\n        ".join(lines)
    return f"""
def fused({', '.join(parameters)}):
    result = None
    for start in range(0, {height}, {rows}):
        stop = min(start + {rows}, {height})
        {body}
        if start == 0:
            result = np.empty({result.shape!r}, dtype={code[result]}.dtype)
        result[start:stop] = {code[result]}
    return result
"""
''',
        "new arrays for each block",
    ),
]

WRITTEN = """\
Fusion mattered most for the passes over memory: chains and trees of elementwise operations make \
up most of this graph's traffic, and each of them becomes one function that reads its inputs and \
writes its result once. Merging helped a little (z - mean(z) is written twice in the program, in \
normalise and in variance, and the gradients repeat less than one expects). Folding and \
simplification removed nodes that were mostly single numbers or views, so the count of operations \
fell and hardly anything else.

The peak fell for the loss alone: values between two operations of a group are no longer held in \
full. With gradients it did not: what the backward part needs has to be held until then, however \
the operations around it are fused, and a fused function needs all of its inputs at once. In the \
deep network it even rose. As written, the mask greater(x, 0) is computed as soon as x is there, \
and only the mask, one byte an element, waits for the backward part. Fused with the multiplication \
that uses it, the mask is computed in the backward part, and x, four bytes an element, has to wait.

The time fell much less than the passes (Amdahl): the matrix products take most of it, and no pass \
touches them. Besides, arrays of this size still fit into the last-level cache, where a pass costs \
little; the second plot shows that fusion pays when arrays are larger than the cache.
"""

ANSWERS = {"1.7-written": WRITTEN}
