"""Policies: what `course.toml` may say, what each of it does to results, what it never does."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from aisys.course.slots import slots
from autograder.build import build_lab
from autograder.choice import Choice, chosen, left_out_keys
from autograder.course import CourseFileError, init_course, load_course
from autograder.holes import tree_files
from autograder.lateness import Lateness, closed, days_late, lateness, moment_of, penalty, stamp
from autograder.policies import Late, Policies, PolicyError, read_policies
from autograder.results import SubmissionResult
from autograder.settle import settle, with_lateness
from autograder.text import TextError, read_lab
from tests.autograder.sample_course import DEADLINE, LAB, make_course, result, submitted_at

EXAMPLE = """
timezone = "Europe/Berlin"
late_days = 2
[late]
cost = 0.1
most_days = 5
[labs.lab1_autodiff]
stages = ["1.3", "1.5"]
weights = { "1.3" = 2, "1.5-written" = 0.5 }
deadline = 2026-10-14T23:59:00
extensions = { ada = 3, alan = 2026-10-20 }
submissions = "best"
late = { cost = 0.2 }
column = "Lab 1 (4711)"
waive = [
  { stage = "1.3", reason = "The text was wrong." },
  { exercise = "1.5 gradients", case = "a", students = ["ada"] },
]
"""


def policies(text: str) -> Policies:
    import tomllib

    return read_policies(tomllib.loads(text))


def of_lab(text: str, before: str = "") -> Policies:
    return policies(f"{before}\n[labs.{LAB}]\n{text}")


def settled(course: Policies, *results: SubmissionResult) -> list[SubmissionResult]:
    """Settle, then count lateness, as `autograder grade` does."""
    counting = settle(course, results, {})
    times = {r.student: {LAB: moment_of(r.version)} for r in counting}
    return [with_lateness(course, r, times[r.student]) for r in counting]


def test_a_full_example_is_read() -> None:
    read = policies(EXAMPLE)
    lab = read.of(LAB)
    assert lab.deadline == datetime(2026, 10, 14, 21, 59, tzinfo=UTC)
    assert lab.extensions["ada"] == datetime(2026, 10, 17, 21, 59, tzinfo=UTC)
    assert lab.extensions["alan"] == datetime(2026, 10, 20, 21, 59, 59, tzinfo=UTC)
    assert lab.late == Late(cost=0.2, most_days=5)
    assert (lab.submissions, lab.column, read.late_days) == ("best", "Lab 1 (4711)", 2)
    assert lab.choice == Choice(("1.3", "1.5"), {"1.3": 2.0, "1.5-written": 0.5})
    assert [waiver.case for waiver in lab.waivers] == ["", "a"]
    assert read.students() == {"ada", "alan"}


def test_the_examples_of_a_new_course_are_valid_policies(tmp_path: Path) -> None:
    """What `autograder init` shows in comments can be used as it stands."""
    path = init_course(tmp_path / "c", "Systems", [LAB, "lab2_operators"])
    text = path.read_text(encoding="utf-8").replace('# roster = "roster.csv"', "#")
    lines = [
        line.removeprefix("# ") if "=" in line or "[late]" in line else line
        for line in text.splitlines()
    ]
    lines = ["]" if line == "# ]" else line.replace("#   {", "  {") for line in lines]
    # In TOML the tables come last.
    path.write_text("\n".join(lines), encoding="utf-8")
    course = load_course(path.parent)
    assert course.policies.late_days == 4
    assert course.policies.of(LAB).late.cost == 0.2
    assert len(course.policies.of(LAB).waivers) == 2
    assert course.labs == (LAB, "lab2_operators")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("labs = 3", "`labs` is a list of names"),
        ("latedays = 3", "`latedays` is no policy"),
        ('timezone = "Mars/Base"', 'timezone is a name such as "Europe/Berlin"'),
        ("late_days = -1", "late_days is a whole number from 0, not -1"),
        ("late = 3", "late is a table"),
        ("[late]\ncost = 10", "late.cost is a share from 0 to 1, not 10"),
        ("[late]\nper_day = 0.1", "`per_day` in late is no policy"),
        (f'[labs.{LAB}]\ndeadline = "tomorrow"', "deadline is a date and time without quotes"),
        (f"[labs.{LAB}]\nstages = []", "stages chooses no stage"),
        (f"[labs.{LAB}]\nstages = [1.3]", "stages is a list of stages in quotes"),
        (f'[labs.{LAB}]\nweights = {{ "1.3" = "much" }}', "gives each stage in quotes a number"),
        (f"[labs.{LAB}]\nextensions = {{ ada = 3 }}", "extends a deadline, and the lab has none"),
        (
            f"[labs.{LAB}]\ndeadline = 2026-10-14\nextensions = {{ ada = 2026-10-01 }}",
            "extensions.ada is not after the deadline",
        ),
        (f'[labs.{LAB}]\nsubmissions = "first"', 'submissions is "latest" or "best"'),
        (f'[labs.{LAB}]\nwaive = [{{ case = "a" }}]', "names either a `stage` or an `exercise`"),
        (
            f'[labs.{LAB}]\nwaive = [{{ stage = "1.3", case = "a" }}]',
            "needs the `exercise` it belongs to",
        ),
        (f'[labs.{LAB}]\nwaive = [{{ stage = "1.3", students = [] }}]', "names nobody"),
        (f'[labs.{LAB}]\nwaive = [{{ stage = "1.3", why = "x" }}]', "`why` in labs"),
    ],
)
def test_every_fault_is_one_clear_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as raised:
        policies(text)
    assert sentence in str(raised.value)
    path = tmp_path / "course.toml"
    path.write_text(f'secret = "{"x" * 32}"\n{text}\n', encoding="utf-8")
    with pytest.raises(CourseFileError, match="course.toml: ") as said:
        load_course(tmp_path)
    assert str(said.value).count("\n") == 0


def test_a_student_who_is_not_on_the_roster_is_no_extension(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("student,name\nada,Ada Lovelace\n", encoding="utf-8")
    with pytest.raises(CourseFileError, match="'adda' is not on the roster"):
        make_course(
            tmp_path,
            "deadline = 2026-10-14\nextensions = { adda = 3 }",
            before='roster = "roster.csv"',
        )


# Chosen stages


def test_a_stage_that_was_not_chosen_gives_way_to_imports_and_leaves_the_gradebook() -> None:
    source, student = build_lab(LAB, Choice(("1.5",)))
    cells = {cell.id: cell for cell in student.cells}
    assert "1_3-check" not in cells and "1_5-check" in cells
    names = ("conv2d_loops", "im2col", "conv2d_im2col")
    imports = [f"from aisys.autodiff.convolution import {name}" for name in names]
    assert cells["1_3-conv2d_loops"].source.splitlines() == imports
    assert cells["1_3-conv2d_loops"].metadata["nbgrader"]["locked"]
    assert "1_3-im2col" not in cells, "one cell has the imports of a stage"
    assert "Given in this course" in cells["1_3-text-1"].source
    graded = {c.id for c in student.cells if c.metadata.get("nbgrader", {}).get("grade")}
    assert graded == {c for c in cells if c in ("1_5-check", "1_5-written")}
    for notebook in (source, student):
        nbformat.validate(notebook)
        MetadataValidator().validate_nb(notebook)


def test_a_stage_that_was_not_chosen_comes_open_and_a_chosen_one_is_a_hole() -> None:
    lab = read_lab(LAB)
    opened = left_out_keys(lab, Choice(("1.5",)))
    assert opened == {key for key in lab.keys() if not key.startswith("1.5 ")}
    files = tree_files([LAB], opened)
    assert b"Hole(" not in files["autodiff/convolution.py"]
    assert b"Hole(" in files["autodiff/gradients.py"]


def test_weights_are_in_the_notebook_that_is_released() -> None:
    choice = Choice(weights={"1.3": 2.0, "1.5-written": 0.5})
    plain, weighed = ({c.id: c for c in build_lab(LAB, c)[1].cells} for c in (Choice(), choice))
    for cell, factor in (("1_3-check", 2), ("1_5-written", 0.5), ("1_4-check", 1)):
        before, after = (cells[cell].metadata["nbgrader"]["points"] for cells in (plain, weighed))
        assert after == before * factor
    assert f"{2 * read_lab(LAB).points('1.3'):g} points" in weighed["1_3-text-1"].source


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (Choice(("1.3", "9.9")), "chooses '9.9' of lab1_autodiff"),
        (Choice(weights={"9.9": 1.0}), "weighs '9.9' of lab1_autodiff"),
        (Choice(("1.3",), {"1.5": 2.0}), "weighs '1.5' of lab1_autodiff"),
    ],
)
def test_a_stage_that_does_not_exist_cannot_be_chosen(choice: Choice, sentence: str) -> None:
    with pytest.raises(TextError, match=sentence):
        chosen(read_lab(LAB), choice)


def test_weights_scale_points_and_the_scores_in_the_notebook() -> None:
    course = of_lab('weights = { "1.3" = 3 }')
    (before,), (after,) = (settle(p, [result("ada", 0.5)], {}) for p in (Policies(), course))
    half, most = (next(s for s in r.stages if s.stage == "1.3") for r in (before, after))
    assert (most.points, most.max_points) == (3 * half.points, 3 * half.max_points)
    assert after.notebook is not None
    cell = next(c for c in after.notebook["cells"] if c["id"] == "1_3-check")
    assert cell["outputs"][0]["data"]["text/plain"] == repr(float(most.points))
    assert cell["metadata"]["nbgrader"]["points"] == most.max_points


# Waivers


def waiving(text: str, share: float, student: str = "ada") -> tuple[float, float, str]:
    """Points of the first exercise of 1.3 before and after a waiver, and its status."""
    points = []
    for course in (Policies(), of_lab(f"waive = [{{ {text} }}]")):
        (entry,) = settle(course, [result(student, share)], {})
        stage = next(stage for stage in entry.stages if stage.stage == "1.3")
        exercise = next(e for e in stage.exercises if e.key == "1.3 im2col")
        points.append(exercise.points / exercise.max_points)
        assert stage.points == pytest.approx(sum(e.points for e in stage.exercises))
    return points[0], points[1], exercise.status


def test_a_waived_case_counts_for_nobody_and_nobody_loses_by_it() -> None:
    first, last = (f'exercise = "1.3 im2col", case = "{name}"' for name in "ad")
    assert waiving(last, 0.75) == (0.75, 1.0, "passed")
    assert waiving(last, 0.5) == (0.5, pytest.approx(0.665, abs=0.01), "partial")
    assert waiving(first, 0.25) == (0.25, 0.25, "partial")
    assert waiving(first, 0.0) == (0.0, 0.0, "failed")


def test_a_waived_exercise_or_stage_gives_its_points_to_whoever_handed_in() -> None:
    assert waiving('exercise = "1.3 im2col"', 0.0) == (0.0, 1.0, "passed")
    assert waiving('stage = "1.3"', 0.0) == (0.0, 1.0, "passed")
    course = of_lab('waive = [{ stage = "1.3" }, { stage = "1.5-written" }]')
    lost = dataclasses.replace(result("ada", 0.0), status="unreadable")
    (nothing,) = settle(course, [lost], {})
    assert nothing.points == 0
    (entry,) = settle(course, [result("ada", 0.0)], {})
    answer = next(stage for stage in entry.stages if stage.stage == "1.5-written")
    assert (answer.points, answer.status) == (answer.max_points, "passed")


def test_a_waived_exercise_changes_no_other() -> None:
    course = of_lab('waive = [{ exercise = "1.3 im2col" }]')
    (before,), (after,) = (settle(p, [result("ada", 0.5)], {}) for p in (Policies(), course))
    changed = [
        new.key
        for one, other in zip(before.stages, after.stages, strict=True)
        for old, new in zip(one.exercises, other.exercises, strict=True)
        if old != new
    ]
    assert changed == ["1.3 im2col"]


def test_a_waiver_for_one_student_is_for_nobody_else() -> None:
    text = 'stage = "1.3", students = ["ada"]'
    assert waiving(text, 0.0, "ada")[1] == 1.0
    assert waiving(text, 0.0, "alan")[1] == 0.0


def test_the_reason_of_a_waiver_reaches_the_student() -> None:
    course = of_lab('waive = [{ stage = "1.3", reason = "The text was wrong." }]')
    (entry,) = settle(course, [result("ada", 0.0)], {})
    assert "1.3 is waived: The text was wrong." in [f for s in entry.stages for f in s.flags]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('stage = "1.99"', "waives '1.99' in lab1_autodiff, which is not a stage: 1.1"),
        ('exercise = "1.3 nothing"', "is not an exercise"),
        ('exercise = "1.3 im2col", case = "z"', "is not a case of 1.3 im2col: a, b, c, d"),
    ],
)
def test_a_waiver_of_nothing_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        settle(of_lab(f"waive = [{{ {text} }}]"), [result("ada")], {})


# Deadlines


def test_days_are_started_days_after_ones_own_deadline() -> None:
    lab = of_lab("deadline = 2026-10-14T22:00:00Z\nextensions = { alan = 2 }").of(LAB)
    hours = {0: 0, 0.01: 1, 24: 1, 24.01: 2, -5: 0}
    for after, days in hours.items():
        moment = DEADLINE + timedelta(hours=after, microseconds=0)
        assert days_late(lab, "ada", moment) == days
        assert days_late(lab, "alan", moment) == 0
    assert days_late(lab, "ada", None) == 0


@pytest.mark.parametrize(
    ("late", "how", "taken"),
    [
        (Late(), Lateness(9), 0),
        (Late(cost=0.1), Lateness(0), 0),
        (Late(cost=0.1), Lateness(2), 4),
        (Late(cost=0.1), Lateness(2, free=1), 2),
        (Late(cost=0.1), Lateness(2, free=2), 0),
        (Late(cost=0.5), Lateness(3), 16),
        (Late(cap=0.5), Lateness(1), 6),
        (Late(cap=0.9), Lateness(1), 0),
        (Late(cost=0.1, cap=0.5), Lateness(4), 8),
        (Late(cost=0.1, most_days=2), Lateness(3), 16),
        (Late(cost=0.1, most_days=2), Lateness(2), 4),
    ],
)
def test_what_lateness_costs_of_16_of_20_points(late: Late, how: Lateness, taken: float) -> None:
    assert penalty(late, 16, 20, how) == taken


def test_free_late_days_are_spent_in_the_order_of_the_deadlines() -> None:
    course = policies(
        "late_days = 3\n[late]\ncost = 0.1\nmost_days = 4\n"
        "[labs.lab2_operators]\ndeadline = 2026-10-21T22:00:00Z\n"
        "[labs.lab1_autodiff]\ndeadline = 2026-10-14T22:00:00Z\n"
        "[labs.lab3_cuda]\ndeadline = 2026-10-28T22:00:00Z\n"
    )
    first = DEADLINE + timedelta(days=2)
    times = {
        "lab2_operators": first + timedelta(days=7),
        "lab1_autodiff": first,
        "lab3_cuda": first + timedelta(days=60),
    }
    how = lateness(course, "ada", times)
    assert how["lab1_autodiff"] == Lateness(2, free=2)
    assert how["lab2_operators"] == Lateness(2, free=1)
    assert how["lab3_cuda"].free == 0


def test_lateness_that_costs_nothing_spends_no_late_day() -> None:
    course = of_lab("deadline = 2026-10-14T22:00:00Z", before="late_days = 3")
    assert lateness(course, "ada", {LAB: DEADLINE + timedelta(days=2)})[LAB] == Lateness(2)


def test_a_late_submission_says_what_it_costs() -> None:
    course = of_lab("deadline = 2026-10-14T22:00:00Z\nlate = { cost = 0.25 }")
    in_time, late = settled(
        course, result("ada", version=submitted_at()), result("alan", version=submitted_at(30))
    )
    assert in_time.penalty == 0
    assert late.penalty == late.max_points / 2
    assert late.points == in_time.points - late.penalty
    assert any("2 days late" in flag and "points off" in flag for flag in late.flags)


def test_hidden_values_are_shown_when_nobody_can_gain_any_more() -> None:
    lab = of_lab(
        "deadline = 2026-10-14T22:00:00Z\nextensions = { ada = 3 }\nlate = { most_days = 2 }"
    ).of(LAB)
    assert not closed(lab, DEADLINE + timedelta(days=4))
    assert closed(lab, DEADLINE + timedelta(days=5, seconds=1))
    assert not closed(Policies().of(LAB), DEADLINE)


# Several submissions


def test_the_latest_counts_unless_the_best_is_to() -> None:
    versions = [
        result("ada", 0.5, f"{submitted_at(-3)}-01-aaaaaaaa"),
        result("ada", 1.0, f"{submitted_at(-2)}-01-bbbbbbbb"),
        result("ada", 0.25, f"{submitted_at(-1)}-01-cccccccc"),
    ]
    (latest,) = settled(of_lab('submissions = "latest"'), *versions)
    (best,) = settled(of_lab('submissions = "best"'), *versions)
    assert latest.version == versions[2].version
    assert best.version == versions[1].version
    assert "The best of 3 submissions counts, number 2." in best.flags


def test_the_best_is_the_best_after_what_lateness_costs() -> None:
    course = of_lab('submissions = "best"\ndeadline = 2026-10-14T22:00:00Z\nlate = { cost = 0.4 }')
    early = result("ada", 0.75, f"{submitted_at(-1)}-01-aaaaaaaa")
    late = result("ada", 1.0, f"{submitted_at(1)}-01-bbbbbbbb")
    (counts,) = settled(course, late, early)
    assert (counts.version, counts.penalty) == (early.version, 0)
    (covered,) = settled(dataclasses.replace(course, late_days=1), late, early)
    assert (covered.version, covered.penalty) == (late.version, 0)


def test_of_equally_good_versions_the_least_late_counts() -> None:
    course = of_lab('submissions = "best"\ndeadline = 2026-10-14T22:00:00Z')
    early = result("ada", 1.0, f"{submitted_at(-1)}-01-aaaaaaaa")
    late = result("ada", 1.0, f"{submitted_at(1)}-01-bbbbbbbb")
    assert settled(course, late, early)[0].version == early.version


def test_times_and_their_names_are_the_same() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert moment_of(f"{stamp(moment)}-01-abcdef12") == moment_of(stamp(moment)) == moment
    assert moment_of("") is None


def test_every_exercise_of_the_sample_is_one_of_the_lab() -> None:
    """The results that these tests settle have the shape of real ones."""
    keys = [e.key for stage in result("ada").stages for e in stage.exercises]
    assert set(keys) == set(read_lab(LAB).keys()) <= {slot.key for slot in slots()}
