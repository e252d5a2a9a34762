"""The style of the plots."""

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

from aisys.course.plotting import COLOURS, STYLE, figure, figures, finish  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_plot_gets_its_title_labels_and_legend():
    axes = figure()
    axes.plot([1, 2], label="im2col")
    finish(axes, title="twice as fast", x="batch size", y="time (ms)")
    assert axes.get_title(loc="left") == "twice as fast"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch size", "time (ms)")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["im2col"]


def test_a_plot_without_labelled_lines_has_no_legend():
    axes = figure()
    axes.plot([1, 2])
    finish(axes, title="a line")
    assert axes.get_legend() is None


def test_lines_differ_in_dashes_and_markers_and_colours_in_lightness():
    (axes,) = figures(1)
    lines = [axes.plot([1, 2])[0] for _ in COLOURS]
    assert len({line.get_marker() for line in lines}) == len(COLOURS)
    greys = sorted(
        sum(part * weight for part, weight in zip(to_rgb(c), (0.3, 0.6, 0.1), strict=True))
        for c in COLOURS
    )
    assert all(
        lighter - darker > 0.03 for darker, lighter in zip(greys[:-1], greys[1:], strict=True)
    )


def test_the_style_stays_inside_the_plots():
    before = {name: matplotlib.rcParams[name] for name in STYLE}
    finish(figure(), title="nothing")
    assert {name: matplotlib.rcParams[name] for name in STYLE} == before
