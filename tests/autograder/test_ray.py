"""Grading on a Ray cluster of two nodes: the same scores, whatever happens to the workers."""

import ast
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aisys.course.slots import load_lab
from autograder import graded
from autograder.answers import mistake_source, reference_source
from autograder.build import build_lab, to_text
from autograder.catalogue import load_catalogue
from autograder.cli import main
from autograder.engines import Engine, LocalEngine
from autograder.grade import grade_class
from autograder.ray_cluster import RayError, the_ray
from autograder.ray_engine import RayEngine
from autograder.results import SubmissionResult
from autograder.sample import fill
from autograder.text import read_lab
from tests.autograder.sample_course import LAB, SECRET, make_course

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = pytest.mark.slow
STAGE = "1.2"
MARKED = "raykiller"
"""What the kernel of one submission calls itself, so that its worker can be found."""
WORKING = "ray::Worker.grade"
"""What Ray calls a worker that grades."""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with seven submissions: right, mistaken, crashing, hanging, marked, and none."""
    folder = tmp_path_factory.mktemp("ray") / "course"
    make_course(folder, f'stages = ["{STAGE}"]')
    load_lab(1)
    lab, catalogue, original = read_lab(LAB), load_catalogue(LAB), build_lab(LAB)[1]
    right = {key: reference_source(key) for key in lab.keys(STAGE)}
    key = f"{STAGE} linear_cost"
    set_name = 15  # PR_SET_NAME; see prctl(2)
    here = f'import ctypes\nctypes.CDLL(None).prctl({set_name}, b"{MARKED}")\nwhile True: pass'
    made = {
        "ada": right,
        "ben": right,
        "grace": right | {key: mistake_source(catalogue.mistakes_of(key)[0])},
        "hal": right | {key: spoiled(key, "import os; os._exit(1)")},
        "ivan": right | {key: spoiled(key, "while True: pass")},
        "max": right | {key: spoiled(key, here)},
    }
    for student, attempts in made.items():
        hand_in(folder, student, to_text(fill(original, lab, attempts)))
    hand_in(folder, "zoe", "This is my homework.")
    return folder


def hand_in(course: Path, student: str, text: str) -> None:
    path = course / "submitted" / student / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def spoiled(key: str, statements: str) -> str:
    """The reference's attempt cell with other statements in the function's body."""
    tree = ast.parse(reference_source(key))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    function.body = ast.parse(statements).body
    return ast.unparse(tree)


def part_of(course: Path, copy: Path, *students: str) -> Path:
    """A copy of the course in which only these students handed in, with nothing graded yet."""
    shutil.copytree(course, copy, ignore=shutil.ignore_patterns("out", "autograded", ".autograder"))
    for folder in (copy / "submitted").iterdir():
        if folder.name not in students:
            shutil.rmtree(folder)
    return copy


def grade(course: Path, engine: Engine) -> list[SubmissionResult]:
    return grade_class(
        course / "submitted", course / "out", secret=SECRET, course=course, engine=engine
    )


def scores(course: Path) -> list[str]:
    """The lines of `scores.csv` with their ends, header and all."""
    content = (course / "out" / "scores.csv").read_bytes().decode()
    return content.splitlines(keepends=True)


@pytest.fixture(scope="module")
def local(course: Path) -> Callable[..., list[str]]:
    """The lines of scores that this machine gives to some students."""
    copy = part_of(course, course.with_name("local"), *"ada ben grace hal ivan zoe".split())
    grade(copy, LocalEngine(2))
    header, *rows = scores(copy)
    return lambda *students: [header, *(row for row in rows if row.split(",")[0] in students)]


class Nodes:
    """A head without processors, and two nodes with one processor each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        arguments = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = self.patiently(
            lambda: Cluster(initialize_head=True, head_node_args=arguments), every=True
        )
        self.nodes: list[Any] = []
        self.complete()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def complete(self) -> None:
        """Have two nodes again."""
        while len(self.nodes) < 2:
            self.nodes.append(self.patiently(lambda: self.cluster.add_node(num_cpus=1)))

    def patiently(self, start: Callable[[], Any], every: bool = False) -> Any:
        """Start something of Ray, which gives up by itself after 30 s on a busy machine.

        `every`: whether what it leaves then can be told from what runs, because nothing does yet.
        """
        for _ in range(3):
            with contextlib.suppress(Exception):
                return start()
            for process in started_in(str(self.folder)) if every else []:
                process.kill()
        return start()

    def kill(self, node: Any) -> None:
        """Kill a node at once, as a machine that loses its power."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def raylet(self, node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def working(self, node: Any) -> list[psutil.Process]:
        """The workers of a node that grade just now."""
        with_title = []
        for process in psutil.Process(self.raylet(node)).children(recursive=True):
            if title(process).startswith(WORKING):
                with_title.append(process)
        return with_title


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """The cluster; all that it starts has one folder for what is temporary."""
    folder = tempfile.mkdtemp(prefix="rays-", dir="/tmp")  # short, for the sake of Unix sockets
    with pytest.MonkeyPatch.context() as patch:
        for name, value in about_ray(folder).items():
            patch.setenv(name, value)
        made = Nodes(Path(folder))
        try:
            yield made
        finally:
            made.cluster.shutdown()
            assert until(lambda: not started_in(folder)), started_in(folder)
            shutil.rmtree(folder)


def about_ray(folder: str) -> dict[str, str]:
    the_ray()  # sets what the product sets
    return {"RAY_TMPDIR": folder, "TMPDIR": folder}


@pytest.fixture
def two_nodes(nodes: Nodes) -> Iterator[Nodes]:
    nodes.complete()
    yield nodes
    assert until(lambda: not any(nodes.working(node) for node in nodes.nodes))


def started_in(folder: str) -> list[psutil.Process]:
    """Processes that belong to a folder for what is temporary, this one left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(word.startswith(folder) for word in words):
                found.append(process)
    return found


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition; returns what it gives, or the last falsy value."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


