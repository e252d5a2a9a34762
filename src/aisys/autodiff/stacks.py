"""Looking into a process that does not answer: the stacks of its threads."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STUCK = (sys.executable, "-m", "aisys.autodiff.stuck")


@dataclass(frozen=True)
class Running:
    """A process with a handler for SIGUSR1 that writes its stacks into a file.

    Attributes:
        process: The process.
        errors: The file that holds what it writes to the standard error.
    """

    process: subprocess.Popen[str]
    errors: Path


@contextmanager
def running(command: tuple[str, ...] = STUCK) -> Iterator[Running]:
    """Start a program that prints "ready" when it may be looked at, and end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "errors")
        with errors.open("a") as stream:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{' '.join(command)} did not start: {errors.read_text()}")
            yield Running(process, errors)
        finally:
            process.kill()
            process.communicate()


def sample_stacks(running: Running, samples: int = 2, interval: float = 0.3) -> list[str]:
    """The stacks of all threads, several times: where they stay equal, nothing moves.

    Args:
        running: The process.
        samples: How often to look.
        interval: The time between two looks, in seconds.
    """
    taken = []
    for _ in range(samples):
        time.sleep(interval)
        before = len(running.errors.read_text())
        running.process.send_signal(signal.SIGUSR1)
        written = ""
        while not written or written != running.errors.read_text()[before:]:
            written = running.errors.read_text()[before:]
            time.sleep(0.05)
        taken.append(written)
    return taken


def py_spy_stacks(running: Running) -> str:
    """The stacks as py-spy reads them from outside, where it is installed and allowed to.

    py-spy needs no handler in the program, so it serves for one that was never prepared.

    Returns:
        The stacks, or what is missing and a recorded run.
    """
    tool = shutil.which("py-spy")
    if tool is None:
        return f"py-spy is not installed (`pip install py-spy`).\n\n{recorded('py_spy.txt')}"
    command = [tool, "dump", "--pid", str(running.process.pid)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if made.returncode != 0:
        return f"py-spy is not allowed to look: {made.stderr.strip()}\n\n{recorded('py_spy.txt')}"
    return made.stdout


def recorded(name: str) -> str:
    """The text of a recorded run; its first line says when and where it was recorded."""
    return (Path(__file__).parent / "recorded" / name).read_text(encoding="utf-8")
