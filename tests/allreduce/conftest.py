"""What the tests of Lab 4's ground share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import launched


@pytest.fixture
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test fails where it leaves a process, a descriptor, memory, a socket, a device."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = launched.left_behind()
    yield
    assert launched.left_behind() == before
