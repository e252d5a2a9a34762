"""What runs on the other side of Ray: a worker that grades one submission at a time.

It gets everything that is made from files by value: the kit, the answer key, the notebook as it is
released, and the submission's bytes. What it gives back is plain data. The code is its machine's
own, and must be the same.
"""

import dataclasses
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from aisys.course.slots import load_lab

from .answers import key_of, sources_digest
from .bench import Bench
from .cache import digest
from .catalogue import load_catalogue
from .choice import catalogue_of
from .graded import Task, run
from .isolation import server_for
from .kernel import KernelSpec, Limits
from .results import to_json
from .text import LabText

KERNELS_SEE = ("LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What of the grader's environment a kernel's depends on."""
ASK_METHOD = """
import sys
from autograder.isolation import IsolationError, method
try:
    print(method(sys.argv[1] == "unsafe"))
except IsolationError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Plan:
    """A lab's bench as data.

    Attributes:
        lab: The lab's text, as the course has it.
        limits: What a submission may use.
        key: The answer key as text.
        original: The student's notebook as it is released, as JSON.
        kit: The folder with the kit's `aisys`, as a zip.
    """

    lab: LabText
    limits: Limits
    key: str
    original: str
    kit: bytes


def plan_of(bench: Bench) -> Plan:
    """A bench as data that can travel."""
    return Plan(
        bench.lab,
        bench.spec.limits,
        bench.key.content(),
        nbformat.writes(bench.original),
        _zipped(bench.spec.kit),
    )


def bench_from(plan: Plan, folder: Path) -> Bench:
    """The bench that a plan was made from.

    Args:
        plan: The plan.
        folder: Where the kit's `aisys` is written.
    """
    name = plan.lab.name
    load_lab(plan.lab.number)
    kit = folder / name
    with zipfile.ZipFile(io.BytesIO(plan.kit)) as archive:
        archive.extractall(kit)
    catalogue = catalogue_of(plan.lab, load_catalogue(name))
    original = nbformat.reads(plan.original, as_version=4)
    key = key_of(plan.key, name, catalogue)
    # The source notebook is for the gradebook, which only the driver writes.
    return Bench(plan.lab, original, original, key, KernelSpec(kit.resolve(), plan.limits))


def versions() -> str:
    """A hash of what must be the same on every machine: Python and the two packages."""
    return digest(sys.version, sources_digest())


class Worker:
    """Grades submissions that are sent to it, each in a sandbox on its own machine.

    Args:
        unsafe: Whether submissions run without a sandbox.
        hidden: Folders that no submission may see; where they do not exist, that is so anyway.
        environment: What kernels see of the driver's environment.
        plans: A Ray reference to the plan of each lab.
    """

    def __init__(
        self,
        unsafe: bool,
        hidden: tuple[Path, ...],
        environment: dict[str, str],
        plans: dict[str, Any],
    ) -> None:
        for name in KERNELS_SEE:
            os.environ.pop(name, None)
        os.environ.update(environment)
        self._unsafe, self._hidden, self._plans = unsafe, hidden, plans
        self._how = ""
        self._benches: dict[str, Bench] = {}
        self._stack = ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="aisys-kits-", ignore_cleanup_errors=True)
        self._folder = Path(self._stack.enter_context(folder))

    def start(self, expected: str) -> dict[str, str]:
        """Say where this worker is, and why it cannot be used, if so.

        Args:
            expected: What `versions` says where the driver runs.
        """
        refusal = ""
        if versions() != expected:
            refusal = (
                "has another Python or another version of the course than this machine; "
                "install the same on both."
            )
        else:
            # A process that Ray has threads in is no place for a fork.
            word = "unsafe" if self._unsafe else "safe"
            command = [sys.executable, "-c", ASK_METHOD, word]
            asked = subprocess.run(command, capture_output=True, text=True)
            self._how = asked.stdout.strip()
            if asked.returncode != 0:
                refusal = f"cannot grade: {asked.stderr.strip()}"
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "host": socket.gethostname(), "refusal": refusal}

    def grade(self, task: Task, confirm: bool) -> bytes:
        """Grade a submission; returns its result and what is known of it, as JSON."""
        result, used = run(task, self._bench(task.entry.lab), confirm)
        return json.dumps({"result": to_json(result), "known": used}).encode()

    def close(self) -> None:
        """End every kernel and throw the kits away."""
        self._stack.close()

    def _bench(self, lab: str) -> Bench:
        if lab not in self._benches:
            import ray

            bench = bench_from(ray.get(self._plans[lab]), self._folder)
            server = self._stack.enter_context(server_for(bench.spec.kit, self._how, self._hidden))
            self._benches[lab] = bench.started_by(server)
        return self._benches[lab]


def sent(task: Task) -> Task:
    """A task as it travels: the path is one of the driver's machine and means nothing elsewhere."""
    return dataclasses.replace(
        task, entry=dataclasses.replace(task.entry, path=Path(task.entry.path.name))
    )


def _zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return made.getvalue()
