"""What every benchmark shares: systems that take turns, medians, one table, one result file."""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One measured value."""

    case: str
    system: str
    metric: str
    value: float
    unit: str


@dataclass(frozen=True)
class Ratio:
    """A measured ratio and its aim; `better` says which way is better."""

    value: float
    aim: float
    better: str

    @property
    def reached(self) -> bool:
        """Whether the aim is reached."""
        return self.value <= self.aim if self.better == "lower" else self.value >= self.aim


def options(text: str) -> argparse.Namespace:
    """The command line of a benchmark: `--quick` for a short run that is not kept."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--quick", action="store_true", help="a short run; its result is not kept")
    return parser.parse_args()


def take_turns(
    systems: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each system, measured in turn so that a slow moment of the machine meets all.

    Args:
        systems: What to call, by name.
        rounds: Measured calls of each; at least five for a median.
        warm_up: Calls before that are not measured.
    """
    for _ in range(warm_up):
        for call in systems.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, call in systems.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def report(name: str, rows: list[Row], ratios: dict[str, Ratio], quick: bool) -> None:
    """Print the table and the ratios, and keep the result of a full run."""
    for row in rows:
        print(f"{row.case:34} {row.system:22} {row.metric:14} {row.value:12.4g} {row.unit}")
    for title, ratio in ratios.items():
        verdict = "reached" if ratio.reached else "FALLS SHORT of its aim"
        bound = "at most" if ratio.better == "lower" else "at least"
        print(f"{title}: {ratio.value:.2f} (aim: {bound} {ratio.aim:g}): {verdict}")
    if quick:
        return
    result = {
        "name": name,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "ratios": {title: asdict(ratio) for title, ratio in ratios.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, str | int]:
    """What the measurement ran on: processor, cores, system, versions."""
    about: dict[str, str | int] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in ("numpy", "torch", "nbgrader"):
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            continue
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
