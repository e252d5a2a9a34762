"""The warm process as the grader holds it: begun early, told later what for, ended for certain.

Importing the libraries takes it longer than anything else takes a small grading, and they are the
same for every lab. So a command that will need kernels begins it first of all, beside its own
imports; the kit, which does not exist yet, is told in a line on its input.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path


class WarmProcess:
    """A process that imports the libraries, then the kit that it is told, and then forks kernels.

    Attributes:
        address: The socket on which it is asked for kernels.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="aisys-", ignore_cleanup_errors=True)
        self.address = str(Path(self._folder.name) / "s")
        self._environment = _environment(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, without waiting for anything."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "autograder.warm", self.address],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )

    def tell(self, kit: Path) -> None:
        """Name its kit, and return when it has imported everything; it is begun where it was not.

        Args:
            kit: The folder with the kit's `aisys`.

        Raises:
            RuntimeError: It ended before it was ready.
        """
        if self._process is None:
            self.begin()
        assert self._process is not None
        told, said = self._process.stdin, self._process.stdout
        assert told is not None and said is not None
        with contextlib.suppress(BrokenPipeError):
            told.write(json.dumps({"kit": str(kit)}).encode() + b"\n")
            told.flush()
        if said.readline() != b"ready\n":
            raise RuntimeError("the warm process ended before it was ready")

    @property
    def pid(self) -> int | None:
        """Its number, or None where it is not begun or has been ended."""
        return self._process.pid if self._process is not None else None

    def is_as_new(self) -> bool:
        """Whether it lives, and one begun now would be given the same environment and place."""
        if self._process is None or self._process.poll() is not None:
            return False
        here = Path(self._folder.name).parent == Path(tempfile.gettempdir())
        return here and self._environment == _environment(self._folder.name)

    def end(self) -> None:
        """End it and every kernel that came from it; nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # What it was told and did not read is lost with it.
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self._folder.cleanup()


_waiting: list[WarmProcess] = []
_lock = threading.Lock()


@contextlib.contextmanager
def begun() -> Iterator[None]:
    """Begin a warm process for whoever takes one in this block; what nobody took ends with it.

    Where the block is left by force, the end of its input ends it.
    """
    process = WarmProcess()
    try:
        process.begin()
        with _lock:
            _waiting.append(process)
        yield
    finally:
        if _removed(process):
            process.end()


def take() -> WarmProcess:
    """The warm process that was begun, from now on the caller's; else one that is not begun yet."""
    with _lock:
        taken = _waiting.pop() if _waiting else None
    if taken is not None and not taken.is_as_new():
        taken.end()
        taken = None
    return taken or WarmProcess()


def _removed(process: WarmProcess) -> bool:
    """Take a process out of those that wait; whether it was still there."""
    with _lock:
        if process not in _waiting:
            return False
        _waiting.remove(process)
        return True


def _environment(temporary: str) -> dict[str, str]:
    """Of the grader's environment, what starting Python needs; and one thread a library."""
    names = ("PATH", "LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": temporary,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
