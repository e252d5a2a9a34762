"""What every transport must do, claimed once and run over all of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from aisys.allreduce.mpi_transport import why_no_mpi
from tests.support import rank_programs as programs
from tests.support.rank_programs import Outcome
from tests.support.rank_runners import RUNNERS, Runner

LARGE = 3_000_000


def marked(name: str) -> object:
    if name != "mpi":
        return name
    missing = why_no_mpi()
    skip = pytest.mark.skipif(missing is not None, reason=str(missing))
    return pytest.param(name, marks=[skip, pytest.mark.slow])  # mpirun takes a second to start


@pytest.fixture(params=[marked(name) for name in RUNNERS])
def run(request: pytest.FixtureRequest) -> Runner:
    return RUNNERS[request.param]


def values(outcomes: list[Outcome]) -> list:
    for rank, outcome in enumerate(outcomes):
        assert "value" in outcome, f"rank {rank}: {outcome}"
    return [outcome["value"] for outcome in outcomes]


def test_every_dtype_and_shape_arrives_bit_for_bit(run):
    assert values(run(3, programs.every_dtype_and_shape)) == [[]] * 3


def test_arrays_that_are_not_contiguous_can_be_sent(run):
    assert values(run(2, programs.not_contiguous)) == [[True] * 4] * 2


def test_messages_keep_their_order_within_a_tag_and_tags_do_not_mix(run):
    got = values(run(2, programs.two_tags, 20))[1]
    assert got == [*range(1, 20, 2), *range(0, 20, 2)]


@pytest.mark.parametrize("size", [1, 100_000])
def test_sent_data_may_be_changed_once_send_returns(run, size):
    assert values(run(2, programs.same_buffer, 10, size))[1] == list(range(10))


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_ring_of_large_messages_does_not_wait_for_itself(run, ranks):
    assert values(run(ranks, programs.ring_of_large, LARGE)) == [True] * ranks


def test_receives_are_filled_in_the_order_in_which_they_were_asked_for(run):
    assert values(run(2, programs.waits_in_reverse, 5))[1] == list(range(5))


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_no_rank_leaves_a_barrier_before_the_last_has_come(run, ranks, tmp_path: Path):
    assert values(run(ranks, programs.barriers, str(tmp_path), 3)) == [[ranks] * 3] * ranks


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8"])
def test_a_ring_all_reduce_gives_every_rank_the_same_bits(run, dtype):
    results = values(run(4, programs.ring_sum, 1001, dtype))
    assert {result.tobytes() for result in results} == {results[0].tobytes()}
    terms = [programs.sample(rank, (1001,), np.dtype(dtype)) for rank in range(4)]
    if dtype == "int8":
        assert (results[0] == sum(terms, np.zeros(1001, np.int8))).all()
    else:
        exact = sum(term.astype(np.float64) for term in terms)
        tolerance = 8 * np.finfo(dtype).eps * sum(abs(t.astype(np.float64)) for t in terms)
        assert (abs(results[0] - exact) <= tolerance).all()


@pytest.mark.parametrize("delays", [1, 2])
def test_random_delays_change_no_bit(run, delays):
    calm = values(run(3, programs.ring_sum, 100, "float64"))
    assert np.array_equal(values(run(3, programs.ring_sum, 100, "float64", delays)), calm)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_traffic_between_all_pairs_arrives_as_it_was_sent(run, seed):
    assert values(run(4, programs.random_traffic, seed, 60)) == [[]] * 4


def test_what_cannot_be_meant_is_refused_in_a_sentence(run):
    for said in values(run(2, programs.refusals)):
        wanted = ["the ranks are 0 to 1", "the ranks are 0 to 1", "itself", "from 0 to 32,000"]
        wanted += ["an array of <U1", "this is a list", "C-contiguous", "C-contiguous", "overlap"]
        assert len(said) == len(wanted)
        for sentence, words in zip(said, wanted, strict=True):
            assert words in sentence or words == "overlap" and "copy first" in sentence


@pytest.mark.parametrize(
    "sent, expected, words",
    [
        (np.zeros(3), np.zeros(4), "expected 4 x float64 from rank 0; rank 0 sent 3 x float64"),
        (np.zeros(4), np.zeros(3), "expected 3 x float64 from rank 0; rank 0 sent 4 x float64"),
        (np.zeros(0), np.zeros(3), "sent 0 x float64"),
        (np.zeros(4, np.float32), np.zeros(2), "expected 2 x float64"),
        (np.zeros(100_000, np.int64), np.zeros(1), "sent 100,000 x int64"),
    ],
    ids=["short", "long", "empty", "dtype", "much too long"],
)
def test_a_wrong_message_is_an_error_on_every_rank_that_names_the_sender(
    run, sent, expected, words
):
    for rank, said in enumerate(values(run(4, programs.wrong_message, sent, expected))):
        assert len(said) >= 2, (rank, said)  # the second call says it again
        assert {each["rank"] for each in said} == {0}
        assert all(words in each["error"] for each in said)
        assert len({each["error"] for each in said}) == 1


@pytest.mark.parametrize("who", [0, 2])
def test_a_rank_that_leaves_early_is_named_by_those_that_wait(run, who):
    outcomes = values(run(4, programs.leaver, who))
    assert outcomes.pop(who) == {"left": True}
    assert [each["rank"] for each in outcomes] == [who] * 3


@pytest.mark.parametrize("who", [0, 2])
def test_a_hung_rank_is_named_by_all_others_within_the_time_out(run, who, tmp_path, request):
    if "in process" in request.node.callspec.params["run"]:
        pytest.skip("ranks of one process take turns, so that a rank that hangs stops them all")
    outcomes = values(run(4, programs.hung, who, str(tmp_path / "book"), timeout=1.0))
    assert outcomes.pop(who) == {"hung": True}
    assert [each["rank"] for each in outcomes] == [who] * 3, outcomes


def test_the_numbers_that_stand_for_dtypes_are_those_of_the_wire():
    codes = "".join(dtype.char for dtype in programs.DTYPES)
    assert codes == "?bBhHiIqQefdFD" or codes == "?bBhHiIlLefdFD"
    assert all(a != b for a, b in itertools.combinations(programs.DTYPES, 2))
