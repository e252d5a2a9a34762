"""Attacks by files: links, pipes, devices, huge files, and modules that shadow ours."""

import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autograder.submission import MAX_BYTES
from tests.attacks.arena import KEY, LAB, LIMITS, Arena, code_of

pytestmark = pytest.mark.slow

STARTUP = "open('/box/started', 'w').write('by the attacker')"


def swap_sockets():
    """Put links and files in the place of the sockets that the grader talks through."""
    import glob
    import os

    sockets = glob.glob("/box/.k*") + glob.glob(os.path.expanduser("~/.k*"))
    for number, path in enumerate(sockets):
        os.unlink(path)
        os.symlink(["/etc/passwd", "/dev/zero", "/proc/1/mem", "/", "loop"][number % 5], path)
    return len(sockets) > 0


def litter():
    """Leave links and locked folders in the scratch, for whoever cleans it up."""
    import os

    home = os.path.expanduser("~")
    os.symlink("/", f"{home}/root")
    os.symlink("/etc", f"{home}/etc")
    os.symlink(f"{home}/loop", f"{home}/loop")
    deep = home
    for _ in range(200):
        deep += "/d"
        os.mkdir(deep)
    with open(f"{home}/d/locked", "w") as file:
        file.write("x")
    os.link(f"{home}/d/locked", f"{home}/hard")
    os.mkfifo(f"{home}/pipe")
    os.chmod(f"{home}/d", 0)
    return "littered"


def shadow_modules(startup):
    """Put modules and configuration where Python, IPython or Jupyter may look; then die."""
    import os

    home = os.path.expanduser("~")
    names = ["numpy.py", "aisys.py", "sitecustomize.py", "usercustomize.py", "json.py", "ast.py"]
    names += [".ipython/profile_default/startup/00-first.py", ".ipython/profile_default/x.py"]
    names += [".ipython/profile_default/ipython_config.py", ".jupyter/jupyter_config.py"]
    names += [".local/lib/python3.11/site-packages/evil.pth", "ipykernel/__init__.py"]
    for name in names:
        for place in (home, "/tmp"):
            path = os.path.join(place, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(startup)
    os._exit(1)


def see_what_started():
    """Whether what was put there has run, or is still there."""
    import os

    home = os.path.expanduser("~")
    return os.path.exists(f"{home}/started"), sorted(set(os.listdir(home)) - {".matplotlib"})


def look_around():
    """What lies in the working folder, and where modules come from."""
    import os

    import numpy

    import aisys

    return os.getcwd(), os.listdir("."), numpy.__file__, aisys.__file__


def link_to(target: Path | str) -> object:
    """A submission whose notebook is a link."""
    return lambda folder: (folder / f"{LAB}.ipynb").symlink_to(target)


def test_a_notebook_that_is_a_link_is_not_followed(arena: Arena) -> None:
    """They want the neighbour's points, or a file that only the grader can read."""
    neighbour = arena.honest_folder / LAB / f"{LAB}.ipynb"
    targets = {
        "neighbour": neighbour,
        "shadow": "/etc/shadow",
        "secret": arena.course / "course.toml",
        "endless": "/dev/zero",
        "loop": f"{LAB}.ipynb",
        "nowhere": "/nowhere",
        "memory": "/proc/self/mem",
    }
    for name, after in arena.grade_all({n: link_to(t) for n, t in targets.items()}).items():
        status = "missing" if name in ("loop", "nowhere") else "error"
        assert (after.points, after.status) == (0, status), name
        assert "is a link, which is not followed" in after.message
        assert "root:" not in after.shown


def test_a_folder_that_is_a_link_is_not_followed(arena: Arena) -> None:
    """They want the neighbour's points by a link to the neighbour's folder of the lab, or above."""

    def lab(folder: Path) -> None:
        folder.rmdir()
        folder.symlink_to(arena.honest_folder / LAB)

    def student(folder: Path) -> None:
        folder.rmdir()
        folder.parent.rmdir()
        folder.parent.symlink_to(arena.honest_folder)

    for name, after in arena.grade_all({"lab": lab, "student": student}).items():
        assert (after.points, after.status) == (0, "error"), name
        assert "link" in after.message


def test_what_is_no_file_is_not_read(arena: Arena) -> None:
    """They want the grader to wait for a pipe, or to read a device for ever."""

    def path(folder: Path) -> Path:
        return folder / f"{LAB}.ipynb"

    def listening(folder: Path) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(path(folder)))
        made.close()

    shapes = {
        "pipe": lambda folder: os.mkfifo(path(folder)),
        "folder": lambda folder: path(folder).mkdir(),
        "socket": listening,
        "nothing": lambda folder: None,
    }
    if os.getuid() == 0:
        shapes["device"] = lambda folder: os.mknod(path(folder), 0o600 | stat.S_IFCHR, 0x105)
    else:
        shapes["locked"] = lambda folder: path(folder).touch(0)
    for name, after in arena.grade_all(shapes).items():
        assert after.points == 0, name
        assert after.status == ("missing" if name == "nothing" else "error"), name
        assert after.message.strip(), name


