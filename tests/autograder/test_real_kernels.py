"""Every lab in kernels of the kind that grades it, isolated as on this host."""

from collections.abc import Callable

import pytest

from autograder.answers import reference_source
from autograder.bench import Bench
from autograder.isolation import method, server_for
from autograder.sample import fill
from autograder.text import lab_names


@pytest.mark.slow
@pytest.mark.parametrize("lab", lab_names())
def test_the_references_get_every_point(lab: str, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of(lab)
    attempts = {key: reference_source(key) for key in bench.lab.keys()}
    with server_for(bench.spec.kit, method()) as server:
        _, results, _ = bench.started_by(server).judge(fill(bench.original, bench.lab, attempts))
    stages = {result.stage: result for result in results if result.exercises}
    assert set(stages) == {stage.stage for stage in bench.lab.stages}
    for result in stages.values():
        assert (result.status, result.points) == ("passed", result.max_points), result.message
