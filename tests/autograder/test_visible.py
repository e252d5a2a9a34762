"""The record of the visible cases is made once for what it depends on."""

from pathlib import Path

import pytest

from autograder import visible
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
