"""What the passes keep and what they take away, on graphs that are drawn and on chosen ones."""

import random

import numpy as np
import pytest

from aisys.autodiff.common_subexpressions import merge_common_subexpressions
from aisys.autodiff.compiler import PASSES, compile_graph, measure, optimise
from aisys.autodiff.conditional import cond
from aisys.autodiff.dead_code import eliminate_dead_code
from aisys.autodiff.execution import ready_order, run
from aisys.autodiff.folding import fold_constants
from aisys.autodiff.fusion import fuse
from aisys.autodiff.gradients import gradients
from aisys.autodiff.graph import (
    apply,
    as_node,
    broadcast_to,
    constant,
    exp,
    greater,
    log_softmax,
    ones_like,
    placeholder,
    reduce_sum,
    relu,
    reshape,
    sqrt,
    transpose,
)
from aisys.autodiff.passes import (
    PassError,
    count_operations,
    is_floating,
    is_python_number,
    python_number,
    rewrite,
)
from aisys.autodiff.simplify import simplify_arithmetic, simplify_shapes

EVERY_PASS = (*PASSES, fuse, compile_graph)
SPECIAL = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 1e-30, 1e30]


def random_graph(seed, size=40):
    """Targets of shape (3, 4) and placeholders, with all that a pass may stumble over."""
    choose = random.Random(seed)
    x, row, column = placeholder((3, 4), "x"), placeholder((4,), "r"), placeholder((3, 1), "c")
    numbers = [1, 0, 1.0, 0.0, -0.0, 2.0, True, np.float64(1), np.ones((3, 4), np.float32)]
    nodes = [x, row, column, *map(constant, numbers)]
    for _ in range(size):
        a, b = choose.choices(nodes, k=2)
        kind = choose.randrange(14)
        if kind < 6:
            operation = choose.choice(["add", "multiply", "subtract", "divide", "greater", "power"])
            if "bool" not in str(a) and operation in ("subtract", "divide", "power"):
                a = apply("multiply", a, as_node(1.0))
                b = apply("multiply", b, as_node(1.0))
            nodes.append(apply(operation, a, b))
        elif kind == 6:
            nodes.append(-(a * 1.0))
        elif kind == 7:
            nodes.append(choose.choice([relu, exp, sqrt, ones_like])(a))
        elif kind == 8:
            nodes.append(broadcast_to(a, np.broadcast_shapes(a.shape, (3, 4))))
        elif kind == 9:
            nodes.append(reshape(a, a.shape))
        elif kind == 10 and len(a.shape) == 2:
            nodes.append(transpose(transpose(a)))
        elif kind == 11 and len(a.shape) == 2:
            nodes.append(reduce_sum(a, choose.randrange(2), keepdims=True))
        elif kind == 12:
            predicate = greater(reduce_sum(a), 0.0)
            branches = (lambda u, v: u * v + u * v, lambda u, v: u + v * 1.0)
            nodes.append(cond(predicate, *branches, [a, b]))
        else:
            nodes.append(apply("negate", -(b * 1.0)))
    found = [broadcast_to(node, (3, 4)) for node in choose.sample(nodes, 3)]
    return [*found, nodes[-1]], [x, row, column]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("change", EVERY_PASS, ids=lambda change: change.__name__)
@pytest.mark.parametrize("seed", range(12))
def test_every_pass_keeps_values_dtypes_and_the_old_graph(seed, change, dtype):
    targets, placeholders = random_graph(seed)
    rng = np.random.default_rng(seed)
    feeds = {
        node: rng.choice(SPECIAL if seed % 2 else [-2.0, 0.5, 3.0], node.shape).astype(dtype)
        for node in placeholders
    }
    before = [(node, node.operation, node.inputs) for node in ready_order(targets)]
    with np.errstate(all="ignore"):
        wanted = run(targets, feeds).values
        changed = change(targets)
        values = run(changed, feeds).values
    assert before == [(node, node.operation, node.inputs) for node in ready_order(targets)]
    assert len(changed) == len(targets)
    for value, right, node, old in zip(values, wanted, changed, targets, strict=True):
        assert node.shape == old.shape == np.shape(value)
        assert np.asarray(value).dtype == np.asarray(right).dtype
        np.testing.assert_array_equal(value, right)
    assert sum(count_operations(changed).values()) <= sum(count_operations(targets).values())


@pytest.mark.parametrize("change", EVERY_PASS, ids=lambda change: change.__name__)
def test_a_pass_keeps_the_placeholders_and_takes_deep_graphs(change):
    x = node = placeholder((2,), "x")
    for i in range(3000):
        node = exp(node) if i % 2 else node @ np.eye(2) if node.shape == (2, 2) else relu(node)
    (target,) = change([node])
    assert [each for each in ready_order([target]) if each.operation == "placeholder"] == [x]


def test_a_rule_sees_what_it_did_before_and_inside_branches():
    x = placeholder((), "x")
    node = cond(greater(x, 0), lambda a: apply("negate", -exp(a)), relu, [-x])
    seen = []

    def drop_signs(node):
        seen.append(node.operation)
        return node.inputs[0] if node.operation == "negate" else node

    (changed,) = rewrite([node], drop_signs)
    assert changed.inputs[1] is x
    assert count_operations([changed]) == {"greater": 1, "exp": 1, "relu": 1, "cond": 1}
    assert seen.index("exp") < seen.index("cond")


