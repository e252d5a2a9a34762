"""Tuning: a prediction made of few numbers, and what it says where the answer is known."""

import pytest

from aisys.course.errors import CourseError
from aisys.cuda.gpus import GPUS, from_attributes
from aisys.cuda.matmul import Tile
from aisys.cuda.tuning import LATENCY, TILES, choose_tile, predicted_seconds
from aisys.cuda.tuning_experiments import choices, counted_traffic, predicted_rates

A100 = GPUS["A100"]


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("V100", 15.7), ("T4", 8.1), ("A100", 19.5), ("RTX 4090", 82.6), ("H100", 67)],
)
def test_the_peak_follows_from_lanes_and_clock_as_published(name: str, tflops: float) -> None:
    assert GPUS[name].flops / 1e12 == pytest.approx(tflops, rel=0.01)


def test_a_machine_is_known_by_what_its_driver_says() -> None:
    attributes = {
        "MultiProcessorCount": 108, "ClockRate": 1_410_000,
        "MemoryClockRate": 1_215_000, "GlobalMemoryBusWidth": 5120,
    }  # fmt: skip
    found = from_attributes("NVIDIA A100-SXM4-40GB", "80", attributes)
    assert found is not None
    assert found.flops == A100.flops
    assert found.bandwidth == pytest.approx(A100.bandwidth, rel=1e-3)
    assert from_attributes("a later one", "999", attributes) is None
    assert from_attributes("without clocks", "80", {"MultiProcessorCount": 108}) is None


def test_more_blocks_than_multiprocessors_by_one_cost_a_whole_round() -> None:
    tile = Tile(64, 64, 16, 8)
    one, two = (
        predicted_seconds(A100, tile, 64 * blocks, 1024, 64)["compute"] for blocks in (108, 109)
    )
    assert two == pytest.approx(2 * one)


def test_few_bytes_in_flight_get_their_share_of_the_bandwidth() -> None:
    tile = Tile(32, 32, 16, 4)
    found = predicted_seconds(A100, tile, 32, 4096, 32)["memory"]
    # One block has one step's tiles on their way at a time.
    steps = 4096 / 16
    assert found == pytest.approx(steps * LATENCY, rel=0.02)


def test_no_prediction_is_above_the_roof() -> None:
    for machine in GPUS.values():
        for tile in TILES[:-1]:
            for rate in predicted_rates(machine, tile, (100, 1000, 5000)):
                assert 0 < rate <= machine.flops


def test_small_matrices_want_small_tiles() -> None:
    for machine in GPUS.values():
        small, large = choices(machine, TILES, (256, 4096))
        assert small.rows * small.columns < large.rows * large.columns


def test_a_tile_that_does_not_fit_takes_for_ever_and_is_never_chosen() -> None:
    large = Tile(256, 256, 8, 16)
    assert set(predicted_seconds(A100, large, 512, 512, 512).values()) == {float("inf")}
    assert choose_tile(A100, [large, TILES[0]], 512, 512, 512) == TILES[0]
    with pytest.raises(CourseError, match="None of 1 tiles fits on A100"):
        choose_tile(A100, [large], 512, 512, 512)


def test_the_emulator_counts_the_predicted_bytes_for_each_tile() -> None:
    for counted, predicted in counted_traffic(TILES[:2], 64, 16, 64):
        assert counted == predicted
