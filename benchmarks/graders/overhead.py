"""What grading a notebook takes beyond the time of its own cells and cases."""

import statistics
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autograder.bench import set_up
from autograder.border import GuardedClient
from autograder.course import load_course
from autograder.grade import find_submissions
from autograder.graded import grade_one
from autograder.isolation import method, server_for

from .classes import LAB, Class


def overheads(made: Class, most: int) -> list[float]:
    """Seconds beyond the time of its own cells, for each of the first `most` submissions.

    A cell's own time is what its kernel says: from the start of its execution to the reply.
    """
    course, own = load_course(made.course), _OwnTime()
    found = find_submissions(made.course / "submitted")[: most + 1]
    spent = []
    with TemporaryDirectory() as kits:
        choice = course.policies.of(LAB).choice
        bench = set_up(LAB, course.secret, Path(kits), choice=choice)
        with server_for(bench.spec.kit, method()) as server, own:
            bench = bench.started_by(server)
            for entry in found:
                own.seconds, start = 0.0, time.perf_counter()
                result = grade_one(entry, bench).result
                if result.status != "graded":
                    raise SystemExit(f"{entry.student} was not graded: {result.message}")
                spent.append(time.perf_counter() - start - own.seconds)
    return spent[1:]  # the first waits for the warm process


def median_overhead(made: Class, most: int) -> float:
    """The median of `overheads`."""
    return statistics.median(overheads(made, most))


class _OwnTime:
    """Adds up, while it is entered, how long kernels execute."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._usual = usual = GuardedClient.get_shell_msg

        async def timed(client: GuardedClient, *args: Any, **more: Any) -> dict[str, Any]:
            reply: dict[str, Any] = await usual(client, *args, **more)
            started = reply["metadata"].get("started")
            if reply["msg_type"] == "execute_reply" and started:
                end = _moment(reply["header"]["date"])
                self.seconds += (end - _moment(started)).total_seconds()
            return reply

        GuardedClient.get_shell_msg = timed  # type: ignore[method-assign]

    def __exit__(self, *exception: object) -> None:
        GuardedClient.get_shell_msg = self._usual  # type: ignore[method-assign]


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
