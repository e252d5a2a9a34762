"""Grading on the machines of a Ray cluster.

The driver looks results up, keeps them and writes them; workers only run submissions. A worker that
is lost is not restarted by Ray: the driver gives its submission to another one, so that a
submission that loses its workers is seen and left.
"""

import json
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .bench import Bench
from .cache import Cache
from .graded import LEFT, Graded, Submission, Task, better, finish, look_up, ungraded
from .ray_cluster import CONNECT_SECONDS, RayError, cluster, the_ray
from .ray_worker import KERNELS_SEE, Worker, plan_of, sent, versions
from .results import from_json

MOST_WORKERS, MOST_MACHINES = 2, 3
"""A submission that lost so many workers, or so many machines with its worker, is left."""
MOST_STARTS = 3
"""After so many workers in a row that end before they are ready, there is something wrong."""
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 10.0


@dataclass
class _Slot:
    """One worker, as the driver sees it: it starts, is free, or works on a submission.

    One that cannot grade (`refusal`) is kept, so that Ray starts no other one in its place.
    """

    worker: Any
    answer: Any
    node: str = ""
    task: Task | None = None
    refusal: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is ready to grade, or grading."""
        return bool(self.node) and not self.refusal


class RayEngine:
    """Grades on a Ray cluster; see `autograder.engines.Engine`.

    Args:
        address: `HOST:PORT` of a cluster that this machine belongs to, `"auto"`, or None for a
            cluster of this machine alone, for the length of a grading.
        jobs: The most submissions at once; by default as many as the cluster has processors.
        unsafe: Whether submissions run without a sandbox.
        hidden: Folders that no submission may see, should they lie where something is visible.
        say: Receives a sentence when workers are lost or missing.
        patience: Seconds to wait for a machine where none is left.

    Raises:
        RayError: Ray is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        jobs: int | None = None,
        unsafe: bool = False,
        hidden: Iterable[Path] = (),
        say: Callable[[str], None] = lambda sentence: None,
        patience: float = 60.0,
    ) -> None:
        the_ray()
        self._address, self._jobs, self._unsafe = address, jobs, unsafe
        self._hidden = tuple(path.resolve() for path in hidden)
        self._say, self._patience = say, patience

    def grade(
        self,
        found: Sequence[Submission],
        benches: Mapping[str, Bench],
        known: Cache,
        kept: Cache,
    ) -> Generator[Graded, None, None]:
        """See `Engine.grade`; raises RayError where no worker is left, with all results kept."""
        open_entries = []
        for entry in found:
            before = look_up(entry, benches[entry.lab], known)
            if isinstance(before, Graded):
                yield before
            else:
                open_entries.append(entry)  # without its content, of which there may be much
        if not open_entries:
            return
        with cluster(self._address, self._jobs) as ray:
            labs = dict.fromkeys(entry.lab for entry in open_entries)
            of_labs = {lab: benches[lab] for lab in labs}
            crew = _Crew(ray, of_labs, self._jobs, self._unsafe, self._hidden)
            crew.say, crew.patience = self._say, self._patience
            try:
                late: list[Graded] = []
                for one in crew.run(open_entries, known, kept):
                    if one.is_doubtful:
                        late.append(one)
                    else:
                        yield one
                first = {(one.entry.student, one.entry.lab, one.entry.version): one for one in late}
                again = crew.run([one.entry for one in late], kept, kept, confirm=True)
                for one in again:
                    entry = one.entry
                    yield better(first[entry.student, entry.lab, entry.version], one)
            finally:
                crew.close()


