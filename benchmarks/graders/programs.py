"""Running graders as an instructor does, as commands, and what a run costs."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from common import THREAD_VARIABLES, own_environment

from autograder.bench import set_up
from autograder.cache import Cache
from autograder.course import load_course
from autograder.grade import STATE
from autograder.gradebook import save_lab
from autograder.text import REPOSITORY

from .classes import LAB, Class

OTTER_NEEDS = ("otter-grader>=7,<8", "ipykernel", "matplotlib", "msgpack", "numpy")
NBGRADER_CONFIG = "c = get_config()  # noqa: F821\nc.Execute.timeout = 1200\n"
PROGRAMS = Path(sys.executable).parent


@dataclass
class Cost:
    """What one command took.

    Attributes:
        seconds: Wall time, the start of the process included.
        cpu: Seconds of CPU time of the process and everything that it waited for.
        scored: Seconds until `scores.csv` was written, where it was.
        memory: Resident bytes of the grader's own process, at every line that it printed.
    """

    seconds: float
    cpu: float
    scored: float = 0.0
    memory: list[int] = field(default_factory=list)


def run(command: list[str], folder: Path, **variables: str) -> Cost:
    """Run a command to its end, on one thread a library; a failure ends the benchmark."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), **variables}
    before, started = _cpu(), time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    complaints: list[str] = []
    listener = threading.Thread(target=lambda: complaints.extend(process.stderr or ()))
    listener.start()
    memory = []
    for _ in process.stdout:
        try:
            memory.append(psutil.Process(process.pid).memory_info().rss)
        except psutil.Error:
            break
    process.stdout.read()
    listener.join()
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{''.join(complaints[-20:])}")
    return Cost(time.perf_counter() - started, _cpu() - before, memory=memory)


def grade(course: Path, jobs: int, *more: str, quiet: bool = True) -> Cost:
    """Grade a course with this harness, from the start of the command to its end."""
    command = [sys.executable, "-u", "-m", "autograder.cli", "grade", str(course / "submitted")]
    command += ["--course", str(course), "--out", str(course / "out"), "--jobs", str(jobs), *more]
    began = time.time()
    cost = run(command + (["--quiet"] if quiet else []), course)
    written = (course / "out" / "scores.csv").stat().st_mtime - began
    cost.scored = written if written > 0 else cost.seconds
    return cost


def release(made: Class) -> None:
    """Release the lab in this harness's course: draw the hidden cases, make the gradebook."""
    course = load_course(made.course)
    policy, results = course.policies.of(LAB), made.course / STATE / "results"
    with TemporaryDirectory() as kits:
        bench = set_up(LAB, course.secret, Path(kits), None, Cache(results), policy.choice)
    save_lab(made.course, LAB, bench.original, policy.deadline)
    shutil.copytree(made.course, made.released, ignore=shutil.ignore_patterns("submitted"))


def forget(made: Class) -> None:
    """Take away everything that gradings have left, up to the release."""
    for name in (STATE, "out", "autograded", "feedback"):
        shutil.rmtree(made.course / name, ignore_errors=True)
    shutil.copytree(made.released, made.course, dirs_exist_ok=True)


def release_stock(made: Class) -> None:
    """Release the assignment in stock nbgrader's course, which makes its gradebook."""
    (made.stock / "nbgrader_config.py").write_text(NBGRADER_CONFIG, encoding="utf-8")
    run([str(PROGRAMS / "nbgrader"), "generate_assignment", LAB], made.stock, **_path(PROGRAMS))


def grade_stock(made: Class) -> Cost:
    """Grade the class with `nbgrader autograde`."""
    command = [str(PROGRAMS / "nbgrader"), "autograde", LAB, "--force"]
    return run(command, made.stock, **_path(PROGRAMS))


def otter_programs() -> Path | None:
    """The programs of an environment with otter-grader, made on demand; None where it cannot be."""
    return own_environment("otter", OTTER_NEEDS)


def prepare_otter(made: Class) -> None:
    """Write the zip that `otter run` takes the tests from."""
    with zipfile.ZipFile(made.otter / "autograder.zip", "w") as archive:
        archive.writestr("otter_config.json", "{}")
        for path in (made.otter / "tests").glob("*.py"):
            archive.write(path, f"tests/{path.name}")


def grade_otter(made: Class, programs: Path, most: int) -> Cost:
    """Grade the first `most` of the class with `otter run`, which takes one notebook at a time."""
    total = Cost(0.0, 0.0)
    for student in made.students[:most]:
        (made.otter / student).mkdir(exist_ok=True)
        command = [str(programs / "otter"), "run", "-a", "autograder.zip", "-o", student]
        where = {**_path(programs), "PYTHONPATH": str(REPOSITORY / "src")}
        cost = run([*command, f"{student}.ipynb"], made.otter, **where)
        total.seconds, total.cpu = total.seconds + cost.seconds, total.cpu + cost.cpu
    return total


def _path(programs: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([str(programs), os.environ.get("PATH", "")])}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
