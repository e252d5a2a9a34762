"""Compressed gradients: what is lost, what is sent, what error feedback brings back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aisys.allreduce.checks.compression import gradient_case, int8_payloads
from aisys.allreduce.checks.error_feedback import feedback_case, feedback_steps
from aisys.allreduce.compression import (
    CHUNK,
    Compressor,
    Float16,
    Int8,
    OneBit,
    TopK,
    compress_int8,
    lossy,
    one_bit,
    top_k,
)
from aisys.allreduce.compression_experiments import (
    bits_of,
    break_even_bandwidth,
    bytes_by_ranks,
    least_squares_losses,
    lenet_gradients,
    train_lenet,
)
from aisys.allreduce.error_feedback import (
    ErrorFeedback,
    allreduce_compressed,
    allreduce_float16,
    gather_payloads,
)
from aisys.allreduce.in_process import run
from aisys.allreduce.launcher import launch
from aisys.allreduce.three_lc import (
    MOST_ZEROS,
    ZEROS,
    ThreeLC,
    expand_runs_3lc,
    pack_3lc,
    quantise_3lc,
    run_lengths_3lc,
    unpack_3lc,
)
from aisys.allreduce.transport import Transport
from aisys.course.probes import Probe, judge
from aisys.course.probes import run_case as run_probe

COMPRESSORS = [Float16(), Int8(), TopK(0.1), OneBit(), ThreeLC(), ThreeLC(1.8)]
each_compressor = pytest.mark.parametrize("compressor", COMPRESSORS, ids=repr)

numbers = st.floats(-1000, 1000, width=32, allow_subnormal=False)
gradients = st.integers(0, 600).flatmap(lambda n: arrays(np.float32, n, elements=numbers))
few_examples = settings(max_examples=40, deadline=None)


def drawn(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n) * np.exp(rng.normal(0, 1.5, n))).astype(np.float32)


@few_examples
@given(gradients)
def test_int8_is_off_by_half_a_scale_of_its_chunk_at_most(gradient: np.ndarray) -> None:
    left = lossy(Int8())(gradient)
    for start in range(0, len(gradient), CHUNK):
        part = slice(start, start + CHUNK)
        scale = np.abs(gradient[part]).max() / 127
        assert np.abs(gradient[part] - left[part]).max() <= scale * 0.5001


def test_a_large_element_spoils_its_own_chunk_only() -> None:
    gradient = drawn(3 * CHUNK)
    alone = lossy(Int8())(gradient)
    gradient[CHUNK] = 1e6
    left = lossy(Int8())(gradient)
    assert np.array_equal(left[:CHUNK], alone[:CHUNK])
    assert np.array_equal(left[2 * CHUNK :], alone[2 * CHUNK :])
    assert not left[CHUNK + 1 : 2 * CHUNK].any()


@few_examples
@given(gradients, st.data())
def test_top_k_keeps_exactly_k_elements_and_none_that_is_smaller_than_one_left_out(
    gradient: np.ndarray, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, len(gradient)))
    payload = top_k(gradient, k)
    places = payload[: 4 * k].view(np.int32)
    assert len(payload) == 8 * k and len(set(places.tolist())) == k
    assert np.array_equal(payload[4 * k :].view(np.float32), gradient[places])
    others = np.delete(np.abs(gradient), places)
    assert np.abs(gradient[places]).min(initial=np.inf) >= others.max(initial=0)


@few_examples
@given(gradients)
def test_one_bit_keeps_the_sum_of_a_gradient_and_at_most_two_values(gradient: np.ndarray) -> None:
    left = lossy(OneBit())(gradient)
    assert len(set(left.tolist())) <= 2
    assert np.array_equal(left[gradient != 0] < 0, gradient[gradient != 0] < 0)
    assert left.sum(dtype=float) == pytest.approx(gradient.sum(dtype=float), rel=1e-4, abs=0.1)


@few_examples
@given(gradients, st.floats(1, 1.99))
def test_three_values_are_off_by_half_of_the_scale_at_most(
    gradient: np.ndarray, sparsity: float
) -> None:
    values, scale = quantise_3lc(gradient, sparsity)
    assert set(values.tolist()) <= {-1, 0, 1}
    assert np.abs(gradient - values * np.float32(scale)).max(initial=0) <= 0.5001 * scale


@few_examples
@given(arrays(np.int8, st.integers(0, 300), elements=st.integers(-1, 1)))
def test_packing_and_runs_lose_nothing(values: np.ndarray) -> None:
    packed = pack_3lc(values)
    encoded = run_lengths_3lc(packed)
    assert len(packed) == -(-len(values) // 5) and len(encoded) <= len(packed)
    assert np.array_equal(expand_runs_3lc(encoded), packed)
    assert np.array_equal(unpack_3lc(packed, len(values)), values)


@pytest.mark.parametrize("length", range(1, 61))
def test_a_run_of_zeros_takes_as_few_bytes_as_there_can_be(length: int) -> None:
    packed = np.array([0, *[ZEROS] * length, 242], np.uint8)
    encoded = run_lengths_3lc(packed)
    assert len(encoded) == 2 + -(-length // MOST_ZEROS)
    assert np.array_equal(expand_runs_3lc(encoded), packed)


def test_the_example_of_the_text() -> None:
    gradient = [0.9, -0.1, 0.2, 0.1, -0.6, 0.1, 0, 0.2, -0.3, 0.1, 0.2, 0.1, -0.1, 0, 0.3]
    values, scale = quantise_3lc(np.array(gradient, np.float32))
    assert scale == pytest.approx(0.9)
    assert pack_3lc(values).tolist() == [201, 121, 121]
    assert run_lengths_3lc(pack_3lc(values)).tolist() == [201, 243]


def test_how_many_bytes_a_payload_has() -> None:
    gradient = drawn(1000)
    sizes = [c.compress(gradient).nbytes for c in (Float16(), Int8(), TopK(0.01), OneBit())]
    assert sizes == [2000, 1000 + 4 * 4, 80, 125 + 8]
    assert ThreeLC().compress(np.zeros(1000, np.float32)).nbytes == 4 + -(-200 // 14)


@each_compressor
@pytest.mark.parametrize("n", [0, 1, 5, 8, 256, 257])
def test_zeros_and_empty_gradients_come_back_as_they_are(compressor: Compressor, n: int) -> None:
    left = lossy(compressor)(np.zeros(n, np.float32))
    assert left.dtype == np.float32 and left.shape == (n,) and not left.any()


@each_compressor
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_error_feedback_goes_on(
    compressor: Compressor, bad: float
) -> None:
    feedback = ErrorFeedback(compressor, 300)
    feedback.compress(drawn(300))
    before = feedback.residual.copy()
    spoilt = drawn(300, 1)
    spoilt[7] = bad
    for one in (compressor, feedback):
        with pytest.raises(ValueError, match="1 of 300 values .* NaN or infinite"):
            one.compress(spoilt)
    assert np.array_equal(feedback.residual, before)


@pytest.mark.parametrize(("compressor", "large"), [(Float16(), 7e4), (ThreeLC(1.9), 3e38)])
def test_what_would_become_infinite_is_refused(compressor: Compressor, large: float) -> None:
    with pytest.raises(ValueError, match="infinite"):
        compressor.compress(np.array([large, 1], np.float32))


@each_compressor
def test_a_payload_of_another_gradient_is_refused(compressor: Compressor) -> None:
    payload = compressor.compress(drawn(300))
    with pytest.raises(ValueError, match="bytes came where"):
        compressor.decompress(payload, 400)


@few_examples
@given(st.sampled_from(COMPRESSORS), st.integers(0, 50), st.integers(1, 12), st.integers(0, 999))
def test_what_was_sent_and_the_residual_are_the_sum_of_all_gradients(
    compressor: Compressor, n: int, steps: int, seed: int
) -> None:
    feedback = ErrorFeedback(compressor, n)
    given_, sent = np.zeros(n), np.zeros(n)
    for step in range(steps):
        gradient = drawn(n, seed + step)
        given_ += gradient
        sent += feedback.decompress(feedback.compress(gradient), n)
    size = 1e-5 * steps * (1 + np.abs(given_).max(initial=0) + np.abs(sent).max(initial=0))
    assert np.abs(given_ - sent - feedback.residual).max(initial=0) <= size


def test_an_element_that_is_never_the_largest_is_sent_only_with_error_feedback() -> None:
    gradient = np.array([1.0, 0.3], np.float32)
    for compressor, is_sent in ((TopK(0.5), False), (ErrorFeedback(TopK(0.5), 2), True)):
        sent = sum(lossy(compressor)(gradient)[1] for _ in range(5))
        assert (sent > 0) == is_sent


@each_compressor
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_all_ranks_have_the_same_mean_bit_for_bit(compressor: Compressor, ranks: int) -> None:
    def program(transport: Transport) -> np.ndarray:
        return allreduce_compressed(transport, drawn(321, transport.rank), compressor)

    results = run(ranks, program, seed=3).results
    assert {result.tobytes() for result in results} == {results[0].tobytes()}
    wanted = np.mean([lossy(compressor)(drawn(321, rank)) for rank in range(ranks)], axis=0)
    assert np.allclose(results[0], wanted, rtol=1e-5, atol=1e-6)


def test_payloads_of_any_length_reach_every_rank_and_no_byte_is_added() -> None:
    sizes = [5, 0, 300, 1]

    def program(transport: Transport) -> list[list[int]]:
        payload = np.full(sizes[transport.rank], transport.rank, np.uint8)
        return [each.tolist() for each in gather_payloads(transport, payload)]

    done = run(4, program, seed=1)
    assert done.results == [[[rank] * size for rank, size in enumerate(sizes)]] * 4
    assert sum(done.trace.bytes_sent) == 3 * (sum(sizes) + 4 * 8)
    assert done.trace.steps == 2 * 3


def test_float16_is_added_up_in_a_ring_without_leaving_its_range() -> None:
    def program(transport: Transport) -> np.ndarray:
        return allreduce_float16(transport, np.full(10, 6e4, np.float32))

    done = run(4, program)
    assert all(np.array_equal(result, done.results[0]) for result in done.results)
    assert np.allclose(done.results[0], 6e4, rtol=1e-3)
    assert max(done.trace.bytes_sent) <= 2 * (2 * 10 + 6)


@pytest.mark.parametrize("reduce", [allreduce_float16, allreduce_compressed])
def test_a_rank_whose_gradient_diverged_ends_the_run_with_its_sentence(reduce: Any) -> None:
    def program(transport: Transport) -> np.ndarray:
        gradient = np.full(6, np.nan if transport.rank == 1 else 1.0, np.float32)
        return reduce(transport, gradient, Float16())

    with pytest.raises(ValueError, match="6 of 6 values .* NaN or infinite"):
        run(3, program)


def one_step(transport: Transport) -> bytes:
    feedback = ErrorFeedback(ThreeLC(), 500)
    for step in range(3):
        mean = allreduce_compressed(transport, drawn(500, 10 * step + transport.rank), feedback)
    return mean.tobytes()


def test_processes_have_the_same_as_ranks_of_one_process() -> None:
    assert launch(3, one_step, transport="tcp") == run(3, one_step).results


def test_3lc_leaves_the_least_squares_where_they_are_and_error_feedback_finds_the_minimum() -> None:
    assert min(least_squares_losses(ThreeLC())) >= 0.32 - 1e-6
    assert least_squares_losses(ErrorFeedback(ThreeLC(), 2))[-1] < 1e-3


def test_gathering_costs_more_than_a_ring_from_a_number_of_ranks_on() -> None:
    ring, int8 = (bytes_by_ranks(make, [2, 16], 1024) for make in (None, compress_int8))
    assert int8[0] < ring[0] and int8[1] > ring[1]
    assert bytes_by_ranks(one_bit, [16], 1024)[0] < ring[1]


@each_compressor
def test_compressing_saves_something_in_a_time_that_can_be_measured(compressor: Compressor) -> None:
    assert 0 < break_even_bandwidth(compressor, n=2000, repeats=1) < float("inf")


def test_a_larger_multiplier_sends_less_of_lenets_gradients_and_feedback_more() -> None:
    drawn_gradients = list(lenet_gradients(steps=6))
    assert [len(layers) for layers in drawn_gradients] == [5] * 6
    dense, sparse = (bits_of(ThreeLC(s), drawn_gradients, True) for s in (1.0, 1.9))
    assert 1.6 / 14 < sparse < dense < 1.6
    assert bits_of(ThreeLC(), drawn_gradients) < dense


@pytest.mark.parametrize(
    ("compressor", "bits"), [(None, 32), (Float16(), 16), (Int8(), 8.131), (OneBit(), 1.011)]
)
def test_lenet_trains_on_what_the_transport_counts(compressor: Any, bits: float) -> None:
    trained = train_lenet(compressor, compressor is not None, steps=3, batch=8)
    assert trained.bits == pytest.approx(bits, abs=2e-3)
    assert len(trained.losses) == 3 and 0 <= trained.accuracy <= 1


def judged(probe: Probe, case: Any, change: Any) -> str:
    """The kind of difference between the reference's outcome and a changed one."""
    right, wrong = run_probe(probe, case), run_probe(probe, case)
    change(wrong.value)
    found = judge(probe, wrong, right)
    return "" if found is None else found.kind


