"""The report's plots: SVG that stands in the page and takes its font and colours."""

import io
import re
from collections.abc import Callable
from statistics import median

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from aisys.course.plotting import STYLE, finish

from .wording import number

BAR, INK, GRID = "#0072b2", "#000000", "#dddddd"


def distribution_plot(points: list[float], most: float) -> Markup:
    """How many submissions have how many points, of at most `most`."""
    title = f"Half of the {len(points)} submissions have at least {number(median(points))} points"
    if len(points) == 1:
        title = f"One submission, with {number(points[0])} points"
    return _svg(lambda axes: _distribution(axes, points, most), title, "points", "submissions")


def stages_plot(shares: dict[str, float]) -> Markup:
    """The mean share of its points that was earned in each stage, between 0 and 1."""
    hardest = min(shares, key=lambda stage: shares[stage])
    title = f"Stage {hardest} is the hardest: {shares[hardest]:.0%} of its points earned"
    if shares[hardest] == max(shares.values()):
        title = f"Every stage alike: {shares[hardest]:.0%} of the points earned"
    return _svg(lambda axes: _shares(axes, shares), title, "stage", "points earned (mean)")


def _distribution(axes: Axes, points: list[float], most: float) -> None:
    """A histogram of at most twelve bins, each a point wide or more; full marks in the last."""
    width = max(1.0, most / 12)
    bins = max(1, round(most / width))
    edges = [most * i / bins for i in range(bins + 1)]
    axes.hist([min(max(p, 0.0), most) for p in points], bins=edges, color=BAR, rwidth=0.92)
    axes.set_xlim(0, most)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)


def _shares(axes: Axes, shares: dict[str, float]) -> None:
    bars = axes.bar(list(shares), list(shares.values()), color=BAR, width=0.7)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=2, fontsize=9)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="x", visible=False)


def _svg(draw: Callable[[Axes], None], title: str, x: str, y: str) -> Markup:
    """A plot as an SVG element in the page's own font and colours, the same for the same data."""
    style = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": title, "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(6.4, 3.1), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        finish(axes, title=title, x=x, y=y)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for colour, name in ((BAR, "bar"), (INK, "fg"), (GRID, "line")):
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    label = Markup('<svg role="img" aria-label="{}"').format(title)
    return Markup(svg.replace("<svg", label, 1))
