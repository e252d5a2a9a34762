"""Parsing from several threads, as a grader with several workers does."""

import gc
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aisys.course.parsing import parse

THREADS, TEXTS = 4, 60
TEXT = "x = " + "(" * 20 + "f(1, [2, {3: y}])" + ")" * 20 + "\n" + "a = b + c * (d - e)\n" * 50


class Yielding:
    """Garbage that lets another thread run while it is collected."""

    turn = threading.Event()

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        self.turn.wait(1e-5)


@pytest.fixture(autouse=True)
def often_interrupted() -> Iterator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


def test_threads_parse_the_same_text_while_garbage_is_collected() -> None:
    def work(number: int) -> int:
        Yielding()
        return len(parse(TEXT * (1 + number % 3)).body)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(work, range(TEXTS)))
    assert found == [51 * (1 + number % 3) for number in range(TEXTS)]
