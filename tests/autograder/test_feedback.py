"""The page that a student gets back."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.feedback import feedback_page, write_feedback
from autograder.gradebook import opened
from autograder.pages import safe_name
from autograder.rendering import clean_html, plain_text, render_notebook
from autograder.results import SubmissionResult
from tests.autograder.html_elements import Elements, dangers
from tests.autograder.sample_course import LAB, enter, make_course
from tests.autograder.sample_course import result as judged
from tests.autograder.sample_results import (
    HINT,
    HOSTILE,
    HOSTILE_NAME,
    a_plot,
    crashed,
    hostile,
    hung,
    notebook,
    partial,
    perfect,
    sample_class,
    ungraded,
    unreadable,
)

HIDDEN = "13.7731"


def text_of(result: SubmissionResult, after_deadline: bool = False) -> str:
    page = feedback_page(result, after_deadline)
    return " ".join(Elements(page.split("<body", 1)[1]).text.split())


def code_cell(*outputs: dict, source: str = "x") -> dict:
    return {
        "cell_type": "code", "id": "more", "metadata": {}, "source": source, "outputs": [*outputs]
    }  # fmt: skip


def display(**data: str) -> dict:
    return {
        "output_type": "display_data",
        "data": {k.replace("_", "/"): v for k, v in data.items()},
    }


def rendered(*outputs: dict) -> list[tuple[str, str]]:
    """What is made of a cell's outputs, as kind and HTML."""
    (cell,) = render_notebook({"cells": [code_cell(*outputs)]})
    return [(output.kind, str(output.html)) for output in cell.outputs]


def test_a_hostile_submission_is_inert_in_its_feedback() -> None:
    page = feedback_page(hostile(), after_deadline=True)
    assert dangers(page) == []
    assert "evil.example" in page, "the sample no longer reaches the page"
    elements = Elements(page)
    assert not elements.named("svg") and len(elements.named("style")) == 1
    assert "7 * 191" in elements.text
    assert "1337" not in page
    assert "kept" in elements.text, "a harmless table after the hostile outputs is gone"


@pytest.mark.parametrize("result", sample_class(), ids=lambda result: result.student[:6])
def test_every_kind_of_submission_has_a_page(result: SubmissionResult) -> None:
    page = feedback_page(result)
    assert dangers(page) == []
    assert page.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    "name", [HOSTILE_NAME, "../../up", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "x\x00y",
             "é" * 300, "\ud800", "~", "-rf", " ", "a\nb", "C:"],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "feedback"
    result = replace(perfect(), student=name, lab=name)
    path = write_feedback(folder, result)
    assert path.is_file() and path.resolve().parents[1] == folder.resolve()
    assert [entry.name for entry in tmp_path.iterdir()] == ["feedback"]


@pytest.mark.parametrize(
    "name", ["ada", "ada.lovelace", "a_b-c", "王小明", "Ada Lovelace", "x@y.org"]
)
def test_a_harmless_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


def test_different_names_have_different_pages() -> None:
    names = ["a/b", "a_b", "a b", "a\\b", "a_b~1", "../a/b", "", ".", ".."]
    assert len({safe_name(name) for name in names}) == len(names)
    assert safe_name(safe_name("a/b")) != safe_name("a/b")


def test_hidden_values_are_shown_only_after_the_deadline() -> None:
    assert HIDDEN not in feedback_page(partial())
    assert "0.0 at [0, 3], expected 13.7731." in text_of(partial(), after_deadline=True)


def test_every_hidden_case_is_named_with_its_kind_of_difference() -> None:
    text = text_of(partial())
    assert "✓ one channel passed" in text
    assert "✗ stride 2 another shape" in text
    assert "✗ padding 1 another value at [0, 3]" in text


def test_a_hint_is_said_once_and_the_instructors_title_is_not_said() -> None:
    text = text_of(partial())
    assert text.count(HINT.replace("`", "")) == 1
    assert "padding forgotten" not in text


def test_an_exception_shows_the_students_own_line() -> None:
    frames = re.findall(r'<code class="frame">(.*?)</code>', feedback_page(partial()))
    assert frames == ["Cell In[9], line 12, in run: value = values[node.inputs[0]]"]


def test_what_stops_a_whole_stage_is_said() -> None:
    text = text_of(crashed())
    assert "im2col: its cell raised NameError: name 'npp' is not defined." in text
    assert "Not run: stride 2, padding 1." in text