class _Crew:
    """The workers of one grading."""

    say: Callable[[str], None]
    patience: float

    def __init__(
        self,
        ray: ModuleType,
        benches: dict[str, Bench],
        jobs: int | None,
        unsafe: bool,
        hidden: tuple[Path, ...],
    ) -> None:
        self._ray, self._benches, self._jobs = ray, benches, jobs
        self._plans = {lab: ray.put(plan_of(bench)) for lab, bench in benches.items()}
        self._environment = {name: os.environ[name] for name in KERNELS_SEE if name in os.environ}
        self._unsafe, self._hidden, self._versions = unsafe, hidden, versions()
        self._slots: list[_Slot] = []
        self._failed_starts = 0
        self._without_since: float | None = None

    def run(
        self, entries: Sequence[Submission], known: Cache, kept: Cache, confirm: bool = False
    ) -> Iterator[Graded]:
        """Grade submissions in any order.

        Args:
            entries: The submissions.
            known: Where results of earlier runs are looked for.
            kept: Where results are kept.
            confirm: Whether each is to be alone on its machine, and a hang in it final.
        """
        waiting, lost = deque(entries), Counter[tuple[Submission, str]]()
        while waiting or any(slot.task for slot in self._slots):
            self._hire(len(waiting))
            for slot in self._free(alone=confirm):
                yield from self._give(slot, waiting, known, confirm)
            for slot in self._answered():
                task = slot.task
                try:
                    answer = self._ray.get(slot.answer)
                except self._ray.exceptions.RayTaskError as error:
                    self._dismiss(slot)
                    if task is None:
                        self._not_started(str(error.cause or error))
                        continue
                    reason = f"The grader failed: {type(error.cause).__name__}: {error.cause}"
                    yield Graded(task.entry, self._ungraded(task.entry, reason), "")
                except self._ray.exceptions.RayError as error:
                    self._dismiss(slot)
                    if task is None:
                        self._not_started(str(error))
                        continue
                    what = self._what_was_lost(slot)
                    lost[task.entry, what] += 1
                    most = MOST_MACHINES if what == "machine" else MOST_WORKERS
                    who = f"{task.entry.student}'s {task.entry.lab}"
                    if lost[task.entry, what] < most:
                        self.say(f"The {what} that graded {who} was lost; it is graded again.")
                        waiting.append(task.entry)
                        continue
                    self.say(f"{most} times the {what} that graded {who} was lost; it is left.")
                    reason = f"The {what} that graded it was lost {most} times; grade it alone."
                    yield Graded(task.entry, self._ungraded(task.entry, reason, LEFT), "")
                else:
                    slot.answer = slot.task = None
                    if task is None:
                        self._ready(slot, answer)
                        continue
                    made = json.loads(answer)
                    result = from_json(made["result"])
                    yield finish(task, result, made["known"], kept, confirm)

    def close(self) -> None:
        """End the workers, and with them everything that they started."""
        ends = [s.worker.close.remote() for s in self._slots if s.node and s.task is None]
        with suppress(Exception):
            self._ray.wait(ends, num_returns=len(ends), timeout=CLOSE_SECONDS)
        for slot in list(self._slots):
            self._dismiss(slot)

    def _hire(self, waiting: int) -> None:
        """Have as many workers as there are processors, or work; raise RayError if none can be."""
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        busy = sum(slot.task is not None for slot in self._slots)
        wanted = min(self._jobs or cpus, waiting + busy)
        while len(self._slots) < cpus and sum(not s.refusal for s in self._slots) < wanted:
            self._slots.append(self._hired())
        if any(slot.usable for slot in self._slots):
            self._without_since = None
            return
        refusals = [slot.refusal for slot in self._slots if slot.refusal]
        if cpus and len(refusals) == len(self._slots):
            raise RayError(refusals[0])
        now = time.monotonic()
        if self._without_since is None:
            self._without_since = now
            if not cpus:
                self.say(f"No machine is left in the Ray cluster; waiting {self.patience:g} s.")
        elif now - self._without_since > self.patience:
            if not cpus:
                raise RayError(
                    f"No machine was left in the Ray cluster for {self.patience:g} s; what is "
                    "graded is kept: start a node and run the same command again."
                )
            self.say("No Ray worker has started yet: the cluster may be busy. Still waiting.")
            self._without_since = now

    def _hired(self) -> _Slot:
        actor = self._ray.remote(Worker).options(
            num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        worker = actor.remote(self._unsafe, self._hidden, self._environment, self._plans)
        return _Slot(worker, worker.start.remote(self._versions))

    def _ready(self, slot: _Slot, said: dict[str, str]) -> None:
        slot.node, self._failed_starts = said["node"], 0
        if said["refusal"]:
            slot.refusal = f"The Ray worker on {said['host']} {said['refusal']}"
            if sum(other.refusal == slot.refusal for other in self._slots) == 1:
                self.say(slot.refusal)

    def _not_started(self, reason: str) -> None:
        """A worker ended before it was ready; where its machine did, that says nothing of it."""
        if "never ran" in reason or "node has died" in reason:
            return
        self._failed_starts += 1
        if self._failed_starts >= MOST_STARTS and not any(slot.usable for slot in self._slots):
            lines = [line.strip() for line in reason.splitlines() if line.strip()]
            raise RayError(f"No Ray worker starts: {lines[-1] if lines else 'no reason is known'}")

    def _free(self, alone: bool) -> list[_Slot]:
        """Workers that can take a submission; `alone`: one on a machine where no other works."""
        free = [slot for slot in self._slots if slot.usable and slot.task is None]
        if not alone:
            return free
        used = {slot.node for slot in self._slots if slot.task is not None}
        return list({slot.node: slot for slot in free if slot.node not in used}.values())

    def _give(
        self, slot: _Slot, waiting: deque[Submission], known: Cache, confirm: bool
    ) -> Iterator[Graded]:
        """Give a worker the next submission that is to be run."""
        while waiting:
            entry = waiting.popleft()
            found = look_up(entry, self._benches[entry.lab], known)
            if isinstance(found, Task):
                slot.task = found
                slot.answer = slot.worker.grade.remote(sent(found), confirm)
                return
            yield found

    def _answered(self) -> list[_Slot]:
        """The workers that have answered; waits a moment for the first."""
        open_answers = {slot.answer: slot for slot in self._slots if slot.answer is not None}
        if not open_answers:
            time.sleep(LOOK_SECONDS)
            return []
        answers, _ = self._ray.wait(list(open_answers), num_returns=1, timeout=LOOK_SECONDS)
        return [open_answers[answer] for answer in answers]

    def _dismiss(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        with suppress(Exception):
            self._ray.kill(slot.worker)

    def _what_was_lost(self, slot: _Slot) -> str:
        """Whether a worker was lost with its machine, of which Ray may not know yet, or alone."""
        for node in self._ray.nodes():
            if node["NodeID"] == slot.node and node["Alive"]:
                with suppress(OSError):
                    place = node["NodeManagerAddress"], node["NodeManagerPort"]
                    socket.create_connection(place, CONNECT_SECONDS).close()
                    return "worker"
        return "machine"

    def _ungraded(self, entry: Submission, reason: str, *flags: str) -> Any:
        return ungraded(entry, self._benches[entry.lab], reason, flags)
