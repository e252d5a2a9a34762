"""The input pipeline of 1.2: order, bounds, errors, and no thread left behind."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from aisys.autodiff.prefetch import prefetch


def test_items_come_out_in_order_each_once() -> None:
    items = [None, 3, "a", None, *range(100)]
    assert list(prefetch(items, 4)) == items


def test_at_most_size_items_wait_and_one_is_in_the_making() -> None:
    made: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            if number == 4:
                full.set()
            yield number

    stream = prefetch(source(), 3)
    assert next(stream) == 0
    assert full.wait(10)
    assert len(made) <= 1 + 3 + 1
    stream.close()


def test_the_producers_error_arrives_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    stream = prefetch(source(), 2)
    assert next(stream) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(stream)


def test_stopping_early_leaves_no_thread_even_with_an_endless_source() -> None:
    before = threading.active_count()
    stream = prefetch(itertools.count(), 2)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert threading.active_count() == before
