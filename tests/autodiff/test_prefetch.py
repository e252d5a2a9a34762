"""The input pipeline of 1.2: order, bound, overlap, errors, and no thread left behind."""

import itertools
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aisys.autodiff.input_pipeline import RemoteBatches, draw_runs, train_on
from aisys.autodiff.prefetch import prefetch
from aisys.data import digits


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(), st.text())), st.integers(1, 5))
def test_all_items_come_out_once_and_in_order(items, size):
    assert list(prefetch(items, size)) == items


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_producer_fills_the_queue_while_the_consumer_works_and_then_waits(size):
    made, full = [], threading.Event()

    def source():
        for number in itertools.count():
            made.append(number)
            if len(made) == size + 2:  # one is used, `size` are ready, one waits for its place
                full.set()
            yield number

    items = prefetch(source(), size)
    assert next(items) == 0
    assert full.wait(timeout=60)
    for number in range(1, 50):
        assert next(items) == number
        assert len(made) <= number + size + 2
    items.close()


def test_the_source_is_touched_by_one_other_thread_only():
    threads = set()

    def source():
        for _ in range(5):
            threads.add(threading.current_thread())
            yield
        threads.add(threading.current_thread())

    list(prefetch(source(), 2))
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_nothing_starts_before_the_first_item_is_asked_for():
    before = threading.active_count()
    prefetch(iter([1]), 1)
    assert threading.active_count() == before


@pytest.mark.parametrize("good", [0, 1, 7])
def test_the_sources_error_is_raised_after_the_items_before_it(good):
    error = OSError("the disk is gone")

    def source():
        yield from range(good)
        raise error

    got = []
    with pytest.raises(OSError) as caught:
        for item in prefetch(source(), 2):
            got.append(item)
    assert caught.value is error and got == list(range(good))


def test_a_consumer_that_stops_early_ends_the_producer_before_a_full_queue():
    made = []
    for item in prefetch((made.append(n) or n for n in itertools.count()), 3):
        if item == 4:
            break
    assert 5 <= len(made) <= 5 + 3 + 1


def test_an_error_of_the_consumer_ends_the_producer():
    def consume():
        for _ in prefetch(itertools.count(), 2):
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        consume()


def test_training_sees_the_same_batches_with_and_without_prefetching():
    source = RemoteBatches(digits(), batch=8, count=5, latency=0.0)
    plain = list(source)
    ahead = list(prefetch(source, 2))
    assert len(plain) == len(ahead) == len(source) == 5
    for (x, y), (x_ahead, y_ahead) in zip(plain, ahead, strict=True):
        assert torch.equal(x, x_ahead) and torch.equal(y, y_ahead)
        assert x.shape == (8, 1, 28, 28) and x.dtype == torch.float32
    run = train_on(prefetch(source, 2), source)
    assert len(run.loads) == len(run.steps) == 5
    draw_runs({"prefetch": run}, milliseconds=50)
