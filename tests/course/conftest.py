"""What the tests of `aisys.course` share: the sample lab, its record, and an IPython shell."""

import builtins
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aisys.course import attempt, clear_attempts, kitinfo, load_ipython_extension, outcomes, probes
from aisys.course.outcomes import Recorded, case_key, write_outcomes
from aisys.course.probes import _probes, probes_of, run_case
from aisys.course.slots import _slots, recording, slots

SUPPORT = Path(__file__).resolve().parents[1] / "support"
HINT = "Multiply, do not divide."


@pytest.fixture(autouse=True)
def clean_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes out what a test registers or attempts."""
    monkeypatch.delenv("AISYS_ATTEMPTS", raising=False)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    before = dict(_slots), dict(_probes)
    yield
    clear_attempts()
    for registry, kept in zip((_slots, _probes), before, strict=True):
        registry.clear()
        registry.update(kept)
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample99"]:
        del sys.modules[name]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the sample lab afresh."""
    monkeypatch.syspath_prepend(SUPPORT)
    return lambda name: importlib.import_module(f"sample99.{name}")


@pytest.fixture
def lab(load: Callable[[str], ModuleType]) -> ModuleType:
    """The sample lab's exercises without its classes."""
    return load("exercises")


@pytest.fixture
def checks(
    load: Callable[[str], ModuleType],
    lab: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ModuleType:
    """The sample lab's checks, their expected outcomes recorded, with one mistake of `scale`."""
    module = load("checks")
    path = tmp_path / "outcomes.msgpack"
    monkeypatch.setattr(outcomes, "outcomes_file", lambda lab: path)
    ours = (*probes._NOT_THEIRS, f"{SUPPORT / 'sample99'}{os.sep}")
    monkeypatch.setattr(probes, "_NOT_THEIRS", ours)
    pairs = [(p, c) for s in slots() if s.order[0] == 99 for p in probes_of(s.key) for c in p.cases]
    records = {}
    for probe, case in pairs:
        with recording() as calls:
            expected = run_case(probe, case)
        records[case_key(probe, case)] = Recorded(expected, tuple(calls), ())

    @attempt("99.1")
    def scale(x, factor=2.0):
        return x / factor

    for probe, case in pairs:
        if probe.key == "99.1 scale":
            key = case_key(probe, case)
            mistakes = ((HINT, run_case(probe, case)),)
            records[key] = dataclasses.replace(records[key], mistakes=mistakes)
    clear_attempts()
    write_outcomes(path, records)
    return module


@pytest.fixture
def as_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes this installation a kit in which the named exercises came open."""

    def make(*opened: str) -> None:
        file = tmp_path / "kit.json"
        file.write_text(json.dumps({"open": list(opened)}))
        monkeypatch.setattr(kitinfo, "KIT_FILE", file)
        kitinfo.kit.cache_clear()

    yield make
    monkeypatch.undo()
    kitinfo.kit.cache_clear()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An IPython shell in this process, as a notebook's kernel has one."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    main, names = sys.modules["__main__"], set(vars(builtins))
    made = InteractiveShell.instance(config=config)
    load_ipython_extension(made)
    yield made
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main
    for name in set(vars(builtins)) - names:
        delattr(builtins, name)
