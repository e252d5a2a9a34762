"""How the submissions of a class are run: side by side on this machine, or by another engine."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from .bench import Bench
from .cache import Cache
from .fork_server import ForkServer
from .graded import Graded, Submission, better, grade_one
from .isolation import method, server_for
from .spares import spares


class Engine(Protocol):
    """Runs submissions somewhere; whatever it is, the results are the same."""

    def grade(
        self,
        found: Sequence[Submission],
        benches: Mapping[str, Bench],
        known: Cache,
        kept: Cache,
    ) -> Generator[Graded, None, None]:
        """Grade submissions, and give each one's final result as soon as it is there.

        A submission with a time-out in it, or one that the grader failed to grade, is run once
        more, alone, before its result is given.

        Args:
            found: The submissions.
            benches: Their labs by name, without anything that starts kernels.
            known: Where results of earlier runs are looked for.
            kept: Where results are kept.
        """
        ...


class LocalEngine:
    """Grades on this machine, several submissions side by side.

    Args:
        jobs: How many.
        unsafe: Whether submissions run without a sandbox.
        hidden: Folders that no submission may see.
    """

    def __init__(self, jobs: int, unsafe: bool = False, hidden: Iterable[Path] = ()) -> None:
        self._jobs, self._how = max(1, jobs), method(unsafe)
        self._hidden = tuple(hidden)

    def grade(
        self,
        found: Sequence[Submission],
        benches: Mapping[str, Bench],
        known: Cache,
        kept: Cache,
    ) -> Generator[Graded, None, None]:
        """See `Engine.grade`."""
        with ExitStack() as stack:
            started = {}
            for lab, bench in benches.items():
                server = server_for(bench.spec.kit, self._how, self._hidden)
                started[lab] = bench.started_by(stack.enter_context(server))
            servers = [bench.spec.server for bench in started.values()]
            warm = [server.address for server in servers if isinstance(server, ForkServer)]
            stack.enter_context(spares(warm))
            late = []
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=self._jobs))
            # Whoever stops waiting for the results does not want those that are not begun.
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            futures = [
                pool.submit(grade_one, entry, started[entry.lab], known, kept) for entry in found
            ]
            for future in as_completed(futures):
                one = future.result()
                if one.is_doubtful:
                    late.append(one)
                else:
                    yield one
            for one in late:
                again = grade_one(one.entry, started[one.entry.lab], kept, kept, confirm=True)
                yield better(one, again)
