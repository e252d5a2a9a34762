"""Buckets beside the backward pass: who begins when, what comes out, and when a step will end."""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aisys.allreduce.broker_transport import BrokerTransport
from aisys.allreduce.buckets import BucketedReducer, assign_buckets, flatten, unflatten
from aisys.allreduce.checks.reducer import AVERAGED, data_begun, reducer_case
from aisys.allreduce.communication_thread import CommunicationThread
from aisys.allreduce.cost_model import CostModel
from aisys.allreduce.overlap import best_bucket_bytes, predict_step, predict_timeline, ring_seconds
from aisys.allreduce.overlap_experiments import (
    ONE_BUCKET,
    Step,
    hidden_share,
    latest_trace,
    trace_lenet,
)
from aisys.allreduce.transport import Transport, TransportError
from aisys.autodiff.lenet_torch import LeNet
from aisys.course.errors import CourseError, Hole
from tests.support.rank_runners import broker, over_a_broker

LENET = [each.nbytes for each in LeNet(seed=0).parameters()]


class Held:
    """In the place of a communication thread: all-reduces end when the test says so."""

    world_size = 2

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []
        self.futures: list[Future[np.ndarray]] = []

    def start(self, data: np.ndarray) -> "Future[np.ndarray]":
        self.asked.append(data.copy())
        self.futures.append(Future())
        return self.futures[-1]


def reducer_of(thread: Any, buckets: list[list[int]], n: int = 3) -> BucketedReducer:
    return BucketedReducer([nn.Parameter(torch.zeros(2)) for _ in range(n)], buckets, thread)


@pytest.mark.parametrize("capacity", [1, 400, 5000, 50_000, 1 << 20])
def test_every_parameter_is_in_one_bucket_that_is_not_too_full(capacity: int) -> None:
    buckets = assign_buckets(LENET, capacity)
    assert [index for bucket in buckets for index in bucket] == list(reversed(range(len(LENET))))
    for bucket, following in zip(buckets, [*buckets[1:], None], strict=True):
        filled = sum(LENET[index] for index in bucket)
        assert filled <= capacity or len(bucket) == 1
        assert following is None or filled + LENET[following[0]] > capacity


def test_what_was_flattened_is_the_same_when_unflattened() -> None:
    tensors = [torch.randn(3, 4).T, torch.randn(()), torch.randn(0, 2), torch.randn(5)[::2]]
    flat = flatten(tensors)
    for part, tensor in zip(unflatten(flat, tensors), tensors, strict=True):
        assert torch.equal(part, tensor)
    unflatten(flat, tensors)[1].fill_(7)
    assert flat[12] == 7


def test_a_bucket_begins_with_its_last_gradient_and_not_before_the_ones_before_it() -> None:
    thread = Held()
    reducer = reducer_of(thread, [[2], [1], [0]])
    begun = []
    for index in (0, 1, 2):
        reducer.parameters[index].grad = torch.full((2,), float(index))
        reducer.on_gradient(index)
        begun.append(len(thread.asked))
    assert begun == [0, 0, 3]
    assert [data[0] for data in thread.asked] == [2, 1, 0]


def test_finish_begins_what_is_left_and_divides_by_the_ranks() -> None:
    thread = Held()
    reducer = reducer_of(thread, [[2, 1], [0]])
    reducer.parameters[1].grad = torch.ones(2)
    reducer.on_gradient(1)
    waiting = threading.Thread(target=reducer.finish, daemon=True)
    waiting.start()
    while len(thread.futures) < 2:
        pass
    assert waiting.is_alive() and thread.asked[0].tolist() == [0, 0, 1, 1]
    thread.futures[0].set_result(np.array([2, 4, 6, 8], np.float32))
    thread.futures[1].set_result(np.array([1, 1], np.float32))
    waiting.join(30)
    gradients = [each.grad.tolist() for each in reducer.parameters if each.grad is not None]
    assert gradients == [[0.5, 0.5], [3, 4], [1, 2]]
    assert reducer.begun == [] and reducer.missing == [{1, 2}, {0}]


def train(transport: Transport, capacity: int) -> list[float]:
    """Two steps of a network, of which odd ranks leave a layer out; the first gradients."""
    layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3)).double()
    parameters = list(layers.parameters())
    rng = np.random.default_rng(0)  # ranks are threads, which share torch's generator
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.from_numpy(rng.uniform(-0.5, 0.5, parameter.shape)))
    with CommunicationThread(transport) as thread:
        buckets = assign_buckets([each.nbytes for each in parameters], capacity)
        reducer = BucketedReducer(parameters, buckets, thread)
        for step in range(2):
            layers.zero_grad()
            x = torch.full((2, 4), 1.0 + transport.rank + step, dtype=torch.float64)
            for number, layer in enumerate(layers):
                x = x if number == 1 and transport.rank % 2 else layer(x)
            x.square().sum().backward()
            reducer.finish()
    return flatten([each.grad for each in parameters if each.grad is not None]).tolist()


