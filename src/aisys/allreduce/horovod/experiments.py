"""What the notebook shows of Horovod: measured where it is built, from the recorded run elsewhere.

python -m aisys.allreduce.horovod.experiments     measure everything and record it
"""

import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aisys.allreduce.horovod.building import VARIANTS, VERSION, why_not
from aisys.allreduce.horovod.running import run
from aisys.course.plotting import COLOURS, HATCHES, figure, finish

RECORDED = Path(__file__).parents[1] / "recorded" / "horovod.json"
SIZES = (1 << 10, 1 << 20, 64 << 20)
NAMES = {1 << 10: "1 KB", 1 << 20: "1 MB", 64 << 20: "64 MB"}

CAUSES = (
    ("average", "hvd.allreduce, as one calls it"),
    ("asleep: average", "whoever waits sleeps"),
    ("asleep: average, old output", "and the output's memory is not new"),
    ("asleep: sum, old output", "and nothing is scaled"),
    ("asleep: sum, in place", "and input and output are the same"),
)
"""Ways to all-reduce of `programs`, and what each does without besides those before it."""

KINDS = ("float32", "float16", "int8", "top-k 1 %", "1-bit", "3LC")
"""As `programs.train` knows them."""


@dataclass(frozen=True)
class Result:
    """Figures, and where they are from.

    Attributes:
        figures: What an experiment returned; plain data.
        source: A sentence: measured now, or recorded when and on what.
    """

    figures: Any
    source: str


