"""Collecting: from folders and real zips as Canvas and Moodle pack them, and hostile ones."""

import contextlib
import io
import json
import os
import shutil
import signal
import stat
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nbgrader.coursedir import CourseDirectory

from autograder import archive
from autograder.archive import ArchiveError
from autograder.cli import main
from autograder.collect import Collected, CollectError, collect
from autograder.course import Course
from autograder.grade import find_submissions
from autograder.gradebook import opened
from autograder.grades import people
from autograder.lateness import moment_of, read_timestamp
from autograder.lms import sender_of
from autograder.roster import RosterError, read_roster
from autograder.versions import handed_in as handed_in_for
from autograder.versions import keep_version, versions_of
from tests.autograder.sample_course import DEADLINE, LAB, make_course

NOON = (2026, 10, 13, 12, 0, 0)


def notebook(text: str = "", lab: str = LAB) -> bytes:
    """A small notebook of a lab."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
    about = {"aisys": {"lab": lab}}
    return json.dumps(
        {"cells": [cell], "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    ).encode()


def zipped(
    files: dict[str, bytes], date: tuple[int, int, int, int, int, int] = NOON, method: int = 8
) -> bytes:
    """A zip of these files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as packed:
        for name, content in files.items():
            about = zipfile.ZipInfo(name, date)
            about.filename, about.compress_type = name, method
            packed.writestr(about, content)
    return data.getvalue()


def collected(
    tmp_path: Path,
    files: dict[str, bytes],
    policies: str = "",
    date: tuple[int, int, int, int, int, int] = NOON,
    before: str = "",
) -> tuple[Course, Collected]:
    """A course that has collected a zip of these files."""
    course = make_course(tmp_path / "course", policies, before)
    source = tmp_path / "download.zip"
    source.write_bytes(zipped(files, date))
    return course, collect(course, source)


def handed_in(course: Course, student: str) -> str:
    """The text of what lies in `submitted/`."""
    path = course.folder / "submitted" / student / LAB / f"{LAB}.ipynb"
    return str(json.loads(path.read_bytes())["cells"][0]["source"])


def when(course: Course, student: str) -> datetime | None:
    return read_timestamp(course.folder / "submitted" / student / LAB)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lovelaceada_4711_98765_lab1.ipynb", ("canvas", "lovelaceada", "4711", False)),
        ("submissions/lovelaceada_LATE_4711_98_x_1.ipynb", ("canvas", "lovelaceada", "4711", True)),
        ("李雷_4711_98765_lab1.ipynb", ("canvas", "李雷", "4711", False)),
        ("Ada Lovelace_12_assignsubmission_file_/a.ipynb", ("moodle", "Ada Lovelace", "12", False)),
        ("Ada Lovelace_12_assignsubmission_file_lab1.ipynb", ("moodle", "Ada Lovelace", "12", 0)),
        ("x/O'Neil, Jo_7_assignsubmission_file/a.zip", ("moodle", "O'Neil, Jo", "7", False)),
        (f"ada/{LAB}/{LAB}.ipynb", ("folder", "ada", "", False)),
        (f"ada/x_1_2_{LAB}.ipynb", ("folder", "ada", "", False)),
    ],
)
def test_names_say_whose_a_file_is(path: str, expected: tuple[str, str, str, bool]) -> None:
    sender = sender_of(tuple(path.split("/")))
    assert sender is not None
    assert (sender.system, sender.name, sender.number, sender.late) == expected


@pytest.mark.parametrize(
    "path",
    ["notes.ipynb", "Ada_12_assignsubmission_onlinetext_/onlinetext.html", "submitted/x.ipynb"],
)
def test_a_name_that_does_not_say_so_is_nobodys(path: str) -> None:
    assert sender_of(tuple(path.split("/"))) is None