Wait = Callable[[Callable[[], Any]], Any]


@contextlib.contextmanager
def meanwhile(work: Callable[[Wait], None]) -> Iterator[None]:
    """Do something in another thread; an error in it is this one's.

    `work` gets a function that waits for a condition, but not longer than the block lasts.
    """
    errors: list[BaseException] = []
    over = threading.Event()

    def wait(condition: Callable[[], Any]) -> Any:
        while not (met := condition()) and not over.wait(0.02):
            pass
        return met

    def guarded() -> None:
        try:
            work(wait)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


def test_two_nodes_give_the_scores_of_one_machine_to_the_byte(
    two_nodes: Nodes, course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    students = "ada", "ben", "grace", "hal", "ivan", "zoe"
    copy = part_of(course, tmp_path / "course", *students)
    worked: set[int] = set()

    def both_have_worked() -> bool:
        worked.update(i for i, node in enumerate(two_nodes.nodes) if two_nodes.working(node))
        return len(worked) == 2

    with meanwhile(lambda wait: wait(both_have_worked)):
        grade(copy, RayEngine(two_nodes.address))
    assert scores(copy) == local(*students)
    assert worked == {0, 1}
    notebook = json.loads((copy / "autograded" / "ada" / LAB / f"{LAB}.ipynb").read_text())
    assert any(cell.get("outputs") for cell in notebook["cells"])
    assert (copy / "out" / "feedback" / "hal" / f"{LAB}.html").exists()


def test_a_node_killed_in_the_middle_costs_nobody_anything(
    two_nodes: Nodes, course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    copy = part_of(course, tmp_path / "course", "ada", "ben", "grace", "hal")
    said: list[str] = []
    node = two_nodes.nodes[1]

    def lose_it(wait: Wait) -> None:
        assert wait(lambda: two_nodes.working(node))
        two_nodes.kill(node)

    with meanwhile(lose_it):
        grade(copy, RayEngine(two_nodes.address, say=said.append))
    assert scores(copy) == local("ada", "ben", "grace", "hal")
    assert any("The machine that graded" in sentence for sentence in said)


def test_without_a_node_the_run_ends_with_a_sentence_and_goes_on_later(
    two_nodes: Nodes, course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    copy = part_of(course, tmp_path / "course", "ada", "ben", "grace", "hal")
    kept = copy / ".autograder" / "results"

    def lose_all(wait: Wait) -> None:
        assert wait(lambda: any(two_nodes.working(node) for node in two_nodes.nodes))
        for node in list(two_nodes.nodes):
            two_nodes.kill(node)

    with meanwhile(lose_all), pytest.raises(RayError, match="No machine was left .* again"):
        grade(copy, RayEngine(two_nodes.address, patience=0.5))
    assert not (copy / "out" / "scores.csv").exists()
    assert list(kept.rglob("*.json"))
    two_nodes.complete()
    grade(copy, RayEngine(two_nodes.address))
    assert scores(copy) == local("ada", "ben", "grace", "hal")


def test_a_submission_that_kills_its_worker_twice_is_marked_and_left(
    two_nodes: Nodes, course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A kernel cannot kill its worker; so the test does, whenever a kernel bears the mark."""
    copy = part_of(course, tmp_path / "course", "ada", "ben", "max")
    said: list[str] = []
    killed: list[int] = []

    def kill_its_workers(wait: Wait) -> None:
        for _ in range(2):
            worker = wait(worker_of_the_marked)
            assert worker
            worker.kill()
            killed.append(worker.pid)
            assert wait(lambda gone=worker: not gone.is_running())

    with meanwhile(kill_its_workers):
        results = grade(copy, RayEngine(two_nodes.address, say=said.append))
    assert len(set(killed)) == 2
    left = next(result for result in results if result.student == "max")
    assert left.status == "ungraded" and left.flags == (graded.LEFT,) and left.notebook is None
    assert {stage.status for stage in left.stages} == {"ungraded"}
    assert [row for row in scores(copy) if not row.startswith("max,")] == local("ada", "ben")
    assert [sentence.partition(" ")[0] for sentence in said] == ["The", "2"]


def worker_of_the_marked() -> psutil.Process | None:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == MARKED:
            try:
                return next((p for p in process.parents() if title(p).startswith(WORKING)), None)
            except psutil.Error:
                return None
    return None


def command(course: Path, *arguments: str) -> list[str]:
    words = [sys.executable, "-m", "autograder.cli", "grade", str(course / "submitted")]
    return [*words, "--out", str(course / "out"), "--course", str(course), *arguments]


def test_a_killed_driver_takes_its_workers_along_and_the_next_goes_on(
    two_nodes: Nodes, course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    copy = part_of(course, tmp_path / "course", "ada", "ben", "grace", "hal")
    words = command(copy, "--engine", "ray", "--address", two_nodes.address)
    first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("[1/4]")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert until(lambda: not any(two_nodes.working(node) for node in two_nodes.nodes))
    grade(copy, RayEngine(two_nodes.address))
    assert scores(copy) == local("ada", "ben", "grace", "hal")


def test_a_cluster_of_its_own_is_gone_afterwards(
    course: Path, local: Callable[..., list[str]], tmp_path: Path
) -> None:
    copy = part_of(course, tmp_path / "course", "ada", "zoe")
    words = command(copy, "--engine", "ray", "--jobs", "1", "--quiet")
    with tempfile.TemporaryDirectory(prefix="rays-", dir="/tmp") as folder:
        environment = os.environ | about_ray(folder)
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        assert scores(copy) == local("ada", "zoe")
        assert until(lambda: not started_in(folder)), started_in(folder)
        assert not list(Path(folder).glob("aisys-*"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "No Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        ("somewhere", "--address is HOST:PORT of a Ray cluster"),
    ],
)
def test_an_address_without_a_cluster_is_said_in_one_line(
    address: str,
    sentence: str,
    course: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = part_of(course, tmp_path / "course", "ada")
    words = command(copy, "--engine", "ray", "--address", address)[3:]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_where_ray_is_not_installed_the_way_to_get_it_is_said(
    course: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(command(course, "--engine", "ray")[3:]) == 1
    said = capsys.readouterr().err
    assert 'pip install "aisys[cluster]"' in said and said.count("\n") == 1
