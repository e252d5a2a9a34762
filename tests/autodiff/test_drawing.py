"""What a drawing of a graph shows."""

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyArrowPatch  # noqa: E402

from aisys.autodiff.drawing import draw  # noqa: E402
from aisys.autodiff.gradients import gradients  # noqa: E402
from aisys.autodiff.graph import placeholder, reduce_sum  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def slides():
    x, y, z = (placeholder((2, 3), name) for name in "xyz")
    return [x, y, z], reduce_sum(x * y + z)


def test_every_node_and_every_edge_is_drawn_once():
    _, c = slides()
    axes = draw([c])
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        ["x", "y", "z", "multiply", "add", "reduce_sum"]
    )
    assert sum(isinstance(patch, FancyArrowPatch) for patch in axes.patches) == 5


def test_inputs_are_above_their_consumers_and_no_two_boxes_share_a_place():
    sources, c = slides()
    axes = draw([c, *gradients(c, sources)], forward=[c])
    places = [text.get_position() for text in axes.texts]
    assert len(set(places)) == len(places)
    for arrow in axes.patches:
        (_, above), (_, below) = arrow._posA_posB
        assert above < below


def test_gradient_nodes_are_told_apart_without_colour():
    sources, c = slides()
    axes = draw([c, *gradients(c, sources)], forward=[c])
    styles = {text.get_text(): text.get_bbox_patch().get_linestyle() for text in axes.texts}
    assert styles["add"] == "-" and styles["broadcast_to"] == "--"


def test_a_single_node_can_be_drawn():
    assert len(draw([placeholder((), "x")]).texts) == 1