def times(
    ranks: int = 2,
    ways: Sequence[str] = ("average", "in place"),
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    repeats: int = 5,
    variants: Sequence[str] = VARIANTS,
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Measure all-reduces of float32 under the builds, which take turns run by run.

    Args:
        ranks: How many.
        ways: How, see `programs`.
        sizes: Bytes of the array.
        rounds: Runs of each build.
        repeats: All-reduces of each way and size in a run.
        variants: The builds.

    Returns:
        `{variant: {way: {size: {"seconds": ..., "shortest": ..., "processor": ...}}}}`: the median
        and the least of what the slowest rank took, and the median of the processor's time that the
        busiest rank used, in seconds. The last says most where other work disturbs.

    Raises:
        HorovodError: Horovod is not built.
    """
    seen: dict[tuple[str, str, str, str], list[float]] = {}
    for _ in range(rounds):
        for variant in variants:
            by_rank = run(variant, ranks, "seconds", list(ways), list(sizes), repeats, seconds=300)
            for way in ways:
                for size in map(str, sizes):
                    for what in ("seconds", "processor"):
                        columns = zip(*(rank[way][size][what] for rank in by_rank), strict=True)
                        seen.setdefault((variant, way, size, what), []).extend(map(max, columns))
    found: dict[str, Any] = {}
    for (variant, way, size, what), values in seen.items():
        place = found.setdefault(variant, {}).setdefault(way, {}).setdefault(size, {})
        place[what] = statistics.median(values)
        if what == "seconds":
            place["shortest"] = min(values)
    return found


def all_reduce_times() -> Result:
    """All-reduces of 1 KB, 1 MB and 64 MB on 2 ranks and on 4, without and with the patch.

    Returns:
        `{ranks: times(ranks)}`, ranks as text.
    """
    return _shown("times", lambda: {str(ranks): times(ranks) for ranks in (2, 4)})


def causes() -> Result:
    """Where the time of an all-reduce of 64 MB on 2 ranks goes: ways that leave out more and more.

    Returns:
        `{variant: {way: {"seconds": ..., "processor": ...}}}`; `CAUSES` has the ways in order.
    """

    def measure() -> dict[str, Any]:
        ways = [way for way, _ in CAUSES]
        found = times(2, ways, SIZES[-1:], rounds=3)
        return {
            variant: {way: by_size[str(SIZES[-1])] for way, by_size in by_way.items()}
            for variant, by_way in found.items()
        }

    return _shown("causes", measure)


def training(steps: int = 60) -> Result:
    """LeNet on MNIST on 2 ranks: what Horovod adds up, and what goes through its all-gather.

    Returns:
        `{kind: {"losses", "accuracy", "seconds", "bits", "weights"}}` of rank 0, `KINDS` in order.

    Raises:
        AssertionError: The ranks do not end with the same weights.
    """

    def measure() -> dict[str, Any]:
        found = {}
        for kind in KINDS:
            ranks = run("improved", 2, "train", kind, steps, seconds=300)
            assert len({rank["weights"] for rank in ranks}) == 1, kind
            found[kind] = ranks[0]
        return found

    return _shown("training", measure)


def what_a_sum_does() -> Result:
    """What comes of compressed gradients that Horovod adds up, on 2 ranks.

    Returns:
        `{kind: {"error": ...}}`: the error of the mean relative to its norm, or None and a
        `"refusal"` in Horovod's words.
    """
    return _shown("sums", lambda: run("stock", 2, "what_a_sum_does")[0])


def table(result: Result) -> str:
    """`all_reduce_times` as a table of milliseconds."""
    lines = [f"{'':8}{'ranks':>22}{'without':>12}{'patched':>12}   (ms)"]
    for ranks, found in result.figures.items():
        label = ranks + (" (oversubscribed)" if int(ranks) > cores() else "")
        for way in found["stock"]:
            for size, name in NAMES.items():
                stock, improved = (found[v][way][str(size)]["seconds"] for v in VARIANTS)
                lines.append(
                    f"{name:8}{label:>22}{1e3 * stock:12.2f}{1e3 * improved:12.2f}   {way}"
                )
    return "\n".join([*lines, result.source])


def draw_causes(result: Result) -> None:
    """Draw `causes`: a bar a way, without and with the patch."""
    axes = figure(height=3.6)
    for place, variant in enumerate(VARIANTS):
        milliseconds = [1e3 * result.figures[variant][way]["seconds"] for way, _ in CAUSES]
        rows = [row + 0.4 * place for row in range(len(CAUSES))]
        axes.barh(
            rows, milliseconds, 0.38, color=COLOURS[3 * place], hatch=HATCHES[place],
            edgecolor="white", label=("Horovod as it is", "with the patch")[place],
        )  # fmt: skip
    axes.set_yticks([row + 0.2 for row in range(len(CAUSES))], [said for _, said in CAUSES])
    axes.invert_yaxis()
    stock = [result.figures["stock"][way]["seconds"] for way, _ in CAUSES]
    share = 1 - stock[-1] / stock[0]
    title = f"{share:.0%} of 64 MB's time on 2 ranks is not the ring's"
    finish(axes, title=title, x="time (ms)")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def recorded(name: str | None = None) -> Any:
    """The recorded run, or one experiment's figures of it."""
    kept = json.loads(RECORDED.read_text(encoding="utf-8"))
    return kept if name is None else kept["figures"][name]


def _shown(name: str, measure: Callable[[], Any]) -> Result:
    """Measure where both builds are there; otherwise what was recorded, saying so."""
    missing = next(filter(None, map(why_not, VARIANTS)), None)
    if missing is None:
        return Result(measure(), f"Measured now, Horovod {VERSION}.")
    kept = recorded()
    source = f"{missing} Shown is a run recorded on {kept['date']} on {kept['machine']}"
    return Result(kept["figures"][name], f"{source}, {kept['versions']}.")


def record(names: Sequence[str] = ()) -> None:
    """Measure everything, or what is named, and write it to `RECORDED`.

    Other work on the machine disturbs it.
    """
    experiments: dict[str, Callable[[], Result]] = {
        "times": all_reduce_times,
        "causes": causes,
        "training": training,
        "sums": what_a_sum_does,
    }
    figures = recorded()["figures"] if names else {}
    for name in names or experiments:
        print(f"{name} …", flush=True)
        figures[name] = experiments[name]().figures
    kept = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{cores()} cores of a virtual {platform.system()} machine ({_processor()})",
        "versions": f"Horovod {VERSION}, PyTorch {version('torch')}, "
        f"Python {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.1f} processes ran on average in the last minute",
        "figures": figures,
    }
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    broken = next(filter(None, map(why_not, VARIANTS)), None)
    if broken is not None:
        sys.exit(broken)
    record(sys.argv[1:])
