"""What the tests share: one bench a lab and run, and the warm process that sessions fork from."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autograder.bench import Bench, set_up
from autograder.cache import Cache
from tests.support.forked import WarmProcess

SECRET = "a secret for the tests"


@pytest.fixture(scope="session")
def bench_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    """Makes a lab's bench, once a test run."""
    made: dict[str, Bench] = {}
    folder: Path = tmp_path_factory.mktemp("kits")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(lab: str) -> Bench:
        if lab not in made:
            made[lab] = set_up(lab, SECRET, folder, kept=Cache(shared / "answer-keys"))
        return made[lab]

    return make


@pytest.fixture(scope="session")
def warm_of(bench_of: Callable[[str], Bench]) -> Iterator[Callable[[str], WarmProcess]]:
    """Starts the warm process of a lab, once a test run."""
    started: dict[str, WarmProcess] = {}

    def start(lab: str) -> WarmProcess:
        if lab not in started:
            started[lab] = WarmProcess(bench_of(lab).spec.kit)
        return started[lab]

    yield start
    for process in started.values():
        process.stop()


@pytest.fixture(scope="session")
def bench(bench_of: Callable[[str], Bench]) -> Bench:
    """The bench of Lab 1, on which the harness is tested."""
    return bench_of("lab1_autodiff")
