"""`autograder doctor` says what works here and what to do where it does not."""

from pathlib import Path

import pytest

from aisys.course.compiling import NoCompiler
from autograder import doctor, sandbox
from autograder.course import init_course
from autograder.doctor import Finding, examine


def found(what: str, folder: str | None = None) -> Finding:
    return next(finding for finding in examine(folder) if finding.what == what)


def test_this_machine_can_grade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [f for f in examine() if f.state == "fault"] == []
    assert found("labs").words.startswith("lab1_autodiff")
    assert found("course").state == "note"


def test_a_host_without_any_sandbox_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "refusal", lambda: "unshare was refused")
    monkeypatch.setattr(doctor, "bwrap_refusal", lambda: "it is not installed")
    finding = found("sandbox")
    assert finding.state == "fault"
    assert "unshare was refused" in finding.words


def test_a_secret_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    init_course(tmp_path, "course", ["lab1_autodiff"])
    assert found("course", str(tmp_path)).state == "ok"
    (tmp_path / "course.toml").chmod(0o644)
    assert "chmod 600" in found("course", str(tmp_path)).words


def test_a_missing_package_names_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-package": "nothing is lost"})
    assert found("no-such-package").words == "not installed: nothing is lost"


def test_a_missing_compiler_is_a_note_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_here() -> str:
        raise NoCompiler

    assert found("C++ compiler").state == "ok"
    monkeypatch.setattr(doctor, "find_compiler", none_here)
    finding = found("C++ compiler")
    assert finding.state == "note"
    assert "install g++" in finding.words