def test_nbgraders_layout_keeps_its_times(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    folder = tmp_path / "source" / "ada" / LAB
    folder.mkdir(parents=True)
    (folder / f"{LAB}.ipynb").write_bytes(notebook("mine"))
    (folder / "timestamp.txt").write_text("2026-10-13 20:00:00 CEST\n", encoding="utf-8")
    done = collect(course, tmp_path / "source")
    assert [(student, lab) for student, lab, _ in done.new] == [("ada", LAB)]
    assert handed_in(course, "ada") == "mine"
    written = course.folder / "submitted" / "ada" / LAB
    stamp = CourseDirectory(root=str(course.folder)).get_existing_timestamp(str(written))
    assert stamp is not None and stamp.replace(tzinfo=UTC) == when(course, "ada")


def test_a_folders_file_dates_are_the_times_where_there_is_nothing_better(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    path = tmp_path / "source" / "ada" / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(notebook())
    os.utime(path, (DEADLINE.timestamp(), DEADLINE.timestamp()))
    collect(course, tmp_path / "source")
    assert when(course, "ada") == DEADLINE


def test_a_moodle_zip_is_collected_with_its_dates_in_the_courses_time_zone(tmp_path: Path) -> None:
    course, done = collected(
        tmp_path,
        {
            f"Ada Lovelace_12_assignsubmission_file_/{LAB}.ipynb": notebook("ada's"),
            f"Alan Turing_13_assignsubmission_file_{LAB}.ipynb": notebook("alan's"),
            "Grace Hopper_14_assignsubmission_onlinetext_onlinetext.html": b"<p>hello</p>",
        },
        before='timezone = "Europe/Berlin"',
    )
    assert {student for student, _, _ in done.new} == {"ada-lovelace", "alan-turing"}
    assert handed_in(course, "ada-lovelace") == "ada's"
    assert when(course, "alan-turing") == datetime(2026, 10, 13, 10, 0, tzinfo=UTC)


def test_an_exact_time_in_a_zip_goes_before_the_local_one(tmp_path: Path) -> None:
    course, source = make_course(tmp_path / "course"), tmp_path / "s.zip"
    about = zipfile.ZipInfo(f"ada/{LAB}.ipynb", NOON)
    about.extra = b"UT\x05\x00\x01" + int(DEADLINE.timestamp()).to_bytes(4, "little")
    with zipfile.ZipFile(source, "w") as packed:
        packed.writestr(about, notebook())
    collect(course, source)
    assert when(course, "ada") == DEADLINE


def test_canvas_says_who_is_late_and_not_when(tmp_path: Path) -> None:
    files = {
        f"lovelaceada_4711_1_{LAB}.ipynb": notebook(),
        f"turingalan_LATE_4712_2_{LAB}-1.ipynb": notebook(),
    }
    policies = "deadline = 2026-10-14T22:00:00Z"
    course, done = collected(tmp_path, files, policies, (2026, 10, 16, 12, 0, 0))
    assert when(course, "lovelaceada-4711") == DEADLINE
    assert when(course, "turingalan-4712") == datetime(2026, 10, 16, 12, 0, tzinfo=UTC)
    assert any("Canvas's zip does not say when" in note for note in done.notes)
    with opened(course.folder) as gradebook:
        assert people(gradebook)["lovelaceada-4711"].lms_id == "4711"


def test_the_roster_says_who_is_who(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    roster = tmp_path / "canvas.csv"
    roster.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
        '"Lovelace, Ada",4711,s1,ada,A\n"Turing, Alan",4712,s2,alan,A\n',
        encoding="utf-8",
    )
    source = tmp_path / "s.zip"
    source.write_bytes(
        zipped(
            {
                f"lovelaceada_4711_1_{LAB}.ipynb": notebook(),
                f"Alan Turing_7_assignsubmission_file_/{LAB}.ipynb": notebook(),
                f"Grace Hopper_8_assignsubmission_file_/{LAB}.ipynb": notebook(),
            }
        )
    )
    done = collect(course, source, people=roster)
    assert sorted(student for student, _, _ in done.new) == ["ada", "alan", "grace-hopper"]
    assert any("grace-hopper is not on the roster" in note for note in done.notes)
    with opened(course.folder) as gradebook:
        ada = people(gradebook)["ada"]
    assert (ada.first_name, ada.last_name, ada.lms_id) == ("Ada", "Lovelace", "4711")


def test_two_people_of_one_name_need_moodles_worksheet(tmp_path: Path) -> None:
    files = {
        f"Jo Doe_12_assignsubmission_file_/{LAB}.ipynb": notebook("first"),
        f"Jo Doe_13_assignsubmission_file_/{LAB}.ipynb": notebook("second"),
    }
    with pytest.raises(CollectError, match="Two submissions are by 'Jo Doe'"):
        collected(tmp_path, files)
    worksheet = tmp_path / "worksheet.csv"
    worksheet.write_text(
        "Identifier,Full name,Email address\nParticipant 12,Jo Doe,jo1@uni.example\n"
        "Participant 13,Jo Doe,jo2@uni.example\n",
        encoding="utf-8",
    )
    course = make_course(tmp_path / "course")
    collect(course, tmp_path / "download.zip", people=worksheet)
    assert (handed_in(course, "jo1"), handed_in(course, "jo2")) == ("first", "second")


def test_what_is_no_roster_is_said(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    for text, sentence in (
        ("a,b\n1,2\n", "names nobody"),
        ("student\nada\nada\n", "names the student 'ada' twice"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(RosterError, match=sentence):
            read_roster(path)
    with pytest.raises(RosterError, match="cannot be read"):
        read_roster(tmp_path / "none.csv")
    path.write_bytes("student;name\nada;Zoë\n".encode("cp1252"))
    assert read_roster(path)[0].name == "Zoë"


# Several submissions


def test_every_version_is_kept_and_the_latest_is_submitted(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    texts = ["first", "second", "first"]
    for day, text in enumerate(texts):
        source = tmp_path / f"{day}.zip"
        source.write_bytes(
            zipped({f"ada/{LAB}.ipynb": notebook(text)}, (2026, 10, 10 + day, 1, 1, 0))
        )
        assert len(collect(course, source).new) == 1
    kept = versions_of(course.folder, "ada", LAB)
    assert [json.loads(v.path.read_bytes())["cells"][0]["source"] for v in kept] == texts
    assert when(course, "ada") == kept[-1].moment
    collect(course, tmp_path / "1.zip")
    assert handed_in(course, "ada") == "first"


def test_collecting_again_changes_nothing(tmp_path: Path) -> None:
    course, _ = collected(tmp_path, {f"ada/{LAB}.ipynb": notebook()})
    before = sorted(path for path in course.folder.rglob("*"))
    again = collect(course, tmp_path / "download.zip")
    assert (again.new, again.known) == ((), 1)
    assert sorted(path for path in course.folder.rglob("*")) == before


def test_the_same_notebook_downloaded_later_keeps_its_time(tmp_path: Path) -> None:
    """Canvas dates the files of each download anew."""
    course = make_course(tmp_path / "course")
    first = DEADLINE - timedelta(hours=1)
    assert keep_version(course.folder, "ada", LAB, notebook(), first) is not None
    assert keep_version(course.folder, "ada", LAB, notebook(), DEADLINE) is None
    assert when(course, "ada") == first
    keep_version(course.folder, "ada", LAB, notebook(), first - timedelta(hours=1))
    assert when(course, "ada") == first - timedelta(hours=1)


def test_what_was_put_into_submitted_by_hand_is_kept_too(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course")
    path = course.folder / "submitted" / "ada" / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(notebook("by hand"))
    early = (DEADLINE - timedelta(days=9)).timestamp()
    os.utime(path, (early, early))
    keep_version(course.folder, "ada", LAB, notebook("collected"), DEADLINE)
    assert len(versions_of(course.folder, "ada", LAB)) == 2
    assert handed_in(course, "ada") == "collected"


def test_several_notebooks_at_once_are_said_and_the_last_by_name_counts(tmp_path: Path) -> None:
    course, done = collected(
        tmp_path,
        {
            f"Ada_1_assignsubmission_file_/{LAB}-10.ipynb": notebook("ten"),
            f"Ada_1_assignsubmission_file_/{LAB}-9.ipynb": notebook("nine"),
        },
    )
    assert handed_in(course, "ada") == "ten"
    assert any("2 notebooks of lab1_autodiff at once" in note for note in done.notes)


@pytest.mark.parametrize(("which", "count"), [("latest", 1), ("best", 3)])
def test_what_is_graded_are_the_versions_that_may_count_and_everybody_on_the_roster(
    which: str, count: int, tmp_path: Path
) -> None:
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "roster.csv").write_text("student\nada\nalan\n", encoding="utf-8")
    course = make_course(
        tmp_path / "course", f'submissions = "{which}"', before='roster = "roster.csv"'
    )
    for hour in range(3):
        moment = DEADLINE + timedelta(hours=hour)
        keep_version(course.folder, "ada", LAB, notebook(f"{hour}"), moment)
    submitted = course.folder / "submitted"
    entries = handed_in_for(course, submitted, find_submissions(submitted))
    assert [entry.student for entry in entries] == ["ada"] * count + ["alan"]
    versions = [moment_of(entry.version) for entry in entries]
    assert versions[count - 1] == DEADLINE + timedelta(hours=2)
    assert versions[-1] is None and not entries[-1].path.exists()
    copied = tmp_path / "elsewhere"
    shutil.copytree(submitted, copied)
    elsewhere = handed_in_for(course, copied, find_submissions(copied))
    assert [entry.student for entry in elsewhere] == ["ada", "alan"]


def test_a_pipe_in_the_place_of_a_notebook_is_not_waited_for(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course", 'submissions = "best"')
    keep_version(course.folder, "ada", LAB, notebook("1"), DEADLINE)
    submitted = course.folder / "submitted"
    (submitted / "ada" / LAB / f"{LAB}.ipynb").unlink()
    os.mkfifo(submitted / "ada" / LAB / f"{LAB}.ipynb")
    with wakened_after(10):
        entries = handed_in_for(course, submitted, find_submissions(submitted))
    assert len(entries) == 1 and entries[0].path.is_file()


@contextlib.contextmanager
def wakened_after(seconds: int) -> Iterator[None]:
    """End whatever waits for ever with a TimeoutError."""

    def wake(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# What students hand in


def test_a_zip_of_the_students_own_is_looked_into(tmp_path: Path) -> None:
    inner = zipped(
        {
            "homework/my lab.ipynb": notebook("inside"),
            "__MACOSX/homework/._my lab.ipynb": b"\0",
            ".ipynb_checkpoints/old.ipynb": notebook("old"),
            "timestamp.txt": b"2020-01-01 00:00:00 UTC",
            "data\\deep\\figure.png": b"png",
        },
        (1999, 1, 1, 0, 0, 0),
    )
    course, _ = collected(
        tmp_path,
        {
            "Ada_1_assignsubmission_file_/work.zip": inner,
            "Ada_1_assignsubmission_file_/timestamp.txt": b"2020-01-01 00:00:00 UTC",
        },
    )
    assert handed_in(course, "ada") == "inside"
    assert when(course, "ada") == datetime(*NOON, tzinfo=UTC), "never a time of the student's own"


def test_who_hands_in_no_notebook_is_said_and_counted(tmp_path: Path) -> None:
    course, done = collected(
        tmp_path,
        {
            "Ada_1_assignsubmission_file_/essay.pdf": b"%PDF",
            f"Alan_2_assignsubmission_file_/{LAB}.ipynb": b"not JSON at all",
            "Bob_3_assignsubmission_file_/other.ipynb": notebook(lab="lab1_nothing"),
        },
    )
    assert "ada handed in no notebook that can be collected: essay.pdf." in done.notes
    assert (course.folder / "submitted" / "ada" / LAB).is_dir()
    # A file that is no notebook is judged; that is the grader's work.
    assert {student for student, _, _ in done.new} == {"alan", "bob"}


def test_of_several_labs_only_the_wanted_one_is_taken(tmp_path: Path) -> None:
    course = make_course(tmp_path / "course", before="")
    text = (course.folder / "course.toml").read_text().replace(f"[labs.{LAB}]", "[labs.lab9_rl]")
    (course.folder / "course.toml").write_text(text)
    from autograder.course import load_course

    source = tmp_path / "s.zip"
    source.write_bytes(zipped({f"ada/{LAB}.ipynb": notebook()}))
    other = load_course(course.folder)
    with pytest.raises(CollectError, match="There is no lab 'lab9_rl'"):
        collect(other, source)
    assert len(collect(other, source, [LAB]).new) == 1


# Hostile


@pytest.mark.parametrize(
    "name",
    [
        f"../../ada/{LAB}.ipynb",
        f"/etc/{LAB}.ipynb",
        f"ada/../../{LAB}.ipynb",
        f"C:/ada/{LAB}.ipynb",
        f"..\\..\\ada\\{LAB}.ipynb",
    ],
)
def test_a_name_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    course, done = collected(
        tmp_path,
        {
            name: notebook("evil"),
            f"bob/{LAB}.ipynb": notebook("good"),
            "Eve_1_assignsubmission_file_/work.zip": zipped({name: notebook("evil")}),
        },
    )
    assert [student for student, _, _ in done.new] == ["bob"]
    assert sum("would lie outside; it was refused" in note for note in done.notes) == 2
    assert not list(tmp_path.rglob("etc")) and not (tmp_path / "ada").exists()
    for path in course.folder.rglob("*.ipynb"):
        assert b"evil" not in path.read_bytes()


def test_a_students_name_never_leaves_the_folder(tmp_path: Path) -> None:
    course, done = collected(
        tmp_path, {f"Mallory .._1_assignsubmission_file_/{LAB}.ipynb": notebook(), "x/y": b""}
    )
    ((student, _, _),) = done.new
    path = course.folder / "submitted" / student
    assert path.resolve().parent == (course.folder / "submitted").resolve()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    course, source = make_course(tmp_path / "course"), tmp_path / "s.zip"
    with zipfile.ZipFile(source, "w") as packed:
        link = zipfile.ZipInfo(f"ada/{LAB}.ipynb", NOON)
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr(f"bob/{LAB}.ipynb", notebook())
    done = collect(course, source)
    assert [student for student, _, _ in done.new] == ["bob"]
    assert any("is a link; it was refused" in note for note in done.notes)


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    course, source = make_course(tmp_path / "course"), tmp_path / "source"
    for student in ("ada", "bob"):
        (source / student).mkdir(parents=True)
    (tmp_path / "secret.ipynb").write_bytes(notebook("secret"))
    (source / "ada" / f"{LAB}.ipynb").symlink_to(tmp_path / "secret.ipynb")
    (source / "bob" / f"{LAB}.ipynb").write_bytes(notebook())
    assert [student for student, _, _ in collect(course, source).new] == ["bob"]


def test_a_bomb_costs_its_sender_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES_OF_A_STUDENT", 2**20)
    monkeypatch.setattr(archive, "MOST_FILES_OF_A_STUDENT", 20)
    bomb = zipped({"a.ipynb": b"\0" * 2**21})
    many = zipped({f"{number}.ipynb": b"" for number in range(30)})
    deep = zipped({"a.zip": zipped({"b.ipynb": notebook()})})
    _, done = collected(
        tmp_path,
        {
            "Eve_1_assignsubmission_file_/bomb.zip": bomb,
            "Mallory_2_assignsubmission_file_/many.zip": many,
            "Oscar_3_assignsubmission_file_/deep.zip": deep,
            "Trudy_4_assignsubmission_file_/broken.zip": b"PK\3\4 broken",
            f"Bob_5_assignsubmission_file_/{LAB}.ipynb": notebook(),
        },
    )
    assert [student for student, _, _ in done.new] == ["bob"]
    said = "\n".join(done.notes)
    for sentence in (
        "eve: 'bomb.zip' would unpack to 2 MB; at most 1 MB are taken.",
        "mallory: 'many.zip' holds 30 files; at most 20 are taken.",
        "oscar: 'deep.zip' holds the zip 'a.zip'; that is too deep.",
        "trudy: 'broken.zip' is no zip that can be read.",
    ):
        assert sentence in said


def test_an_entry_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.ipynb": b"\0" * 2**20}))
    size = (2**20).to_bytes(4, "little")
    while size in data:
        place = data.index(size)
        data[place : place + 4] = (10).to_bytes(4, "little")
    (file,) = archive.files_of_zip(bytes(data), "'x.zip'", UTC)
    with pytest.raises(ArchiveError, match="is damaged"):
        file.read()


def test_an_encrypted_notebook_is_said() -> None:
    data = bytearray(zipped({"a.ipynb": b"x"}, method=0))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    (file,) = archive.files_of_zip(bytes(data), "'x.zip'", UTC)
    with pytest.raises(ArchiveError, match="is encrypted"):
        file.read()


def test_a_download_that_is_a_bomb_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_SMALL", 2**20)
    with pytest.raises(ArchiveError, match="it looks like a zip bomb and was not opened"):
        collected(tmp_path, {f"ada/{LAB}.ipynb": b"\0" * 2**22})


# The command


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    course, _ = collected(tmp_path, {f"ada/{LAB}.ipynb": notebook()})
    source = str(tmp_path / "download.zip")
    assert main(["collect", source, "--course", str(course.folder)]) == 0
    assert "0 notebooks of 0 students are new, 1 were there already." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{tmp}/none.zip", "does not exist; expected a folder or a zip"),
        ("{tmp}/text.zip", "is no zip that can be read, and no folder"),
        ("{tmp}/empty", "holds no submissions: expected STUDENT/LAB/LAB.ipynb"),
    ],
)
def test_what_cannot_be_collected_is_one_sentence(
    source: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = make_course(tmp_path / "course")
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "empty").mkdir()
    arguments = ["collect", source.format(tmp=tmp_path), "--course", str(course.folder)]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_outside_a_course_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["collect", str(tmp_path)]) == 1
    assert "name one with --course" in capsys.readouterr().err
