"""The instructor's page."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from autograder.feedback import write_feedback
from autograder.report import report_page, write_report
from tests.autograder.html_elements import Elements, dangers
from tests.autograder.sample_results import (
    HINT,
    absent,
    hostile,
    partial,
    perfect,
    sample_class,
    ungraded,
    untouched,
)


def rows_of(page: str) -> dict[str, str]:
    """The rows of the students' table, as text by student."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', page, flags=re.DOTALL)
    texts = [" ".join(Elements(row).text.split()) for row in rows]
    return {text.split()[0]: text for text in texts}


def fact(page: str, words: str) -> str:
    """The value of the summary line that stands before these words."""
    match = re.search(rf"<li><b>([^<]*)</b>{words}</li>", page)
    assert match, f"the summary lacks {words!r}"
    return match[1]


def test_a_hostile_submission_is_inert_in_the_report() -> None:
    page = report_page(sample_class(), "Report <script>x</script>")
    assert dangers(page) == []
    assert "evil.example" in page, "the sample no longer reaches the page"
    assert len(Elements(page).named("svg")) == 2
    assert "1337" not in page, "a template in a submission was filled in"


def test_the_page_forbids_scripts_and_everything_from_outside() -> None:
    metas = Elements(report_page([perfect()], "Report")).named("meta")
    policy = next(m["content"] for m in metas if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "script-src" not in policy and "http" not in policy


def test_every_student_has_a_row_with_points_words_and_what_went_wrong() -> None:
    rows = rows_of(report_page(sample_class(), "Report"))
    assert len(rows) == len(sample_class()) + 1
    assert "partial 1.5" in rows["grace"] and "missing 0" in rows["grace"]
    assert "1.3 padding forgotten" in rows["grace"]
    assert "1.4, 1.5 no result in time" in rows["kurt"]
    assert "expected a notebook; the file is not JSON." in rows["john"]
    assert "not submitted" in rows["tim"]
    assert "not graded 0" in rows["barbara"]


def test_a_late_submission_says_what_it_lost() -> None:
    row = rows_of(report_page([replace(perfect(), penalty=1.5)], "Report"))["ada"]
    assert row.endswith("8.5 late: 1.5 points off")


def test_the_links_lead_to_the_feedback_pages(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", sample_class(), "Report")
    written = {write_feedback(tmp_path / "feedback", result) for result in sample_class()}
    links = Elements((tmp_path / "report.html").read_text(encoding="utf-8")).named("a")
    assert {tmp_path / unquote(link["href"]) for link in links} == written
    assert all(path.is_file() for path in written)


def test_means_leave_out_what_was_not_submitted_or_not_graded() -> None:
    page = report_page([perfect(), untouched(), absent(), ungraded()], "Report")
    assert rows_of(page)["Mean"].split() == ["Mean", "1.5", "1.5", "2", "5"]
    assert fact(page, "of 4 students submitted") == "3"
    assert fact(page, "mean, of 12 points") == "5"
    assert fact(page, "not graded: the grader failed") == "1"
    assert fact(page, "with every machine-graded point") == "1"


def test_frequent_mistakes_come_first_and_with_their_hints() -> None:
    page = report_page(sample_class(), "Report")
    section = page.split("Most frequent mistakes")[1].split("</table>")[0]
    text = " ".join(Elements(section).text.split())
    assert "3 1.3 im2col padding forgotten" in text
    assert HINT.replace("`", "") in text


def test_failures_without_a_known_mistake_are_listed_apart() -> None:
    page = report_page([partial()], "Report")
    section = page.split("no catalogued mistake explains")[1].split("</table>")[0]
    text = " ".join(Elements(section).text.split())
    assert "1 1.4 run raised KeyError grace" in text
    assert "im2col" not in text


def test_flags_are_grouped_with_the_students_who_have_them() -> None:
    page = report_page([replace(partial(), student=f"s{i:02d}") for i in range(14)], "Report")
    text = " ".join(Elements(page.split("What was noticed")[1]).text.split())
    assert "14 The locked cell 1_3-check had been edited; it was restored. s00, s01," in text
    assert "s11 and 2 more" in text


def test_the_plots_state_what_was_found() -> None:
    labels = [svg["aria-label"] for svg in Elements(report_page(sample_class(), "R")).named("svg")]
    assert labels == [
        "Half of the 9 submissions have at least 4 points",
        "Stage 1.3 is the hardest: 39% of its points earned",
    ]


def test_the_page_is_the_same_for_the_same_results() -> None:
    assert report_page(sample_class(), "R") == report_page(list(reversed(sample_class())), "R")


def test_several_labs_have_a_section_each() -> None:
    page = report_page([perfect(), replace(perfect(), lab="lab2_operators", notebook=None)], "R")
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["Lab 1: an end-to-end example", "Lab 2: operators"]
    assert "2 submissions of 1 student in 2 labs" in page


@pytest.mark.parametrize("results", [[], [absent()], [ungraded()], [hostile()]])
def test_a_class_with_hardly_anything_to_show_has_a_page(results: list) -> None:
    assert dangers(report_page(results, "Report")) == []


def test_a_thousand_students_make_a_page_that_a_browser_opens() -> None:
    base = sample_class()
    every = [replace(base[i % len(base)], student=f"student{i:04d}") for i in range(1000)]
    page = report_page(every, "Report")
    assert len(rows_of(page)) == 1001
    assert len(Elements(page).named("svg")) == 2
    assert len(page) < 2_000_000
