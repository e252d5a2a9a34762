"""The benchmarks: what they share, and that the committed results are those of full runs."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem != "common")


@pytest.fixture
def common(tmp_path, monkeypatch):
    """The module `common`, which writes its results into an empty folder."""
    spec = importlib.util.spec_from_file_location("common", BENCHMARKS / "common.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "common", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_result_is_that_of_a_full_run(name):
    result = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
    assert set(result) == {"name", "date", "machine", "rows", "ratios"}
    assert result["name"] == name
    for row in result["rows"]:
        assert set(row) == {"case", "system", "metric", "value", "unit"}
    for ratio in result["ratios"].values():
        assert set(ratio) == {"value", "aim", "better"}
        assert ratio["better"] in ("lower", "higher")


def test_systems_take_turns_and_the_warm_up_does_not_count(common):
    calls = []
    systems = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = common.take_turns(systems, rounds=3, warm_up=1)
    assert "".join(calls) == "abababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_that_falls_short_is_printed_as_such(common, capsys):
    seconds = {"ours": [0.010, 0.012, 0.011], "theirs": [0.002, 0.001, 0.002]}
    ratios = {
        "ours / theirs": common.median_ratio(seconds, "ours", "theirs", aim=4),
        "speed-up": common.Ratio(3.0, 2.0, "higher"),
    }
    assert ratios["ours / theirs"].value == pytest.approx(5.5)
    common.report("sample", common.median_rows("a case", seconds), ratios, quick=False)
    printed = capsys.readouterr().out
    assert "ours / theirs: 5.50 (aim: at most 4), FALLS SHORT of its aim" in printed
    assert "speed-up: 3.00 (aim: at least 2), reached" in printed
    result = json.loads((common.RESULTS / "sample.json").read_text())
    assert result["rows"][0]["value"] == pytest.approx(11)
    assert "quick" not in result


def test_a_quick_run_says_that_it_is_one(common):
    common.report("sample", common.median_rows("a case", {"ours": [1.0]}), {}, quick=True)
    assert json.loads((common.RESULTS / "sample.json").read_text())["quick"] is True


@pytest.mark.slow
def test_the_benchmark_of_the_engine_runs(common, tmp_path):
    """In a copy of the folder, so that the committed result stays."""
    folder = shutil.copytree(BENCHMARKS, tmp_path / "copy")
    command = [sys.executable, str(folder / "autodiff.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "results" / "autodiff.json").read_text())
    systems = {row["system"] for row in result["rows"]}
    assert {"this engine", "PyTorch eager"} <= systems


@pytest.mark.thorough
def test_the_benchmark_of_the_graders_runs(tmp_path):
    """In a copy of the folder, so that the committed result stays."""
    folder = shutil.copytree(BENCHMARKS, tmp_path / "copy")
    command = [sys.executable, str(folder / "grading.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "results" / "grading.json").read_text())
    rates = {row["system"] for row in result["rows"] if row["unit"] == "notebooks/min"}
    assert {"stock nbgrader", "this harness, one worker"} <= rates
    assert all(row["value"] > 0 for row in result["rows"] if row["unit"] == "notebooks/min")
