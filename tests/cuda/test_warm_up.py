"""Whoever warms Lab 3 up needs no compiler: only its texts do."""

import pytest

from aisys.course.compiling import CompileError
from aisys.cuda import checks
from aisys.cuda.emulator import building


def test_a_warm_process_starts_where_there_is_a_compiler_but_no_gpp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> str:
        raise CompileError("there is no g++ here")

    monkeypatch.setattr(building, "compiler", none)
    monkeypatch.setattr(building, "_host", [])
    building.runtime_digest.cache_clear()
    try:
        checks.warm_up()
    finally:
        building.runtime_digest.cache_clear()