def test_buckets_change_the_number_of_messages_and_not_the_gradients() -> None:
    found = {}
    for capacity in (1, 10_000):
        run = broker().open(3)
        outcomes: list[Any] = [None] * 3

        def be(rank: int, run: Any = run, outcomes: Any = outcomes, size: int = capacity) -> None:
            with BrokerTransport(run.addresses[rank]) as transport:
                outcomes[rank] = train(transport, size)

        threads = [threading.Thread(target=be, args=(rank,)) for rank in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        counts = broker().counts(run.number)
        found[capacity] = outcomes, list(counts.messages_sent)
    (many, many_messages), (one, one_messages) = found[1], found[10_000]
    assert many[0] == many[1] == many[2] and len(many[0]) == 60
    np.testing.assert_allclose(many[0], one[0], rtol=1e-12)
    # Two steps of a ring of three ranks: four messages for each bucket.
    assert (one_messages, many_messages) == ([8] * 3, [48] * 3)


def failing(transport: Transport) -> str:
    """Rank 1 sends what does not fit."""
    with CommunicationThread(transport) as thread:
        first = thread.start(np.zeros(4 + transport.rank))
        thread.start(np.zeros(1))
        with pytest.raises(TransportError) as caught:
            first.result(30)
    return str(caught.value)


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_waited_for() -> None:
    first, second = over_a_broker(2, failing)
    assert "expected" in str(first) and "expected" in str(second)


def test_the_verdict_refuses_ranks_that_differ_and_all_reduces_that_begin_late() -> None:
    run = {"messages": [2], "bytes": [16], "steps": 2, "unreceived": 0, "fault": ""}
    rank = {"gradients": np.ones(3), "begun": [2, 2]}
    good = {"returned": [rank, dict(rank)], "witnessed": [run]}
    assert AVERAGED(good, good) is None
    other = {"gradients": np.nextafter(np.ones(3), 2), "begun": [2, 2]}
    found = AVERAGED({**good, "returned": [rank, other]}, good)
    assert found is not None and found.kind == "not the same"
    late = {"gradients": np.ones(3), "begun": [0, 0]}
    found = AVERAGED({**good, "returned": [late, late]}, good)
    assert found is not None and found.kind == "begun"


def test_all_reduces_follow_each_other_and_their_buckets() -> None:
    assert predict_timeline([1, 2, 9], [3, 1, 1]) == [(1, 4), (4, 5), (9, 10)]
    assert predict_timeline([], []) == []


def test_a_step_ends_after_the_last_bucket() -> None:
    model = CostModel(1.0, 0.0)
    assert ring_seconds(model, 4, 100) == 6
    # Two buckets, ready at 2 and 5: the second waits for the first, which takes 6.
    assert predict_step(model, 4, [10, 10], [5.0, 2.0], 10) == 14
    assert predict_step(model, 4, [10, 10], [5.0, 2.0], 20) == 11


def test_dear_messages_ask_for_large_buckets_and_dear_bytes_for_small_ones() -> None:
    sizes, ready = [1000] * 10, [1e-3 * (10 - index) for index in range(10)]
    capacities = [ONE_BUCKET, 5000, 1000]
    dear_messages, dear_bytes = CostModel(1e-2, 1e-12), CostModel(1e-9, 6e-7)
    assert best_bucket_bytes(dear_messages, 4, sizes, ready, capacities) == ONE_BUCKET
    assert best_bucket_bytes(dear_bytes, 4, sizes, ready, capacities) == 1000


def test_the_hidden_share_is_what_lies_beside_the_backward_pass() -> None:
    step = Step([], 4.0, [(0.0, 2.0), (3.0, 5.0), (5.0, 7.0)], 7.0)
    assert hidden_share([step]) == pytest.approx(0.5)


def start_with_a_tensor(reducer: BucketedReducer) -> None:
    gradients = [reducer.parameters[index].grad for index in reducer.buckets[len(reducer.begun)]]
    flat = flatten([gradient for gradient in gradients if gradient is not None])
    reducer.begun.append(reducer.thread.start(flat))


def test_the_check_of_begin_next_refuses_a_tensor_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = reducer_case("two buckets", 1, [[4], [2, 3]], [[1], [0]]).inputs
    monkeypatch.setattr(BucketedReducer, "begin_next", start_with_a_tensor)
    with pytest.raises(CourseError, match=r"takes a NumPy array, and was given a Tensor; `\.numpy"):
        data_begun.function(inputs, np.random.default_rng(1))


def test_zeros_for_gradients_that_are_missing_have_the_dtype_of_the_parameters() -> None:
    inputs = reducer_case("none", 1, [[4], [2, 3]], [[1], [0]], unused=1.0).inputs
    found: Any = data_begun.function(inputs, np.random.default_rng(1))
    assert found["dtypes"] == ["float64", "float64"]
    assert [data.tolist() for data in found["data"]] == [[0.0] * 6, [0.0] * 4]


@pytest.mark.parametrize("name", ["fit_alpha_beta", "assign_buckets"])
def test_a_trace_says_what_is_not_written_yet_before_it_measures(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hole(*given: object) -> None:
        raise Hole(f"4.x {name}")

    def launched(*given: object, **more: object) -> None:
        pytest.fail("processes were started first")

    monkeypatch.setattr(f"aisys.allreduce.overlap_experiments.{name}", hole)
    monkeypatch.setattr("aisys.allreduce.overlap_experiments.launch", launched)
    with pytest.raises(Hole, match=name):
        trace_lenet([1], megabits=None)


def test_a_look_at_the_latest_trace_asks_for_the_experiment_that_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aisys.allreduce.overlap_experiments._latest", [])
    with pytest.raises(CourseError, match='run the experiment "the time line of a step"'):
        latest_trace()


@pytest.mark.slow
def test_a_traced_run_has_every_all_reduce_of_every_step() -> None:
    traced = trace_lenet([1, 10_000], steps=2, batch=4, megabits=None)
    assert latest_trace() is traced
    assert traced.sizes == LENET and traced.model.beta > 0
    for capacity, buckets in (
        (1, 10),
        (10_000, len(assign_buckets(LENET, 10_000))),
        (ONE_BUCKET, 1),
    ):
        for steps in traced.steps[capacity]:
            assert [len(step.spans) for step in steps] == [buckets] * 2
            for step in steps:
                assert 0 < max(step.gradients) <= step.backward <= step.end
                assert step.spans[-1][1] <= step.end
    assert len(traced.ready()) == 10 and traced.ready()[-1] < traced.ready()[0]
