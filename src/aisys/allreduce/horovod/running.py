"""Run a program on Horovod's ranks: `horovodrun -np N --gloo` with one of the two builds."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import aisys

from . import building
from .building import HorovodError, why_not


def run(
    variant: str,
    ranks: int,
    program: str,
    *arguments: Any,
    seconds: float = 120.0,
    settings: dict[str, str] | None = None,
) -> list[Any]:
    """Run a function of `programs` on every rank, each a process of its own with one thread.

    Args:
        variant: Which build, one of `building.VARIANTS`.
        ranks: How many.
        program: The function's name; it is called as `function(*arguments)` after `hvd.init()`.
        arguments: Plain data, the same for every rank.
        seconds: How long the whole run may take.
        settings: More environment variables, such as `HOROVOD_CYCLE_TIME`.

    Returns:
        What each rank's program returned, plain data, in the order of the ranks.

    Raises:
        HorovodError: Horovod is not built, or the run failed; says what it printed last.
    """
    with tempfile.TemporaryDirectory(prefix="aisys-horovod-") as results:
        code = ["-m", "aisys.allreduce.horovod.programs", results, program, json.dumps(arguments)]
        ended = Started(variant, ranks, code, settings)
        said = ended.wait(seconds)
        found = [Path(results, str(rank)) for rank in range(ranks)]
        if ended.status != 0 or not all(file.exists() for file in found):
            raise HorovodError(f"{program} failed under Horovod ({variant}):\n{said[-4000:]}")
        return [json.loads(file.read_text(encoding="utf-8")) for file in found]


class Started:
    """`horovodrun` with a Python program on every rank; it is in a process group of its own.

    Args:
        variant: Which build.
        ranks: How many.
        code: Python's arguments, such as `["-m", "package.module", "argument"]`.
        settings: More environment variables.

    Attributes:
        status: The exit status, after `wait`.
    """

    def __init__(
        self, variant: str, ranks: int, code: list[str], settings: dict[str, str] | None = None
    ) -> None:
        missing = why_not(variant)
        if missing is not None:
            raise HorovodError(missing)
        built = building.folder() / variant
        seen = [str(built), str(Path(aisys.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in seen if path),
            "OMP_NUM_THREADS": "1",
            **(settings or {}),
        }
        python = str(building.python())
        command = [python, str(built / "bin" / "horovodrun"), "-np", str(ranks), "--gloo",
                   "--network-interfaces", "lo", python, *code]  # fmt: skip
        self.status: int | None = None
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def wait(self, seconds: float) -> str:
        """What all ranks printed, once they are done; after so many seconds they are ended."""
        try:
            said, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            said = self.end() + f"\nnot done within {seconds:g} s"
        self.status = self._process.returncode
        return said

    def end(self) -> str:
        """End what still runs; `horovodrun` ends its ranks when it is asked to."""
        self._process.send_signal(signal.SIGTERM)
        try:
            said, _ = self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            said, _ = self._process.communicate()
        self.status = self._process.returncode
        return said


if __name__ == "__main__":
    print(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(json.loads, sys.argv[4:])))
