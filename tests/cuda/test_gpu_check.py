"""What `make gpu-check` runs is right, as seen on the emulator, and its report says what is not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aisys.course.slots import TextSlot, of_stage, slots
from aisys.cuda import extension, gpu_check
from aisys.cuda.emulator.lexing import SourceError, read_source
from aisys.cuda.gpu import why_no_gpu
from aisys.cuda.gpu_check import Measured, Work, main, table, works

WORKS = list(works("cpu", 64))


@pytest.mark.parametrize("work", WORKS, ids=[work.name for work in WORKS])
def test_every_kernel_computes_what_pytorch_does(work) -> None:
    work.run()
    work.run()  # a second launch begins from the same
    expected = work.theirs()
    assert work.result().shape == expected.shape
    error = (work.result() - expected).abs().max() / expected.abs().max()
    assert float(error) <= work.tolerance
    assert Measured(work, float(error), 1.0, 1.0).is_right


def test_no_kernel_of_the_lab_is_forgotten() -> None:
    of_stage("3.1")
    texts = [slot for slot in slots() if isinstance(slot, TextSlot) and slot.language == "cuda"]
    known = {name for slot in texts for name in read_source(slot.text).kernels}
    assert {work.name.partition("<")[0] for work in WORKS} == known


def test_the_report_says_what_is_wrong() -> None:
    work = next(each for each in WORKS if each.name == "matmul_tiled")
    wrong = replace(work, result=lambda: torch.zeros(64, 64))
    rows = table([Measured(work, 1e-7, 2e-3, 1e-3), Measured(wrong, 1.0, 2e-3, 1e-3)], 1e12, 1e13)
    right, broken = rows.splitlines()[-2:]
    assert "| yes | 2.000 | 1.000 |" in right
    assert "NO, off by 1.0e+00" in broken


def test_what_nvcc_compiles_comes_a_second_time_where_it_can_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def parts(random, size: int, compiler: str) -> list[Work]:
        asked.append(compiler)
        return []

    monkeypatch.setattr(gpu_check, "_operator", parts)
    monkeypatch.setattr(gpu_check.torch, "randn", lambda *shape, device: torch.ones(*shape))
    monkeypatch.setattr(gpu_check.torch, "empty", lambda *shape, device: torch.ones(*shape))
    monkeypatch.setattr(gpu_check.torch, "tensor", lambda values, device: torch.ones(len(values)))
    for missing in ("There is no nvcc.", ""):
        monkeypatch.setattr(extension, "why_not", lambda missing=missing: missing)
        list(works("cuda", 64))
        nothing = gpu_check._about_nvcc().startswith("Nothing was compiled by nvcc")
        assert nothing == bool(missing)
        assert missing in gpu_check._about_nvcc()
    assert asked == ["nvrtc", "nvrtc", "nvcc"]


def test_the_same_kernel_by_another_compiler_has_another_name() -> None:
    names = [work.name for work in gpu_check._operator(torch.randn, 64, "nvcc")]
    assert names[0] == "linear_gelu_forward, nvcc"
    assert [name.removesuffix(", nvcc") for name in names] == [
        work.name for work in gpu_check._operator(torch.randn, 64, "nvrtc")
    ]


def test_a_kernel_that_goes_wrong_costs_its_own_row_and_a_dead_gpu_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = [
        SourceError("Line 1: no.\n    x"), Measured(WORKS[1], 0.0, 1.0, 1.0),
        RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors"),
    ]  # fmt: skip

    def play(work: Work) -> Measured:
        outcome = outcomes[WORKS.index(work)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(gpu_check, "measure", play)
    first, second, third = gpu_check.measure_all(iter(WORKS))
    assert first == f"{WORKS[0].name}: Line 1: no. x"
    assert second == outcomes[1]
    assert third == (
        f"{WORKS[2].name}: CUDA error: an illegal memory access was encountered; nothing behind "
        "it was run"
    )


@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path / "gpu") == 0
    assert capsys.readouterr().out == f"skipped: {why_no_gpu()}\n"
    assert not (tmp_path / "gpu").exists()