def test_the_verdict_on_int8_finds_a_number_that_is_off_by_one() -> None:
    case = gradient_case("a case", 1, 300)
    assert judged(int8_payloads, case, lambda value: None) == ""

    def off_by_one(value: Any) -> None:
        codes = value["payload"] = value["payload"].copy()
        codes[100] ^= 1

    def other_scale(value: Any) -> None:
        value["payload"] = value["payload"].copy()
        value["payload"][:4].view(np.float32)[:] *= np.float32(1.01)

    assert judged(int8_payloads, case, off_by_one) == "error"
    assert judged(int8_payloads, case, other_scale) == "scale"
    assert judged(int8_payloads, case, lambda v: v.update(payload=v["payload"][:-1])) == "bytes"


def test_the_verdict_on_error_feedback_finds_what_got_lost_and_what_was_not_sent() -> None:
    case = feedback_case("a case", 1, 6, 4, "NaN")
    assert judged(feedback_steps, case, lambda value: None) == ""

    def lost(value: Any) -> None:
        value["residuals"][2] = value["residuals"][2] * np.float32(0.5)

    def not_sent(value: Any) -> None:
        payload = value["payloads"][1] = value["payloads"][1].copy()
        scale, before = payload[:4].view(np.float32), payload[4:].view(np.int8).copy()
        payload[4:].view(np.int8)[:] = 0
        for step in range(1, 4):  # the residuals still add up
            value["residuals"][step] = value["residuals"][step] + before * scale

    assert judged(feedback_steps, case, lost) == "not conserved"
    assert judged(feedback_steps, case, not_sent) == "not sent"
    assert judged(feedback_steps, case, lambda v: v.update(refused="")) == "not refused"