def test_a_message_keeps_what_its_cases_do_not_say() -> None:
    exercise = partial().stages[0].exercises[1]
    blocked = f"{exercise.message} It calls 1.2 pad, which does not pass: mend that first."
    stage = replace(partial().stages[0], exercises=(replace(exercise, message=blocked),))
    text = text_of(replace(partial(), stages=(stage,)))
    assert "0.5 / 2 It calls 1.2 pad, which does not pass: mend that first." in text


def test_a_case_that_passes_with_lent_code_says_so() -> None:
    exercise = perfect().stages[0].exercises[0]
    note = "passes with 1.2 pad lent from the reference"
    cases = (replace(exercise.cases[0], message=note), *exercise.cases[1:])
    lent = replace(exercise, cases=cases, message="`conv2d_loops` is right once 1.2 pad is.")
    text = text_of(replace(perfect(), stages=(replace(perfect().stages[0], exercises=(lent,)),)))
    assert f"✓ one channel {note}" in text
    assert "conv2d_loops is right once 1.2 pad is." in text


def test_flags_are_said_to_cost_nothing() -> None:
    text = text_of(partial())
    assert "None of this costs points. The notebook is of version 0.1" in text
    assert "The locked cell 1_3-check had been edited; it was restored." in text


def test_lateness_is_said_where_it_costs_points() -> None:
    text = text_of(replace(partial(), penalty=0.5, flags=("Submitted 2 days late.",)))
    assert "3.17 of 12 points" in text and "0.5 points are taken off for lateness." in text
    assert "Only the lateness costs points." in text and "None of this" not in text


def test_points_and_what_is_still_to_be_graded_are_said() -> None:
    assert "3.67 of 12 points, 2 of them still to be graded by hand" in text_of(partial())
    assert "3.5 of 12 points" in text_of(hung())
    assert "graded by hand" not in text_of(hung())


def graded_answer(folder: Path, points: float | None, comment: str = "") -> str:
    """The feedback's text where a person gave these points, None: nothing yet, to an answer."""
    course = make_course(folder)
    enter(course, [judged("ada")])
    if points is not None:
        with opened(folder) as gradebook:
            grade = gradebook.find_grade("1_5-written", LAB, LAB, "ada")
            grade.manual_score, grade.needs_manual_grade = points, False
            remark = gradebook.find_comment("1_5-written", LAB, LAB, "ada")
            remark.manual_comment = comment
            gradebook.db.commit()
    (entered,) = enter(course, [judged("ada")])
    stages = tuple(s for s in entered.stages if s.stage == "1.5-written")
    return text_of(replace(entered, stages=stages, notebook=None))


@pytest.mark.parametrize("points", [0.0, 1.0])
def test_an_answer_that_a_person_graded_does_not_wait_whatever_its_points(
    tmp_path: Path, points: float
) -> None:
    text = graded_answer(tmp_path, points, "Name the `cause`.")
    assert "still to be graded" not in text
    assert "to be graded by hand" not in text
    assert f"Graded by hand: Name the cause. {points:g} /" in text


def test_an_answer_that_nobody_graded_yet_waits(tmp_path: Path) -> None:
    text = graded_answer(tmp_path, None)
    assert "still to be graded by hand" in text
    assert "✎ to be graded by hand 0 /" in text


def test_an_unreadable_notebook_and_a_failed_grader_are_explained() -> None:
    assert "0 of 12 points expected a notebook; the file is not JSON." in text_of(unreadable())
    text = text_of(ungraded())
    assert "the grader failed, through no fault of yours" in text
    assert "0 of 12 points" not in text


def test_stages_link_to_their_places() -> None:
    elements = Elements(feedback_page(partial()))
    ids = [attributes["id"] for _, attributes in elements.elements if "id" in attributes]
    targets = {link["href"][1:] for link in elements.named("a") if link["href"][0] == "#"}
    assert targets <= set(ids) and len(ids) == len(set(ids))
    assert {"stage-1", "cell-3", "cell-5"} <= targets, "check and written answer are linked"


