"""Stage 1.7: hidden cases, mistakes and alternatives of the compiler."""

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
    programs = [
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
    programs = [
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
            f"a = x - {k}; b = exp(a); c = b * y; d = c + b; e = relu(d); f = softmax(e, axis=0);"
            " g = f * e; h = g - f; h",
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
    programs = [
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
            {"x": [columns * 3] * 2, "r": [columns * 3], "s": [1, columns * 3]},
            {"rows": columns // 4},
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
