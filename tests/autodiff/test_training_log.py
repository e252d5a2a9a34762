"""The structured log of 1.1: what a real training run writes can be read again."""

from pathlib import Path

import numpy as np
import pytest

from aisys.autodiff.lenet_torch import LeNet
from aisys.autodiff.training import PHASES, Stall, train
from aisys.autodiff.training_log import open_log, read_log


@pytest.mark.parametrize("phase", PHASES)
def test_a_stall_planted_in_a_real_training_run_is_in_its_log(phase: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((32, 1, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 10, 32)
    path = tmp_path / "training.jsonl"
    stall = Stall(step=3, phase=phase, seconds=0.05)
    train(LeNet(), images, labels, [np.arange(8)] * 6, log=open_log(path), stall=stall)
    phases = {(entry["step"], entry["phase"]): entry for entry in read_log(path, "phase")}
    assert set(phases) == {(step, name) for step in range(6) for name in PHASES}
    assert phases[3, phase]["seconds"] >= stall.seconds
    assert [entry["step"] for entry in read_log(path, "loss")] == list(range(6))