def test_a_rule_that_changes_a_shape_or_returns_no_node_is_told_so():
    x = placeholder((3,), "x")
    with pytest.raises(PassError, match="the shape changed"):
        rewrite([x], lambda node: reduce_sum(node))
    with pytest.raises(PassError, match="expected a node"):
        rewrite([x], lambda node: None)


def test_where_nothing_is_to_do_the_same_nodes_come_back():
    x, y = placeholder((2, 2), "x"), placeholder((2,), "y")
    branches = (exp, relu)
    targets = [exp(x + y), cond(greater(reduce_sum(x), 0.0), *branches, [y]), x]
    assert optimise(targets) == targets


def test_python_numbers_and_types_are_told_apart():
    x = placeholder((3,), "x")
    assert python_number(as_node(2.0)) == 2.0
    assert python_number(as_node(np.float64(2.0))) is None
    assert python_number(as_node(True)) is None
    assert is_python_number(as_node(2.0) * 3 - 1)
    assert not is_python_number(exp(as_node(2.0)))
    assert not is_python_number(x * 2.0)
    assert is_floating(reshape(relu(x), (3, 1)) * greater(x, 0))
    assert not is_floating(reshape(greater(x, 0), (3, 1)))
    assert not is_floating(greater(x, 0) * 2)
    assert is_floating(greater(x, 0) * 2.0)


def test_folding_takes_the_gradient_of_a_square_to_its_end():
    x = placeholder((3,), "x")
    (slope,) = gradients(x**2, [x], upstream=placeholder((3,), "u"))
    simpler = optimise([slope])
    assert count_operations([slope]) == {"multiply": 2, "power": 1, "subtract": 1}
    assert count_operations(simpler) == {"multiply": 2}


def test_what_is_merged_may_be_two_targets():
    x, y = placeholder((2,), "x"), placeholder((2,), "y")
    first, second, other = merge_common_subexpressions([exp(x + y), exp(y + x), exp(x - y)])
    assert first is second and first is not other


def test_placeholders_of_one_shape_and_name_stay_two():
    x, y = placeholder((2,), "same"), placeholder((2,), "same")
    assert merge_common_subexpressions([x, y]) == [x, y]


def test_the_gradient_of_a_conditional_node_has_dead_operands():
    x, y = placeholder((2,), "x"), placeholder((2,), "y")
    node = cond(placeholder((), "p"), lambda a, b: a * b, lambda a, b: a + b, [x, y])
    (slope,) = gradients(node, [x])
    (smaller,) = eliminate_dead_code([slope])
    assert len(slope.inputs) - len(smaller.inputs) == 1  # x itself


def test_arithmetic_that_only_looks_superfluous_stays():
    x = placeholder((4,), "x")
    kept = [x * 0, x - x, x / x, 0 - x, 1 / x, x * np.ones(4), greater(x, 0) * 1.0, 1 + x]
    assert [node.operation for node in simplify_arithmetic(kept)] == [n.operation for n in kept]
    assert simplify_arithmetic([x * 1, 1.0 * x, x + 0, x - 0.0, x / 1, x**1]) == [x] * 6


def test_a_broadcast_goes_only_where_the_shape_stays():
    x, y = placeholder((3,), "x"), placeholder((2, 3), "y")
    wide = broadcast_to(x, (2, 3))
    gone, kept = simplify_shapes([wide * y, exp(wide)])
    assert gone.inputs == (x, y)
    assert kept.inputs == (wide,)


def test_a_branch_keeps_its_own_scope():
    x, p = placeholder((2,), "x"), placeholder((), "p")
    node = cond(p, lambda a: exp(a) + exp(a), lambda a: exp(a) * 1.0, [x])
    (changed,) = optimise([exp(x) * node])
    for predicate in (0.0, 1.0):
        feeds = {x: np.array([0.5, -1.0]), p: predicate}
        (value,), (right,) = (run([each], feeds).values for each in (changed, exp(x) * node))
        np.testing.assert_array_equal(value, right)
    assert count_operations([changed])["exp"] == 3


def test_a_compiled_training_step_costs_less_in_every_count():
    rng = np.random.default_rng(0)
    x, y = placeholder((20_000, 50), "x"), placeholder((20_000, 10), "y")
    w = placeholder((50, 10), "w")
    scaled = (x - 0.5) / 0.25 * 1.0
    loss = reduce_sum(y * log_softmax(relu(scaled) @ w)) * (-1 / 20_000)
    step = [loss, *gradients(loss, [w])]
    feeds = {node: rng.standard_normal(node.shape) for node in (x, y, w)}
    before, after = (measure(graph, feeds) for graph in (step, compile_graph(step)))
    assert after.operations < before.operations
    assert after.passes < before.passes - 3
    assert after.moved_bytes < before.moved_bytes
    assert after.peak_bytes < before.peak_bytes


def test_folding_leaves_alone_what_has_no_inputs_or_no_dtype_yet():
    x = placeholder((3,), "x")
    targets = [x, as_node(2.0), ones_like(x)]
    assert fold_constants(targets) == targets
