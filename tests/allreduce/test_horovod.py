"""Horovod with the lab's patch gives what it gives without; where it is not built, that is said."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from aisys.allreduce.horovod import building, experiments
from aisys.allreduce.horovod.building import PATCH, VARIANTS, HorovodError, why_not
from aisys.allreduce.horovod.running import run
from aisys.course.errors import CourseError

MISSING = next(filter(None, map(why_not, VARIANTS)), None)
built = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

FLOATS = ("float64", "float32", "float16")
ROUNDING = {"float64": 1e-15, "float32": 1e-6, "float16": 2e-3, "int32": 0, "int64": 0}
SEVERAL_SEGMENTS = 1_200_003


def cases() -> list[dict[str, Any]]:
    """Every type, size and way in which the operation is called."""
    sizes = [{"dtype": dtype, "n": n} for dtype in ROUNDING for n in (0, 1, 2, 3, 5, 17, 1001)]
    large = [{"dtype": "float32", "n": SEVERAL_SEGMENTS, "op": op} for op in ("Sum", "Average")]
    large.append({"dtype": "float32", "n": SEVERAL_SEGMENTS, "in_place": True, "op": "Average"})
    ways: list[dict[str, Any]] = [
        {"dtype": dtype, "n": 1003, "op": op}
        for dtype in ROUNDING
        for op in ("Average", "Min", "Max", "Product")
    ]
    ways += [{"dtype": dtype, "n": 999, "in_place": True} for dtype in ROUNDING]
    ways += [{"dtype": dtype, "n": 999, "prescale": 0.25} for dtype in FLOATS]
    ways += [{"dtype": dtype, "n": [7, 0, 1001, 2], "op": "Average"} for dtype in ROUNDING]
    ways += [{"dtype": "float32", "n": 5000, "op": "Average", "compression": "float16"}]
    return [*sizes, *large, *ways]


@built
@pytest.mark.slow
@pytest.mark.parametrize(
    "ranks",
    [2, 3, *(pytest.param(ranks, marks=pytest.mark.thorough) for ranks in (1, 4))],
)
def test_the_patch_changes_no_bit_of_any_result(ranks):
    tried = cases()
    stock, improved = (run(variant, ranks, "reduced", tried) for variant in VARIANTS)
    for number, case in enumerate(tried):
        digests = {rank[number]["digest"] for rank in stock + improved}
        assert len(digests) == 1, case
        if case.get("op") != "Product":  # the products of 12s leave what an int32 holds
            half = case["dtype"] == "float16" or case.get("compression") == "float16"
            allowed = ROUNDING["float16" if half else case["dtype"]]
            assert improved[0][number]["error"] <= allowed, case


@built
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "3LC"])
def test_all_ranks_train_to_the_same_weights_with_a_compressor_of_the_lab(kind):
    ranks = run("improved", 2, "train", kind, 3)
    assert len({rank["weights"] for rank in ranks}) == 1
    assert ranks[0]["bits"] == 16 if kind == "float16" else ranks[0]["bits"] < 2


@built
@pytest.mark.slow
def test_a_sum_keeps_float16_and_spoils_int8():
    kinds = [experiments.what_a_sum_does().figures]
    assert all(kind["float16"]["error"] < 0.001 < 0.1 < kind["int8"]["error"] for kind in kinds)
    assert "not supported" in kinds[0]["bfloat16"]["refusal"]


@built
@pytest.mark.slow
def test_a_program_that_fails_is_told_with_what_it_said():
    with pytest.raises(HorovodError, match=r"(?s)train failed under Horovod.*no 'unsaid'"):
        run("stock", 2, "train", "unsaid", 1, seconds=60)


@pytest.fixture
def nothing_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AISYS_HOROVOD", str(tmp_path / "horovod"))
    return tmp_path / "horovod"


def test_where_it_is_not_built_the_recorded_run_is_shown_and_said_to_be_one(nothing_built):
    for name, experiment in (
        ("times", experiments.all_reduce_times),
        ("causes", experiments.causes),
        ("training", experiments.training),
        ("sums", experiments.what_a_sum_does),
    ):
        shown = experiment()
        assert shown.figures == experiments.recorded(name)
        assert "`make horovod` builds it" in shown.source
        assert f"recorded on {experiments.recorded()['date']}" in shown.source


def test_where_it_is_not_built_running_it_says_how_to_build_it(nothing_built):
    with pytest.raises(CourseError, match="not built here: `make horovod`"):
        run("stock", 2, "what_a_sum_does")


def test_a_build_for_another_patch_or_pytorch_is_not_used(nothing_built, monkeypatch):
    for variant in VARIANTS:
        (nothing_built / variant).mkdir(parents=True)
        ready = nothing_built / variant / ".ready"
        ready.write_text(building._identity(variant), encoding="utf-8")
        assert why_not(variant) is None
    other = nothing_built / "other.patch"
    other.write_text("another", encoding="utf-8")
    monkeypatch.setattr(building, "PATCH", other)
    assert why_not("stock") is None
    assert "built for another" in str(why_not("improved"))
    monkeypatch.setattr(building, "version", lambda package: "1.0")
    assert "built for another" in str(why_not("stock"))


def test_what_is_missing_for_the_build_is_said_in_a_sentence(nothing_built, monkeypatch, capsys):
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "g++" else found(tool))
    assert building.main() == 1
    assert "g++ is missing" in capsys.readouterr().err
    assert not nothing_built.exists()


def test_the_patch_is_one_of_the_gloo_operations_and_counts_its_own_lines():
    text = PATCH.read_text(encoding="utf-8")
    changed = re.findall(r"^\+\+\+ b/(.*)$", text, re.M)
    assert changed == [f"horovod/common/ops/gloo_operations.{kind}" for kind in ("cc", "h")]
    for hunk in re.split(r"^(?=@@|--- )", text, flags=re.M)[1:]:
        if hunk.startswith("@@"):
            counts = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", hunk)
            lines = hunk.splitlines()[1:]
            old = sum(line[:1] in (" ", "-", "") for line in lines)
            new = sum(line[:1] in (" ", "+", "") for line in lines)
            assert counts is not None
            assert [old, new] == [int(count or 1) for count in counts.groups()]


def test_the_recorded_run_has_a_date_versions_a_machine_and_every_figure_of_the_table():
    kept = json.loads(experiments.RECORDED.read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])
    assert building.VERSION in kept["versions"] and "cores" in kept["machine"]
    shown = experiments.table(experiments.Result(kept["figures"]["times"], "recorded"))
    assert shown.count(" MB ") == 2 * shown.count(" KB ") == 8
