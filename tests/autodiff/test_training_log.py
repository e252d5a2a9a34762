"""Logs of 1.1: what is written, what is found in them, and LeNet that writes them."""

import json
import sys

import numpy as np
import pytest
import torch

from aisys.autodiff import training
from aisys.autodiff.lenet_torch import LeNet, weights_of
from aisys.autodiff.training import PHASES, Stall, draw_stall, train
from aisys.autodiff.training_log import (
    SlowStep,
    note,
    open_log,
    read_log,
    slow_step,
    to_tensorboard,
)
from aisys.data import batches, digits


class Clock:
    """A time that passes by a millisecond a look, and while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 0.001
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def log_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "time", Clock())
    data = digits()
    steps = list(batches(len(data.train_labels), size=4, epochs=1))[:12]
    path = tmp_path / "log.jsonl"
    stall = Stall(step=7, phase="update", seconds=0.5)
    losses = train(
        LeNet(), data.train_images, data.train_labels, steps, log=open_log(path), stall=stall
    )
    return path, losses


def test_every_phase_of_every_step_is_in_the_log_and_every_loss(log_of_a_run):
    path, losses = log_of_a_run
    phases = [(entry["step"], entry["phase"]) for entry in read_log(path, "phase")]
    assert phases == [(step, phase) for step in range(12) for phase in PHASES]
    assert [entry["loss"] for entry in read_log(path, "loss")] == losses


def test_the_planted_stall_is_found_in_a_real_log(log_of_a_run):
    path, _ = log_of_a_run
    found = slow_step(path.read_text().splitlines())
    assert found == SlowStep(7, "update", 0.501, 0.001)


def entries(times):
    return [
        json.dumps({"event": "phase", "step": step, "phase": phase, "seconds": seconds})
        for (step, phase), seconds in times.items()
    ]


def test_the_usual_time_is_the_median_without_the_first_step():
    lines = entries({(5, "load"): 90.0, (6, "load"): 1.0, (7, "load"): 2.0, (8, "load"): 7.0})
    assert slow_step(lines) == SlowStep(8, "load", 7.0, 2.0)


def test_what_is_no_phase_is_passed_over():
    lines = entries({(0, "load"): 1.0, (1, "load"): 1.0, (2, "load"): 3.0})
    noise = ["", "null", "[1]", '{"event": "phase"', '{"event": "test", "seconds": 99, "step": 1}']
    assert slow_step([*noise, *lines, *noise]) == SlowStep(2, "load", 3.0, 2.0)


def test_opening_a_log_again_begins_anew(tmp_path):
    for number in range(2):
        note(open_log(tmp_path / "log.jsonl"), "loss", step=number)
    assert [entry["step"] for entry in read_log(tmp_path / "log.jsonl", "loss")] == [1]


def test_without_tensorboard_one_sentence_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "pip install tensorboard" in to_tensorboard(tmp_path / "log.jsonl", tmp_path / "runs")


def test_with_tensorboard_losses_and_times_are_handed_over(log_of_a_run, tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    path, losses = log_of_a_run
    assert "tensorboard --logdir" in to_tensorboard(path, tmp_path / "runs")
    assert [value for name, value, _ in written if name == "loss"] == losses
    assert sum(name == "seconds/load" for name, _, _ in written) == 12


def test_a_drawn_stall_is_in_a_step_that_is_run():
    for _ in range(50):
        stall = draw_stall(steps=20)
        assert 0 < stall.step < 20 and stall.phase in PHASES


def test_lenet_has_the_shapes_of_the_course_and_learns():
    weights = weights_of(LeNet())
    assert {name: value.shape for name, value in weights.items()} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }
    data = digits()
    chosen = list(batches(256, size=64, epochs=5))
    losses = train(LeNet(), data.train_images, data.train_labels, chosen, rate=0.1)
    assert losses[-1] < losses[0]


def test_equal_seeds_give_equal_weights_and_leave_pytorchs_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (weights_of(LeNet(seed)) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any((first[name] != other[name]).any() for name in first)


def test_weights_are_copies():
    model = LeNet()
    weights_of(model)["conv1.bias"][:] = 7
    assert not (model.conv1.bias == 7).any()
