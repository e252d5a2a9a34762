"""The command `autograder`.

Exit status: 0 done (also when submissions are bad), 1 it could not do its work, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import autograder  # noqa: F401 (first, so that a student's attempts are never loaded here)

# jsonschema would build a grammar of web addresses for a second; without it, it checks all the same
# but that one format, which no notebook has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from .course import Course


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every failure is one clear line on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 2
    if getattr(options, "address", None) is not None and options.engine != "ray":
        parser.error("--address is for --engine ray")
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        print("autograder: stopped.", file=sys.stderr)
        return 1
    except Exception as error:
        from .problems import explained  # it knows every command's errors, and so imports them all

        sentence = explained(error)
        if sentence is None:
            raise
        print(f"autograder: {sentence}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="autograder", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    init = command("init", _init, "make a course folder with a secret and nbgrader's configuration")
    init.add_argument("folder", type=Path, metavar="DIR")
    init.add_argument("--name", default="", help="the course's name (default: the folder's)")
    init.add_argument("--lab", action="append", default=[], help="a lab that the course uses")

    build = command(
        "build", _build, "build notebooks and recorded outcomes from texts and references"
    )
    build.add_argument("--lab", action="append", default=[])
    build.add_argument(
        "--check", action="store_true", help="only say whether notebooks are current"
    )
    build.add_argument("--course", help="also put the sources into this course's source/ folder")

    kit = command("kit", _kit, "make what students receive: notebooks and a wheel with holes")
    kit.add_argument("out", type=Path, metavar="OUT.zip")
    kit.add_argument("--lab", action="append", default=[])
    kit.add_argument(
        "--course", help="the course whose stages it has (default: the one this is in)"
    )
    kit.add_argument(
        "--open", action="append", default=[], help="a stage or exercise to give the reference of"
    )

    grade = command("grade", _grade, "grade submissions: SUBMITTED/STUDENT/LAB/LAB.ipynb")
    grade.add_argument("submitted", type=Path, metavar="SUBMITTED")
    grade.add_argument("--out", type=Path, required=True, help="where scores and pages are written")
    grade.add_argument("--lab", action="append", default=[])
    grade.add_argument(
        "--jobs", type=_positive, metavar="N", help="submissions at once (default: one a processor)"
    )
    grade.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="what runs the submissions"
    )
    grade.add_argument(
        "--address", metavar="HOST:PORT", help="the Ray cluster (default: one of this machine)"
    )
    grade.add_argument("--course", help="the course's folder (default: the one this is in)")
    grade.add_argument(
        "--unsafe", action="store_true", help="run submissions without a sandbox, on your own risk"
    )
    grade.add_argument("--fresh", action="store_true", help="run everything again")
    grade.add_argument("--quiet", action="store_true", help="print no progress")

    collect = command("collect", _collect, "take submissions of a folder or an LMS's zip in")
    collect.add_argument("source", type=Path, metavar="SOURCE")
    collect.add_argument("--lab", action="append", default=[])
    collect.add_argument(
        "--people", type=Path, metavar="CSV", help="who is who (default: the course's roster)"
    )
    collect.add_argument("--course", help="the course's folder (default: the one this is in)")

    export = command("export", _export, "write the grades for Canvas, for Moodle, or as a CSV")
    export.add_argument("--format", choices=("canvas", "moodle", "csv"), default="csv")
    export.add_argument("--out", type=Path, metavar="CSV", help="default: grades-FORMAT.csv")
    export.add_argument("--onto", type=Path, metavar="CSV", help="the LMS's own file to fill in")
    export.add_argument("--lab", action="append", default=[])
    export.add_argument("--course", help="the course's folder (default: the one this is in)")

    answers = command("answers", _answers, "hand written answers to graders, and take grades in")
    what = answers.add_mutually_exclusive_group(required=True)
    what.add_argument("--split", type=_positive, metavar="N", help="hand them to N graders")
    what.add_argument("--collect", type=Path, nargs="+", metavar="CSV", help="take grades in")
    answers.add_argument("--out", type=Path, metavar="DIR", help="default: answers/ in the course")
    answers.add_argument("--lab", action="append", default=[])
    answers.add_argument("--all", action="store_true", help="those too that are graded already")
    answers.add_argument(
        "--formgrader", default="http://localhost:8888", help="the address formgrader runs at"
    )
    answers.add_argument(
        "--replace", action="store_true", help="replace grades by hand that differ"
    )
    answers.add_argument("--course", help="the course's folder (default: the one this is in)")

    report = command("report", _report, "write the report anew, with near-copies among attempts")
    report.add_argument("out", type=Path, metavar="OUT", help="what `autograder grade` wrote")
    report.add_argument(
        "--earlier", type=Path, metavar="FOLDER", help="an earlier year's submissions to compare"
    )
    report.add_argument("--course", help="the course's folder (default: the one this is in)")

    demo = command("demo", _demo, "grade a sample class made from the catalogue")
    demo.add_argument("--out", type=Path, default=Path("build/demo"))
    demo.add_argument("--lab", action="append", default=[], help="default: all labs")

    doctor = command("doctor", _doctor, "say what this machine can do for grading")
    doctor.add_argument("--course", help="the course's folder (default: the one this is in)")

    submit = command("submit", _submit, "look at a saved notebook and write a receipt for it")
    submit.add_argument("notebook", metavar="NOTEBOOK.ipynb")

    lab = command("lab", _lab, "open a lab, check your copy of it, or run its reference")
    lab.add_argument("number", type=_positive, metavar="N")
    lab.add_argument("--check", action="store_true", help="run your attempts without a browser")
    lab.add_argument("--solution", action="store_true", help="execute the reference notebook")
    return parser


def _init(options: argparse.Namespace) -> int:
    from .course import init_course, load_course
    from .text import lab_names

    labs = options.lab or lab_names()
    path = init_course(options.folder, options.name or options.folder.resolve().name, labs)
    _sources(load_course(options.folder), labs)
    print(f"{path} is written. Release a lab with `nbgrader generate_assignment {labs[0]}`.")
    return 0


def _build(options: argparse.Namespace) -> int:
    from aisys.course.compiling import NoCompiler

    from .build import build_all, stale
    from .course import load_course
    from .text import REPOSITORY, lab_names, read_lab
    from .visible import lacking_compiler

    names = options.lab or lab_names()
    if options.check:
        faults = [fault for fault in map(stale, names) if fault]
        for fault in faults:
            print(fault, file=sys.stderr)
        return 1 if faults else 0
    for path in build_all(names):
        print(path.relative_to(REPOSITORY))
    for name in names:
        lacking = lacking_compiler(read_lab(name))
        if lacking:
            print(f"{name}: not recorded: {', '.join(lacking)}. {NoCompiler()}", file=sys.stderr)
    if options.course:
        _sources(load_course(Path(options.course)), names)
    return 0


def _sources(course: "Course", labs: list[str]) -> None:
    """Put the source notebooks of labs, as the course has them, into its `source/` folder."""
    from .build import build_lab, write_notebook

    for name in labs:
        source, _ = build_lab(name, course.policies.of(name).choice)
        write_notebook(course.folder / "source" / name / f"{name}.ipynb", source)


def _kit(options: argparse.Namespace) -> int:
    from .course import course_here
    from .kit import build_kit
    from .text import lab_names, opened_keys

    course = course_here(options.course)
    labs = options.lab or (list(course.labs) if course else []) or lab_names()
    choices = {lab: course.policies.of(lab).choice for lab in labs} if course else {}
    path = build_kit(options.out, labs, opened_keys(labs, options.open), choices)
    print(f"{path} holds {', '.join(labs)}.")
    return 0


def _grade(options: argparse.Namespace) -> int:
    if options.engine == "ray":
        return _graded(options)
    from .warming import begun

    with begun():
        return _graded(options)


def _graded(options: argparse.Namespace) -> int:
    from .console import Progress, print_table
    from .course import course_here
    from .grade import grade_class

    course = course_here(options.course)
    with Progress(options.quiet) as progress:
        engine = None
        if options.engine == "ray":
            from .ray_engine import RayEngine

            hidden = {options.submitted, options.out, *([course.folder] if course else [])}
            engine = RayEngine(options.address, options.jobs, options.unsafe, hidden, progress.note)
        results = grade_class(
            options.submitted,
            options.out,
            options.lab,
            options.jobs or os.cpu_count() or 1,
            secret=course.secret if course else None,
            course=course.folder if course else None,
            unsafe=options.unsafe,
            fresh=options.fresh,
            progress=progress.step,
            engine=engine,
        )
    print_table(results, options.quiet)
    print(f"{options.out / 'scores.csv'}  {options.out / 'report.html'}")
    return 0


def _collect(options: argparse.Namespace) -> int:
    from .collect import collect
    from .course import the_course
    from .wording import one_line

    found = collect(the_course(options.course), options.source, options.lab, options.people)
    for note in found.notes:
        print(one_line(note))
    students = len({student for student, _, _ in found.new})
    print(
        f"{len(found.new)} notebooks of {students} students are new, "
        f"{found.known} were there already."
    )
    return 0


def _export(options: argparse.Namespace) -> int:
    from .course import the_course
    from .export import export

    out = options.out or Path(f"grades-{options.format}.csv")
    course = the_course(options.course)
    for note in export(course, options.format, out, options.lab, options.onto):
        print(note)
    print(out)
    return 0


def _answers(options: argparse.Namespace) -> int:
    from .course import the_course

    course = the_course(options.course)
    if options.split:
        from .written_out import hand_out

        out = options.out or course.folder / "answers"
        done = hand_out(course, options.split, out, options.lab, options.all, options.formgrader)
        for line in (*done.notes, *map(str, done.files)):
            print(line)
        print("Answers for each grader: " + ", ".join(map(str, done.counts)) + ".")
        return 0
    from .written_in import take_in

    taken = take_in(course, options.collect, options.replace)
    for line in (*taken.replaced, *taken.refused):
        print(line)
    print(
        f"{taken.written} grades were written, {taken.unchanged} stood there already, "
        f"{taken.empty} answers have no points yet, {len(taken.refused)} were not written."
    )
    return 1 if taken.refused else 0


def _report(options: argparse.Namespace) -> int:
    from .class_report import write_class_report
    from .course import course_here

    done = write_class_report(options.out, course_here(options.course), options.earlier)
    for line in (*done.notes, *map(str, done.pages)):
        print(line)
    return 0


def _demo(options: argparse.Namespace) -> int:
    import shutil

    from .warming import begun

    with begun():
        from .console import Progress, print_table
        from .grade import grade_class
        from .sample import write_sample_class
        from .text import lab_names

        shutil.rmtree(options.out, ignore_errors=True)
        submitted = options.out / "submitted"
        write_sample_class(submitted, options.lab or lab_names())
        with Progress() as progress:
            results = grade_class(
                submitted, options.out, jobs=os.cpu_count() or 1, progress=progress.step
            )
    print_table(results)
    print(f"{options.out / 'report.html'}  {options.out / 'scores.csv'}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    signs = {"ok": "✓", "note": "–", "fault": "✗"}
    findings = examine(options.course)
    for finding in findings:
        print(f"{signs[finding.state]} {finding.what:12} {finding.words}")
    return 1 if any(finding.state == "fault" for finding in findings) else 0


def _submit(options: argparse.Namespace) -> int:
    from aisys.course.submitting import main as submit

    return submit([options.notebook])


def _lab(options: argparse.Namespace) -> int:
    from .build import BUILD_FOLDER
    from .console import print_stages
    from .laboratory import check_lab, lab_of, open_lab, solve_lab

    name = lab_of(options.number)
    if options.check:
        print_stages(check_lab(name))
    elif options.solution:
        print_stages(solve_lab(name, BUILD_FOLDER / "solution"))
        print(f"The executed notebook: build/solution/{name}.ipynb")
    else:
        return open_lab(name)
    return 0


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