def test_files_that_are_too_large_or_too_deep_are_not_taken_in(arena: Arena) -> None:
    """They want the grader's memory, or its stack."""

    def sparse(folder: Path) -> None:
        with (folder / f"{LAB}.ipynb").open("wb") as file:
            file.truncate(1 << 40)

    made = {
        "sparse": sparse,
        "large": b"[" + b" " * MAX_BYTES + b"]",
        "deep": "[" * 200_000,
        "deeper": '{"cells":' * 100_000 + "1" + "}" * 100_000,
        "many": '{"cells": [' + ",".join(["{}"] * 3000) + "]}",
        "numbers": '{"cells": [' + "9" * 100_000 + "]}",
        "zeros": b"\0" * 1000,
        "nan": '{"cells": NaN}',
    }
    for name, after in arena.grade_all(made).items():
        assert (after.points, after.status) == (0, "error"), name
        assert after.message.strip() and len(after.message) < 1000, name


def test_swapped_sockets_lead_nowhere(arena: Arena) -> None:
    """It wants the grader to follow a link from the scratch into its own file system."""
    after = arena.grade(arena.notebook(own=code_of(swap_sockets)))
    assert after.returned is True
    assert after.points == arena.most


def test_litter_is_cleaned_up_and_links_are_not_followed(arena: Arena) -> None:
    """It wants whoever cleans up to delete what links point to, or to give up."""
    assert arena.grade(arena.notebook(own=code_of(litter))).returned == "littered"


def test_files_beside_the_notebook_shadow_nothing(arena: Arena) -> None:
    """It wants its own numpy and aisys to be imported, by the kernel or even by the grader."""

    def submission(folder: Path) -> None:
        arena.write(folder, arena.notebook(own=code_of(look_around)))
        for name in ("numpy.py", "aisys.py", "sitecustomize.py", "conftest.py", "json.py"):
            (folder / name).write_text("raise SystemExit('shadowed')", encoding="utf-8")
        (folder / "aisys").mkdir()
        (folder / "aisys" / "__init__.py").write_text("check = print", encoding="utf-8")
        (folder / "nbgrader_config.py").write_text("raise SystemExit", encoding="utf-8")
        (folder / ".ipython" / "profile_default" / "startup").mkdir(parents=True)

    after = arena.grade(submission)
    where, files, numpy, package = after.returned
    assert where == "/box"
    assert [name for name in files if not name.startswith((".k", ".ipython"))] == []
    assert numpy == np.__file__
    assert package == str(arena.bench.spec.kit / "aisys" / "__init__.py")
    assert after.points == arena.most


def test_files_in_the_scratch_do_not_reach_the_next_kernel(arena: Arena) -> None:
    """It wants code to run in the fresh kernel before the cells do, by way of the old scratch."""
    submission = arena.notebook(
        own=code_of(shadow_modules, STARTUP), last=code_of(see_what_started)
    )
    after = arena.grade(submission)
    started, files = after.returned
    assert not started
    assert [name for name in files if not name.startswith((".k", ".ipython"))] == []
    assert after.points == arena.most


def test_code_that_returns_a_path_has_nothing_read(arena: Arena) -> None:
    """It returns names of files where arrays are expected, hoping that somebody opens them."""
    returned = "from pathlib import Path\nreturn Path('/etc/shadow')"
    after = arena.grade(arena.notebook(attempts={KEY: arena.spliced(KEY, returned)}))
    assert 0 < after.points < after.most


def test_the_other_sandboxes_follow_no_link_either(other_arena: Arena) -> None:
    """They want the same where the scratch is a folder of the host, as with bwrap."""
    place = other_arena
    attacks = {"swap": code_of(swap_sockets), "litter": code_of(litter)}
    made = {name: place.notebook(own=code) for name, code in attacks.items()}
    made["shadow"] = place.notebook(
        own=code_of(shadow_modules, STARTUP), last=code_of(see_what_started)
    )
    after = place.grade_all(made, replace(LIMITS, own_cell_seconds=3))
    assert after["swap"].returned is True
    assert after["litter"].returned == "littered"
    assert after["shadow"].returned[0] is False
    assert after["swap"].points == after["shadow"].points == place.most


@pytest.mark.parametrize("name", ["submitted", "out"])
def test_the_courses_folders_are_named_to_the_sandbox(arena: Arena, name: str) -> None:
    """It wants a course that lies in a folder that is visible inside, such as Python's own."""
    course = arena.course
    arena.grade(arena.notebook())
    assert {course, course / name} <= set(arena.hidden)
