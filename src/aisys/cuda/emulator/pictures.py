"""Pictures of a launch: the addresses of a warp, the banks it makes wait, who waits at barriers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aisys.course.errors import CourseError
from aisys.course.plotting import figure, finish

from .counts import SECTOR_BYTES, WARP, Launch, Sample

BANKS = 32


def draw_addresses(launch: Launch, line: int, access: str | None = None, axes: Any = None) -> Any:
    """Threads against addresses for one instruction of a warp, with the sectors that it moves.

    Args:
        launch: A launch with counts.
        line: The line of the source.
        access: `"read"` or `"write"`, where the line has both.
        axes: Where to draw; by default a new figure.

    Raises:
        CourseError: No warp touches memory there.
    """
    sample = _sample(launch, line, access, ("global", "shared"))
    axes = axes if axes is not None else figure()
    lanes = [lane for lane, offset in enumerate(sample.offsets) if offset is not None]
    offsets = np.array([sample.offsets[lane] for lane in lanes])
    sectors = np.unique(
        np.concatenate([offsets // SECTOR_BYTES, (offsets + sample.size - 1) // SECTOR_BYTES])
    )
    for sector in sectors:
        axes.axvspan(
            sector * SECTOR_BYTES,
            (sector + 1) * SECTOR_BYTES,
            facecolor="0.85",
            edgecolor="white",
            linewidth=0.6,
            zorder=0,
        )
    axes.barh(
        lanes,
        sample.size,
        left=offsets,
        height=0.8,
        color="#0072b2",
        edgecolor="#0072b2",
        linewidth=0.8,  # so that four bytes are seen among thousands
    )
    axes.set_ylim(WARP - 0.5, -0.5)
    used = len(lanes) * sample.size / (len(sectors) * SECTOR_BYTES)
    verb = {"read": "reads", "write": "writes", "atomic": "changes"}[sample.access]
    finish(
        axes,
        title=f"Line {line}: a warp {verb} {sample.array} in {len(sectors)} sectors "
        f"and uses {used:.0%} of them",
        x=f"byte of {'shared memory' if sample.space == 'shared' else sample.array}",
        y="lane of the warp",
    )
    return axes


def draw_banks(launch: Launch, line: int, access: str | None = None, axes: Any = None) -> Any:
    """A heat map of one instruction on shared memory: lanes against banks, and where they queue."""
    sample = _sample(launch, line, access, ("shared",))
    axes = axes if axes is not None else figure()
    words = [set[int]() for _ in range(BANKS)]
    grid = np.zeros((WARP, BANKS))
    for lane, offset in enumerate(sample.offsets):
        for word in (
            range(offset // 4, (offset + sample.size - 1) // 4 + 1) if offset is not None else ()
        ):
            words[word % BANKS].add(word)
            grid[lane, word % BANKS] = len(words[word % BANKS])
    axes.imshow(
        np.where(grid > 0, grid, np.nan), cmap="viridis_r", vmin=1, vmax=BANKS, aspect="auto"
    )
    worst = max(map(len, words))
    busy = sum(map(bool, words))
    finish(
        axes,
        title=f"Line {line}: {busy} of 32 banks serve the warp, "
        f"the busiest {worst} {'words' if worst != 1 else 'word'} one after another",
        x="bank",
        y="lane of the warp",
    )
    return axes


def draw_barriers(launch: Launch, axes: Any = None) -> Any:
    """What each warp of the first block did between barriers, in steps; a short bar waits."""
    if not launch.timeline:
        raise CourseError("The launch has no timeline: run it on a module that counts.")
    axes = axes if axes is not None else figure()
    warps = len(launch.timeline[0])
    begin = 0.0
    waited = total = 0
    for number, steps in enumerate(launch.timeline):
        longest = max(steps)
        face = "#0072b2" if number % 2 else "#d55e00"
        axes.barh(
            range(warps),
            steps,
            left=begin,
            height=0.7,
            color=face,
            edgecolor="black",
            linewidth=0.3,
        )
        begin += longest
        waited += sum(longest - each for each in steps)
        total += longest * warps
        axes.axvline(begin, color="black", linewidth=0.8)
    axes.set_ylim(warps - 0.5, -0.5)
    share = waited / total if total else 0.0
    finish(
        axes,
        title=f"{len(launch.timeline)} stretches between barriers, {begin:.0f} steps; "
        f"warps wait {share:.0%} of the time",
        x="steps, added up over the slowest warps",
        y="warp of the first block",
    )
    return axes


def _sample(launch: Launch, line: int, access: str | None, spaces: Sequence[str]) -> Sample:
    for sample in launch.samples:
        if sample.line == line and access in (None, sample.access) and sample.space in spaces:
            return sample
    lines = sorted({sample.line for sample in launch.samples if sample.space in spaces})
    there = ", ".join(map(str, lines)) or "none"
    raise CourseError(
        f"No warp touches {' or '.join(spaces)} memory in line {line}; it does in {there}."
    )
