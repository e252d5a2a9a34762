"""Time limits, and what a time limit must not interrupt."""

import time

import pytest

from aisys.course.errors import TimeLimit
from aisys.course.limits import ending_with, time_limit


def work(seconds: float) -> None:
    """Compute for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_what_ends_a_block_comes_to_its_end_although_the_limit_strikes_again() -> None:
    ended = []

    def end() -> None:
        work(0.2)  # ten times as long as it takes the limit to strike again
        ended.append(True)

    with pytest.raises(TimeLimit), time_limit(0.05), ending_with(end):
        work(10)
    assert ended == [True]


def test_after_it_the_limit_strikes_again() -> None:
    with pytest.raises(TimeLimit), time_limit(0.05):
        try:
            with ending_with(lambda: work(0.1)):
                work(10)
        except TimeLimit:
            work(10)


def test_a_block_that_returns_is_not_ended() -> None:
    ended = []
    with time_limit(10), ending_with(lambda: ended.append(True)):
        pass
    assert ended == []


def test_an_error_of_the_end_itself_is_raised_and_the_limit_goes_on() -> None:
    def fails() -> None:
        raise OSError

    with pytest.raises(OSError), ending_with(fails):
        raise ValueError
    with pytest.raises(TimeLimit), time_limit(0.05):
        work(10)