def test_the_notebook_is_rendered() -> None:
    page = feedback_page(perfect())
    text = text_of(perfect())
    assert "<strong>nine</strong>" in page and "<td>812 ms</td>" in page
    assert '<span class="math">w_{ij} x_{i+a, j+b}</span>' in page
    assert '<span class="k">def</span>' in page
    assert f"data:image/png;base64,{a_plot()[:200]}" in page
    assert "experiment: not run by the grader" in text and "added by you" in text
    assert "100% done" in text and "10% " not in text, "an overwritten progress bar"
    assert "NameError: name 'grap' is not defined" in text and "\x1b" not in page


def test_images_are_only_those_that_are_images() -> None:
    png = a_plot()
    assert rendered(display(image_png=png))[0][0] == "image"
    assert rendered(display(image_png=png[:-1] + "*"))[0][0] == "note"
    assert rendered(display(image_png="aGVsbG8="))[0][0] == "note"
    svg = {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>", "text/plain": "S"}}
    assert rendered(svg) == [("text", "S")]


def test_an_html_output_of_which_nothing_remains_gives_way_to_its_text() -> None:
    output = display(text_html="<script>draw()</script><style>x</style>", text_plain="a chart")
    assert rendered(output) == [("text", "a chart")]


@pytest.mark.parametrize(
    "html",
    [
        "<a href='java\tscript:alert(1)'>x</a>", "<a href=' javascript:x'>x</a>",
        "<a href='data:text/html,<script>'>x</a>", "<img src='//evil.example/x.png'>",
        "<img src='data:image/svg+xml;base64,PHN2Zz4='>", "<math><mi xlink:href='javascript:x'>",
        "<svg><style><img src=x onerror=alert(1)></style></svg>", "<p style='background:url(x)'>x",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>", "<p id=stage-1>x</p>",
        "<!--><img src=x onerror=alert(1)>-->", "<table background='https://evil.example/'>x</table>",
        "<td class='score cell'>x</td>", "</div></main></body><script>x</script>",
    ],
)  # fmt: skip
def test_html_is_cleaned(html: str) -> None:
    cleaned = clean_html(html)
    assert dangers(cleaned) == []
    kept = {name for _, attributes in Elements(cleaned).elements for name in attributes}
    assert not kept & {"id", "style", "background", "src"}
    assert "</div>" not in cleaned and "score" not in cleaned


def test_pasted_pictures_of_an_answer_are_shown_and_remote_ones_are_not() -> None:
    attachments = {"p.png": {"image/png": a_plot()}, "s.svg": {"image/svg+xml": HOSTILE}}
    source = "![mine](attachment:p.png) ![s](attachment:s.svg) ![far](https://evil.example/p.png)"
    cell = {"cell_type": "markdown", "id": "m", "source": source, "attachments": attachments}
    (made,) = render_notebook({"cells": [cell]})
    images = Elements(made.source).named("img")
    assert [image["alt"] for image in images] == ["mine"]
    assert "[image: far]" in made.source and dangers(made.source) == []


def test_one_huge_notebook_makes_no_huge_page() -> None:
    stream = {"output_type": "stream", "text": "x" * 400_000}
    picture = display(image_png=a_plot() + "=" * 5_000_000)
    table = display(text_html="<div>" * 50_000, text_plain="deep")
    many = [code_cell(stream, table, source="y = 1\n" * 100_000) for _ in range(300)]
    text = {"cell_type": "markdown", "id": "m", "source": "> " * 200_000}
    page = feedback_page(replace(perfect(), notebook=notebook(code_cell(picture), text, *many)))
    assert len(page) < 8_000_000
    assert "380,000 more characters were left out." in page
    assert "too large for this page" in page


@pytest.mark.parametrize(
    "cells", [None, 3, [None], [{}], [{"cell_type": "code", "source": ["a", 3], "outputs": 5}],
              [{"cell_type": "markdown", "source": None, "attachments": [1]}],
              [{"cell_type": "code", "outputs": [{"output_type": "error", "traceback": "x"}]}],
              [{"cell_type": "code", "outputs": [{"output_type": "stream", "text": {}}]}],
              [{"cell_type": "code", "metadata": {"aisys": 3}, "outputs": {"a": 1}}]],
)  # fmt: skip
def test_a_malformed_notebook_costs_nobody_the_page(cells: object) -> None:
    page = feedback_page(replace(perfect(), notebook={"cells": cells, "metadata": 3}))
    assert "Gradients as more graph" in page


def test_terminal_output_is_shown_as_it_looks_in_the_end() -> None:
    assert plain_text("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\r\n1%\r99%\rdone\r\na\x08b") == (
        "red x\ndone\nab"
    )
