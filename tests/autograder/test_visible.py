"""The record of the visible cases is made once for what it depends on."""

from pathlib import Path

import pytest

from aisys.course.compiling import NoCompiler
from autograder import build, visible
from autograder.catalogue import Catalogue, load_catalogue
from autograder.choice import Choice, catalogue_of, chosen
from autograder.text import LabText, read_lab

LAB = "lab1_autodiff"


@pytest.fixture
def lab() -> tuple[LabText, Catalogue]:
    """A stage of Lab 1, which is quickly recorded."""
    text = chosen(read_lab(LAB), Choice(("1.3",)))
    return text, catalogue_of(text, load_catalogue(LAB))


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labs that were recorded, in a repository of its own."""
    made: list[str] = []

    def counted(text: LabText, catalogue: Catalogue) -> Path:
        made.append(text.name)
        return usual(text, catalogue)

    usual = visible.record_visible
    monkeypatch.setattr(visible, "REPOSITORY", tmp_path)
    monkeypatch.setattr(visible, "record_visible", counted)
    return made


def test_what_is_recorded_is_not_recorded_again(
    lab: tuple[LabText, Catalogue], recordings: list[str]
) -> None:
    path = visible.visible_recorded(*lab)
    content = path.read_bytes()
    assert visible.visible_recorded(*lab) == path
    assert path.read_bytes() == content
    assert recordings == [LAB]


def test_a_changed_source_is_recorded_again(
    lab: tuple[LabText, Catalogue], recordings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    visible.visible_recorded(*lab)
    monkeypatch.setattr(visible, "sources_digest", lambda: "another")
    visible.visible_recorded(*lab)
    assert recordings == [LAB, LAB]


def test_a_damaged_or_lost_record_is_made_again(
    lab: tuple[LabText, Catalogue], recordings: list[str]
) -> None:
    path = visible.visible_recorded(*lab)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert visible.visible_recorded(*lab).read_bytes() == content
    path.unlink()
    assert visible.visible_recorded(*lab).read_bytes() == content
    assert recordings == [LAB] * 3


def test_without_a_compiler_the_rest_of_a_lab_is_built_and_no_kit_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "lab2_operators"
    # 2.1 stands for what needs no compiler.
    text = chosen(read_lab(name), Choice(("2.1", "2.7")))
    catalogue = catalogue_of(text, load_catalogue(name))
    monkeypatch.setattr(visible, "has_compiler", lambda: False)
    for module in (build, visible):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    assert set(visible.lacking_compiler(text)) == {k for k in text.keys() if k.startswith("2.7 ")}
    path = visible.record_visible(text, catalogue, visible.lacking_compiler(text))
    content = path.read_bytes()
    assert b"linear" in content
    assert b"gelu_rows" not in content
    with pytest.raises(NoCompiler, match="apt install"):
        visible.visible_recorded(text, catalogue)
