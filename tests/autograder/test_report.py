"""The instructor's page."""

import re
import statistics
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from nbformat.v4 import new_code_cell

from autograder.feedback import write_feedback
from autograder.item_analysis import FEWEST, item_analysis
from autograder.report import report_page, write_report
from autograder.similarity import Alike, Match, Similarity
from autograder.suspicion import flags_of
from autograder.wording import is_tampering
from tests.autograder.html_elements import Elements, dangers
from tests.autograder.sample_results import (
    HINT,
    HOSTILE_NAME,
    absent,
    hostile,
    hung,
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


def test_several_labs_have_a_page_each(tmp_path: Path) -> None:
    two = [perfect(), replace(perfect(), lab="lab2_operators", notebook=None)]
    pages = write_report(tmp_path / "report.html", two, "R")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in pages}
    first = Elements(pages[0].read_text(encoding="utf-8"))
    assert [link["href"] for link in first.named("a")] == [page.name for page in pages[1:]]
    assert "1 student in 2 labs" in first.text
    second = pages[2].read_text(encoding="utf-8")
    assert "Lab 2: an operator of your own" in second and 'href="report.html"' in second
    assert all(dangers(page.read_text(encoding="utf-8")) == [] for page in pages)


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


def section_of(page: str, heading: str) -> str:
    """The text between a heading and the next."""
    section = re.split(r"<h[23]", page.split(f">{heading}</h", 1)[1])[0]
    return " ".join(Elements(section[2:]).text.split())


def class_of(shares: list[tuple[bool, bool, bool]]) -> list:
    """Submissions that have passed or failed 1.3, 1.4 and 1.5."""
    made = []
    for number, passed in enumerate(shares):
        stages = [s for s in perfect().stages if s.stage != "1.3-written"]
        stages = [
            s if p else replace(s, points=0.0, status="failed")
            for s, p in zip(stages, passed, strict=True)
        ]
        made.append(replace(perfect(), student=f"s{number:02}", stages=tuple(stages)))
    return made


def test_difficulty_is_the_mean_share_and_discrimination_leaves_the_stage_out() -> None:
    points = [[1, 4, 0], [0, 4, 2], [1, 0, 1], [0, 0, 0], [1, 4, 2], [1, 4, 1],
              [0, 0, 2], [1, 4, 2], [0, 0, 1], [1, 2, 2]]  # fmt: skip
    first, second, third = item_analysis(points, [1, 4, 2])
    assert (first.difficulty, second.difficulty, third.difficulty) == (0.6, 0.55, 0.65)
    rest = [row[1] + row[2] for row in points]
    expected = statistics.correlation([row[0] for row in points], rest)
    assert first.discrimination == pytest.approx(expected)
    total = statistics.correlation([row[0] for row in points], [sum(row) for row in points])
    assert first.discrimination < total, "a stage correlates with a total that it is part of"


def test_a_stage_of_a_small_class_or_without_variance_has_no_discrimination() -> None:
    few = item_analysis([[1, 0]] * (FEWEST - 1), [1, 1])
    assert all(item.discrimination is None and "too few" in item.reason for item in few)
    alike, other = item_analysis([[1, i % 2] for i in range(20)], [1, 1])
    assert alike.discrimination is None and "no variance" in alike.reason
    assert other.discrimination is None and "no variance" in other.reason


def test_a_stage_that_weak_submissions_pass_and_strong_ones_fail_is_named() -> None:
    strong, weak = (True, False, True), (False, True, False)
    text = section_of(report_page(class_of([strong, weak] * 6), "R"), "The stages")
    assert "1.4 A data-flow graph 3 0.50 -1.00 Hardly tells strong submissions from weak" in text
    text = section_of(report_page(class_of([strong, weak]), "R"), "The stages")
    assert text.count("too few: 2 of at least 10") == 3


def test_an_answer_that_waits_for_its_grader_has_no_difficulty_yet() -> None:
    page = report_page([perfect(), partial()], "R")
    assert "1.3-written" not in section_of(page, "The stages")
    assert fact(page, "with answers to grade by hand") == "2"
    graded = [
        replace(result, stages=tuple(replace(s, by_hand=True) for s in result.stages))
        for result in (perfect(), partial())
    ]
    page = report_page(graded, "R")
    assert "1.3-written" in section_of(page, "The stages")
    assert "with answers to grade by hand" not in page


def test_students_with_signs_of_tampering_come_first() -> None:
    cell = new_code_cell("import numpy\nnumpy.allclose = lambda *a: True", id="mine")
    signs = flags_of([cell], "", frozenset())
    assert signs and all(is_tampering(sign) for sign in signs)
    harmless = partial().flags + partial().stages[0].flags
    assert harmless and not any(is_tampering(flag) for flag in harmless)
    page = report_page([perfect(), replace(partial(), student="zoe", flags=tuple(signs))], "R")
    assert "zoe Cell mine patches numpy.allclose" in section_of(page, "Signs of tampering")
    assert "patches" not in section_of(page, "What was noticed")
    assert list(rows_of(page))[0] == "zoe"


def test_the_slowest_come_first_and_a_time_out_is_named() -> None:
    text = section_of(report_page([perfect(), hung(), partial()], "R"), "Slowest submissions")
    assert "kurt 61.0 8.7 no result in time: 1.4 run, 1.5 gradients grace 7.0 1.0 ada 6.2" in text


def pair(one: str, other: str, evidence: float = 20.0) -> Match:
    return Match(one, other, evidence, (Alike("1.3 im2col", 0.93, 40),))


def test_near_copies_are_listed_by_who_hangs_together() -> None:
    ring = (pair("ada", "bob", 30), pair("bob", "cyd"), pair("eve", "fay", 9))
    page = report_page([perfect()], "R", Similarity(pairs=ring))
    text = section_of(page, "Near-copies among the attempts")
    assert "3 students: ada, bob, cyd 1.3 im2col 93 %" in text
    assert "eve, fay 1.3 im2col 93 % 9" in text
    said = section_of(page, "Similarity") + page.split("Similarity")[1]
    assert "no attempts close to the reference" in said
    assert "earlier year" not in said, "nothing is said of a comparison that was not made"


def test_reference_alternatives_and_an_earlier_year_are_reported_apart() -> None:
    close = Match("ada", "", 0.0, (Alike("1.3 im2col", 0.8, 40, "by strides"),))
    found = Similarity(
        reference=(close,), alternatives=(close,), earlier=(pair("ada", "old"), pair("ada", "ada"))
    )
    page = report_page([perfect()], "R", found)
    assert "ada 1.3 im2col 80 %" in section_of(page, "Close to the reference")
    assert "(by strides)" in section_of(page, "Close to an alternative of the catalogue")
    text = section_of(page, "Near-copies of an earlier year&#39;s attempts".replace("&#39;", "'"))
    assert "ada old 1.3 im2col 93 % 20" in text and "ada (their own)" in text


def test_names_in_the_similarity_section_are_inert() -> None:
    many = tuple(pair(HOSTILE_NAME, f"s{i}{HOSTILE_NAME}") for i in range(60))
    found = Similarity(many, many, many, many, 60)
    assert dangers(report_page([hostile()], "R", found)) == []


def test_a_thousand_near_copies_make_no_huge_page() -> None:
    ring = tuple(pair(f"s{i:03}", f"s{i + 1:03}") for i in range(999))
    couples = tuple(pair(f"a{i:03}", f"b{i:03}") for i in range(1000))
    found = Similarity(ring + couples, ring, ring, ring, 1000)
    assert len(report_page([perfect()], "R", found)) < 2_000_000
