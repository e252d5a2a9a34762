"""What every benchmark shares: systems that take turns, medians, one table, one result file."""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    """A measured ratio and its aim; `better` ("lower" or "higher") says which way is better."""

    value: float
    aim: float
    better: str

    @property
    def reached(self) -> bool:
        """Whether the aim is reached."""
        return self.value <= self.aim if self.better == "lower" else self.value >= self.aim


def options(text: str) -> argparse.Namespace:
    """The command line of a benchmark: `quick`, `threads`, and `child` for `measured_in_child`."""
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short run, for a first look")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of every system (default: 1)"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured_in_child(script: str, chosen: argparse.Namespace) -> dict[str, list[float]]:
    """Run a benchmark in a process of its own, whose libraries compute on `chosen.threads` threads.

    NumPy and PyTorch read that number when they are imported. With one thread, which is the
    default, the figures do not depend on what else a machine with few cores is doing.

    Args:
        script: The benchmark's file. With `--child` it measures and prints what `take_turns`
            returned, as JSON in the last line.
        chosen: From `options`.

    Returns:
        What it printed.
    """
    command = [sys.executable, script, "--child", *(["--quick"] if chosen.quick else [])]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(chosen.threads))}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{Path(script).name}: the measurement failed (see above)")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(
    systems: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each system, measured in turn so that a slow moment of the machine meets all.

    Args:
        systems: What to call, by name.
        rounds: Measured calls of each; at least five.
        warm_up: Calls before that are not measured, such as those that compile.
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


def median_rows(
    case: str, seconds: Mapping[str, Sequence[float]], unit: str = "ms", scale: float = 1000
) -> list[Row]:
    """Median and shortest time of each system, as rows.

    Args:
        case: What was measured.
        seconds: From `take_turns`.
        unit: Of the values.
        scale: Units in a second.
    """
    return [
        Row(case, system, metric, scale * value, unit)
        for system, values in seconds.items()
        for metric, value in (("median", statistics.median(values)), ("shortest", min(values)))
    ]


def median_ratio(
    seconds: Mapping[str, Sequence[float]], system: str, reference: str, aim: float
) -> Ratio:
    """How many times as long as the reference a system takes, by their medians."""
    value = statistics.median(seconds[system]) / statistics.median(seconds[reference])
    return Ratio(value, aim, "lower")


def own_environment(name: str, needs: Sequence[str]) -> Path | None:
    """The programs of an environment of its own for a system that ours has no room for.

    Args:
        name: Of the folder under `build/`, made on demand.
        needs: What pip installs into it.

    Returns:
        The folder with its programs, or None where it cannot be made.
    """
    folder = REPOSITORY / "build" / name
    programs = folder / "bin"
    if not (folder / "ready").exists():
        commands = [
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(programs / "pip"), "install", "--quiet", *needs],
        ]
        for command in commands:
            if subprocess.run(command, capture_output=True).returncode != 0:
                return None
        (folder / "ready").touch()
    return programs


def report(name: str, rows: Sequence[Row], ratios: Mapping[str, Ratio], quick: bool) -> None:
    """Print the table and the ratios, and write `results/NAME.json`.

    The result of a quick run says that it is one; it is not for keeps.
    """
    widths = [max(len(getattr(row, part)) for row in rows) for part in ("case", "system", "metric")]
    for row in rows:
        names = (f"{part:{width}}" for part, width in zip(_names(row), widths, strict=True))
        print("  ".join(names) + f"  {row.value:10.4g} {row.unit}")
    for title, ratio in ratios.items():
        bound = "at most" if ratio.better == "lower" else "at least"
        verdict = "reached" if ratio.reached else "FALLS SHORT of its aim"
        print(f"{title}: {ratio.value:.2f} (aim: {bound} {ratio.aim:g}), {verdict}")
    result: dict[str, object] = {
        "name": name,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "ratios": {title: asdict(ratio) for title, ratio in ratios.items()},
    }
    if quick:
        result["quick"] = True
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, str | int]:
    """What the measurement ran on: processor, cores, system, versions."""
    about: dict[str, str | int] = {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in ("numpy", "torch"):
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            continue
    return about


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _names(row: Row) -> tuple[str, str, str]:
    return row.case, row.system, row.metric


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
