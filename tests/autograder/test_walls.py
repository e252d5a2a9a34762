"""What a sandbox shows and hides of folders that have several names, in both kinds of sandbox."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aisys
from autograder import sandbox
from autograder.isolation import bwrap_command, bwrap_refusal
from autograder.sandbox import Walls

LOOK = "import json, os, sys; print(json.dumps([os.path.isdir(p) and os.listdir(p) for p in {}]))"
ENTER = """
import sys
from pathlib import Path
from autograder.sandbox import Walls, enter
enter(Walls({readable!r}, {hidden!r}), lambda pid: None)
{look}
sys.stdout.flush()
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder `real` with something secret in it, and a link to it."""
    (tmp_path / "real" / "secret").mkdir(parents=True)
    (tmp_path / "real" / "secret" / "answer").touch()
    (tmp_path / "real" / "public").touch()
    (tmp_path / "way" / "to").mkdir(parents=True)
    (tmp_path / "way" / "to" / "link").symlink_to(tmp_path / "real")
    yield tmp_path


def seen(how: str, walls: Walls, paths: list[Path]) -> list[list[str] | bool]:
    """What folders hold as seen from inside: a list of names each, or False."""
    look = LOOK.format([str(path) for path in paths])
    if how == "bwrap":
        if reason := bwrap_refusal():
            pytest.skip(f"bwrap does not work here: {reason}")
        command = [*bwrap_command(Path(sys.prefix), walls), sys.executable, "-c", look]
    else:
        if reason := sandbox.refusal():
            pytest.skip(f"this host refuses a sandbox: {reason}")
        readable = (Path(sys.prefix), Path(sys.base_prefix), *walls.readable)
        program = ENTER.format(readable=readable, hidden=walls.hidden, look=look)
        program = program.replace("PosixPath", "Path")
        command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[list[str] | bool] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("how", ["sandbox", "bwrap"])
def test_a_folder_behind_a_link_is_shown_by_both_names(how: str, place: Path) -> None:
    link = place / "way" / "to" / "link"
    by_link, by_name = seen(how, Walls((link,)), [link, place / "real"])
    assert by_link == by_name
    assert isinstance(by_name, list) and set(by_name) == {"secret", "public"}


@pytest.mark.parametrize("how", ["sandbox", "bwrap"])
def test_what_is_hidden_is_hidden_under_every_name(how: str, place: Path) -> None:
    link = place / "way" / "to" / "link"
    walls = Walls((link,), (place / "real" / "secret",))
    assert seen(how, walls, [link / "secret", place / "real" / "secret"]) == [[], []]


@pytest.mark.parametrize("how", ["sandbox", "bwrap"])
def test_a_link_in_the_way_hides_as_well(how: str, place: Path) -> None:
    """The folder is shown by a path that goes through a link, the secret is hidden by its own."""
    (place / "real" / "python").mkdir()
    (place / "real" / "python" / "course").mkdir()
    (place / "real" / "python" / "course" / "answer").touch()
    shown = place / "way" / "to" / "link" / "python"
    walls = Walls((shown,), (place / "real" / "python" / "course",))
    folder, course = seen(how, walls, [shown, shown / "course"])
    assert folder == ["course"] and course == []


@pytest.mark.parametrize("how", ["sandbox", "bwrap"])
@pytest.mark.parametrize("hidden", ["/tmp", "/", "/dev", "/home"])
def test_hiding_what_is_not_shown_breaks_nothing(how: str, hidden: str) -> None:
    """A class may be graded into /tmp, or into the folder above Python's."""
    libraries, temporary = seen(how, Walls((), (Path(hidden),)), [Path("/usr"), Path("/tmp")])
    python = {Path(sys.prefix), Path(sys.prefix).resolve(), Path(aisys.__file__)}
    ways = {path.parts[2] for path in python if path.is_relative_to("/tmp")}
    assert libraries and set(temporary) <= ways


FIRST = """
import os, select, sys
from pathlib import Path
from autograder.sandbox import Walls, enter

said, saying = os.pipe()

def tell(pid):
    select.select([said], [], [], 0.5)  # whoever is inside has its chance to be first
    os.write(saying, b"the PID, ")

enter(Walls((Path(sys.prefix), Path(sys.base_prefix))), tell)
os.write(saying, b"ready")
os.write(1, os.read(said, 100))
"""


def test_the_pid_of_a_sandboxed_process_is_told_before_anything_that_it_says() -> None:
    if reason := sandbox.refusal():
        pytest.skip(f"this host refuses a sandbox: {reason}")
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert done.stdout == "the PID, ready"
