"""The CUDA emulator against Numba's CUDA simulator: five kernels, with counts and with all checks.

Both run the same launches on the same inputs, in turn, and both results are compared with NumPy's.
The emulator's times include what a launch from Python costs. Its counted sectors are compared with
the closed form. Aims: 80 times as fast as Numba's simulator with counts on, 30 times with every
check on, correct on all.
"""

import functools
import json
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Ratio, Row, median_rows, options, own_environment, report, take_turns
from simulators.kernels import EXAMPLES, Example, is_right

from aisys.cuda.emulator import Launch, Module
from aisys.cuda.emulator.building import build

COUNTS, ALL, PLAIN, NUMBA = "counts on", "every check on", "plain", "Numba's simulator"
CHECKS = {COUNTS: "counts", ALL: "all", PLAIN: "none"}
NUMBA_NEEDS = ("numba-cuda>=0.20", "numba", "numpy>=2,<3")


class Numba:
    """Numba's simulator in a process of its own."""

    def __init__(self, python: Path) -> None:
        child = Path(__file__).parent / "simulators" / "numba_child.py"
        self._process = subprocess.Popen(
            [str(python), str(child)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def launch(self, name: str) -> None:
        """One launch; a wrong result ends the benchmark."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(name, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer or not json.loads(answer)[1]:
            raise SystemExit(f"{name}: Numba's simulator {'is wrong' if answer else 'ended'}.")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Measure, print, keep."""
    chosen = options(__doc__ or "")
    rows: list[Row] = []
    ratios: dict[str, Ratio] = {}
    programs = own_environment("numba", NUMBA_NEEDS)
    numba = Numba(programs / "python") if programs is not None else None
    if numba is None:
        print("Numba: skipped, its environment (build/numba) cannot be made here.")
    right = 0
    for name, example in EXAMPLES.items():
        modules = {title: Module(example.source, checks) for title, checks in CHECKS.items()}
        systems: dict[str, Callable[[], object]] = {
            title: functools.partial(launch, module, name, example)
            for title, module in modules.items()
        }
        if numba is not None:
            systems[NUMBA] = functools.partial(numba.launch, name)
        seconds = take_turns(systems, rounds=2 if chosen.quick else 7, warm_up=1)
        rows += median_rows(name, seconds)
        counted = launch(modules[COUNTS], name, example).total("global").sectors
        rows.append(Row(name, "emulator", "sectors counted", counted, ""))
        rows.append(Row(name, "closed form", "sectors", example.sectors, ""))
        right += counted == example.sectors
        if numba is not None:
            middle = {title: statistics.median(values) for title, values in seconds.items()}
            for title, aim in ((COUNTS, 80.0), (ALL, 30.0)):
                ratio = Ratio(middle[NUMBA] / middle[title], aim, "higher")
                ratios[f"{name}: {NUMBA} / {title}"] = ratio
        for module in modules.values():
            module.close()
    if numba is not None:
        numba.close()
    ratios["kernels whose sectors are those of the closed form"] = Ratio(right, 5, "higher")
    builds = take_turns({"build": build_anew}, rounds=5, warm_up=1)
    rows += median_rows("a kernel compiled", builds)
    ratios["seconds of a build"] = Ratio(statistics.median(builds["build"]), 2, "lower")
    report("cuda_emulator", rows, ratios, chosen.quick)


def launch(module: Module, name: str, example: Example) -> Launch:
    """One launch on the emulator; a wrong result ends the benchmark."""
    before, after = (example.arguments(np.random.default_rng(0)) for _ in range(2))
    seen = module[name][example.grid, example.block](*after)
    if not is_right(example, before, after):
        raise SystemExit(f"{name}: the emulator is wrong.")
    return seen


_versions = iter(range(1000))


def build_anew() -> None:
    """Compile a text that was not compiled before."""
    token = f"// {np.random.default_rng().integers(2**62)} {next(_versions)}\n"
    build(token + EXAMPLES["matmul"].source)


if __name__ == "__main__":
    main()
