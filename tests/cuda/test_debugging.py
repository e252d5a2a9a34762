"""The five kernels with a bug: as given the emulator names it, repaired they are right."""

import re

import numpy as np
import pytest

from aisys.course import attempt_text
from aisys.course.attempts import clear_attempts
from aisys.cuda import debugging
from aisys.cuda.debugging import COMES_BACK, as_given, present
from aisys.cuda.debugging_pictures import draw_owners
from aisys.cuda.emulator import KernelFault

rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "argument", "kind", "line"),
    [
        ("prefix_sum", np.ones(90, np.int32), "race", "s[t - apart]"),
        ("horizontal_gradient", np.ones((5, 37), np.float32), "bounds", "pixel + 1"),
        ("block_maximum", np.ones(150, np.float32), "barrier", "__syncthreads"),
    ],
)
def test_the_emulator_names_the_bug_that_is_given(
    name: str, argument: np.ndarray, kind: str, line: str
) -> None:
    call, text = getattr(debugging, f"call_{name}"), as_given(getattr(debugging, name))
    with pytest.raises(KernelFault) as caught:
        call(argument, text=text)
    assert caught.value.kind == kind
    assert line in text.splitlines()[caught.value.line - 1]
    call(argument)


def test_given_row_sums_are_right_and_wait_for_one_bank() -> None:
    matrix = rng.standard_normal((70, 45)).astype(np.float32)
    sums, seen = debugging.call_row_sums(matrix, as_given(debugging.row_sums))
    np.testing.assert_allclose(sums, matrix.sum(1), rtol=1e-4, atol=1e-4)
    reads = seen.total("shared", "read")
    assert reads.bank_conflicts == 31 * reads.requests
    repaired, seen = debugging.call_row_sums(matrix)
    np.testing.assert_array_equal(repaired, sums)
    assert seen.total("shared").bank_conflicts == 0


def test_a_head_that_comes_back_gives_a_node_twice_as_given_and_once_repaired() -> None:
    given = debugging.owners(4, COMES_BACK, text=as_given(debugging.free_list))
    repaired = debugging.owners(4, COMES_BACK)
    assert given[-1].sum(1).tolist() == [1, 2, 1, 1]
    assert (repaired.sum(2) == 1).all()
    title = draw_owners(given, "given").get_title("left")
    assert title == "given: 1 of 4 nodes with two owners"


def test_random_turns_never_share_a_node() -> None:
    for _ in range(20):
        turns, begun = [], [False] * 3
        for _ in range(30):
            thread = int(rng.integers(3))
            action = debugging.FINISH if begun[thread] else int(rng.choice([0, 0, 2]))
            begun[thread] = action == debugging.BEGIN
            turns.append((thread, action))
        free, held = debugging.play_free_list(8, turns)
        assert sorted([*free, *(node for nodes in held for node in nodes)]) == list(range(8))


def test_look_prints_what_is_given_until_something_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    debugging.look("prefix_sum")
    assert re.match(r"prefix_sum, line \d+: thread .* no barrier between", capsys.readouterr().out)
    try:
        attempt_text("3.7 prefix_sum", debugging.prefix_sum.text)
        assert present(debugging.prefix_sum) == debugging.prefix_sum.as_in_cell
        debugging.look("prefix_sum")
        assert capsys.readouterr().out.startswith("prefix_sum  grid (2, 1, 1)")
        debugging.look("prefix_sum", given=True)
        assert "no barrier between" in capsys.readouterr().out
    finally:
        clear_attempts()
