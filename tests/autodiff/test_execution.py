"""Order, lifetimes, errors and the conditional node."""

import gc
import random
import weakref

import numpy as np
import pytest

from aisys.autodiff.checks.evaluation import Log, evaluate, tracked
from aisys.autodiff.conditional import cond
from aisys.autodiff.execution import (
    CycleError,
    FeedShapeError,
    LiveBytes,
    MissingFeedError,
    ready_order,
    run,
)
from aisys.autodiff.graph import (
    ShapeError,
    apply,
    constant,
    exp,
    greater,
    log,
    placeholder,
    reduce_sum,
    relu,
    reshape,
    transpose,
)


def random_graph(seed, size=40):
    """Nodes of shape (2, 3), each computed from earlier ones; the first two are placeholders."""
    choose = random.Random(seed)
    nodes = [placeholder((2, 3), "x"), placeholder((2, 3), "y")]
    for _ in range(size):
        operation = choose.choice(["add", "multiply", "subtract", "relu", "negate"])
        count = 1 if operation in ("relu", "negate") else 2
        nodes.append(apply(operation, *choose.choices(nodes, k=count)))
    return nodes


@pytest.mark.parametrize("seed", range(10))
def test_every_input_comes_before_its_consumer_and_nothing_else_is_in_the_order(seed):
    nodes = random_graph(seed)
    targets = random.Random(seed).choices(nodes, k=3)
    order = ready_order(targets)
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order)
    assert set(targets) <= set(order)
    used = {each for node in order for each in node.inputs}
    assert set(order) == used | set(targets)
    assert all(place[each] < place[node] for node in order for each in node.inputs)


def test_a_chain_of_100_000_nodes_is_no_problem():
    node = placeholder(())
    for _ in range(100_000):
        node = apply("negate", node)
    assert len(ready_order([node])) == 100_001


def test_a_cycle_is_named_and_its_surroundings_are_not():
    x = placeholder((), "x")
    nodes = [apply("add", x, x, name="a")]
    for name in "bcde":
        nodes.append(apply("add", nodes[-1], x, name=name))
    a, b, c, d, e = nodes
    b.inputs = (a, d)
    with pytest.raises(CycleError) as error:
        run([e], {x: 1.0})
    assert set(error.value.nodes) == {b, c, d}
    path = str(error.value).removeprefix("the graph has a cycle: ").replace(" -> ", "")
    assert path in ("bcdb", "cdbc", "dbcd")
    assert [str(node) for node in ready_order([a])] == ["x", "a"]


@pytest.mark.parametrize("seed", range(10))
def test_a_run_gives_the_values_of_a_plain_evaluation(seed):
    nodes = random_graph(seed)
    rng = np.random.default_rng(seed)
    feeds = {node: rng.standard_normal((2, 3)) for node in nodes[:2]}
    targets = random.Random(seed).choices(nodes, k=4)
    for target, value in zip(targets, run(targets, feeds).values, strict=True):
        np.testing.assert_array_equal(value, evaluate(target, feeds))


def test_values_are_gone_as_soon_as_their_last_consumer_is_computed():
    log = Log()
    x = placeholder((1,), "x")
    chain = [tracked(log, 0, [x])]
    for tag in range(1, 6):
        chain.append(tracked(log, tag, [chain[-1]]))
    run(chain[-1:], {x: np.ones(1)})
    assert log.alive == [[], [0], [1], [2], [3], [4]]
    assert log.alive_now() == []


def test_the_peak_of_a_chain_is_two_values_and_the_sum_if_all_are_targets():
    x = placeholder((100,), "x")
    node, nodes = x, []
    for _ in range(10):
        node = apply("negate", node)
        nodes.append(node)
    feeds = {x: np.ones(100)}
    assert run([node], feeds).peak_bytes == 2 * 800
    assert run(nodes, feeds).peak_bytes == 10 * 800


def test_memory_that_is_shared_counts_once_and_what_is_fed_does_not_count():
    x = placeholder((10, 20), "x")
    doubled = x + x
    view = transpose(doubled)
    targets = [doubled, view, reshape(x, (200,)), constant(np.ones(50)) + 0.0]
    execution = run(targets, {x: np.ones((10, 20))})
    assert execution.live_bytes[-1] == 10 * 20 * 8 + 50 * 8


def test_a_view_keeps_the_memory_of_its_base_counted():
    x = placeholder((10, 20), "x")
    execution = run([transpose(x + x)], {x: np.ones((10, 20))})
    assert execution.live_bytes == [0, 1600, 1600]


def test_the_meter_counts_numbers_too():
    memory = LiveBytes([], {})
    value = 2.5
    memory.hold(value)
    assert memory.now == 8
    memory.release(value)
    assert memory.now == 0


def test_a_missing_feed_names_the_placeholder_and_its_shape():
    x, y = placeholder((2, 3), "images"), placeholder((2,), "y")
    with pytest.raises(MissingFeedError, match=r"\[2, 3\].*images") as error:
        run([reduce_sum(x) + y], {y: np.ones(2)})
    assert error.value.node is x


def test_a_feed_of_another_shape_is_refused_even_if_it_would_broadcast():
    x = placeholder((2, 3), "x")
    with pytest.raises(FeedShapeError, match=r"x takes shape \[2, 3\].*\[3\]"):
        run([x + 1], {x: np.ones(3)})


def test_a_placeholder_that_is_not_needed_needs_no_feed():
    x, y = placeholder((), "x"), placeholder((), "y")
    unused = x + y
    assert run([x * 2], {x: 3.0}).values == [6.0]
    assert unused.shape == ()


def test_a_conditional_node_computes_only_the_branch_that_is_taken():
    log = Log()
    x = placeholder((1,), "x")
    node = cond(
        reduce_sum(greater(x, 0)),
        lambda v: tracked(log, 1, [v]),
        lambda v: tracked(log, 2, [v]),
        [x],
    )
    for value, branch in ((3.0, 1), (-3.0, 2)):
        log.computed.clear()
        run([node], {x: np.array([value])})
        assert log.computed == [branch]


def test_branches_nest_and_are_ordinary_inputs():
    p, x = placeholder((), "p"), placeholder((), "x")

    def inner(v):
        return cond(greater(v, 10), lambda w: w * 0, lambda w: w + 1, [v])

    node = cond(greater(p, 0), inner, lambda v: -v, [x]) * 2
    assert [run([node], {p: a, x: b}).values[0] for a, b in ((1, 5), (1, 20), (-1, 5))] == [
        12,
        0,
        -10,
    ]


def test_a_branch_of_another_shape_or_with_a_node_from_outside_is_refused():
    p, x = placeholder((), "p"), placeholder((2,), "x")
    with pytest.raises(ShapeError, match="branches give"):
        cond(p, lambda v: v, lambda v: reduce_sum(v), [x])
    with pytest.raises(ShapeError, match="single value"):
        cond(x, lambda v: v, lambda v: v, [x])
    with pytest.raises(ValueError, match="uses x from outside"):
        cond(p, lambda: relu(x), lambda: exp(x))


def test_what_a_run_returned_is_all_that_it_leaves_behind():
    x = placeholder((10,), "x")
    inner = x * 2.0
    execution = run([log(inner)], {x: np.ones(10)})
    kept = weakref.ref(execution.values[0])
    del execution
    gc.collect()
    assert kept() is None
