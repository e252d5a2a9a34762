"""The command `autograder`.

Exit status: 0 done (also when submissions are bad), 1 it could not do its work, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import autograder  # noqa: F401 (first, so that a student's attempts are never loaded here)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every failure is one clear line on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 2
    from .problems import explained

    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        print("autograder: stopped.", file=sys.stderr)
        return 1
    except Exception as error:
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
        "--open", action="append", default=[], help="a stage or exercise to give the reference of"
    )

    grade = command("grade", _grade, "grade submissions: SUBMITTED/STUDENT/LAB/LAB.ipynb")
    grade.add_argument("submitted", type=Path, metavar="SUBMITTED")
    grade.add_argument("--out", type=Path, required=True, help="where scores and pages are written")
    grade.add_argument("--lab", action="append", default=[])
    grade.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1)
    grade.add_argument("--course", help="the course's folder (default: the one this is in)")
    grade.add_argument(
        "--unsafe", action="store_true", help="run submissions without a sandbox, on your own risk"
    )
    grade.add_argument("--fresh", action="store_true", help="run everything again")
    grade.add_argument("--quiet", action="store_true", help="print no progress")

    demo = command("demo", _demo, "grade a sample class made from the catalogue")
    demo.add_argument("--out", type=Path, default=Path("build/demo"))

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
    from .course import init_course
    from .text import lab_names

    labs = options.lab or lab_names()
    path = init_course(options.folder, options.name or options.folder.resolve().name, labs)
    _sources(options.folder, labs)
    print(f"{path} is written. Release a lab with `nbgrader generate_assignment {labs[0]}`.")
    return 0


def _build(options: argparse.Namespace) -> int:
    from .build import build_all, stale
    from .course import load_course
    from .text import REPOSITORY, lab_names

    names = options.lab or lab_names()
    if options.check:
        faults = [fault for fault in map(stale, names) if fault]
        for fault in faults:
            print(fault, file=sys.stderr)
        return 1 if faults else 0
    for path in build_all(names):
        print(path.relative_to(REPOSITORY))
    if options.course:
        load_course(Path(options.course))
        _sources(Path(options.course), names)
    return 0


def _sources(folder: Path, labs: list[str]) -> None:
    """Put the source notebooks of labs into a course's `source/` folder."""
    from .build import build_lab, write_notebook

    for name in labs:
        write_notebook(folder / "source" / name / f"{name}.ipynb", build_lab(name)[0])


def _kit(options: argparse.Namespace) -> int:
    from .kit import build_kit
    from .text import lab_names, opened_keys

    labs = options.lab or lab_names()
    path = build_kit(options.out, labs, opened_keys(labs, options.open))
    print(f"{path} holds {', '.join(labs)}.")
    return 0


def _grade(options: argparse.Namespace) -> int:
    from .console import Progress, print_table
    from .course import course_here
    from .grade import grade_class

    course = course_here(options.course)
    with Progress(options.quiet) as progress:
        results = grade_class(
            options.submitted,
            options.out,
            options.lab,
            options.jobs,
            secret=course.secret if course else None,
            course=course.folder if course else None,
            unsafe=options.unsafe,
            fresh=options.fresh,
            progress=progress.step,
        )
    print_table(results, options.quiet)
    print(f"{options.out / 'scores.csv'}  {options.out / 'report.html'}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    import shutil

    from .build import build_all
    from .console import Progress, print_table
    from .grade import grade_class
    from .sample import write_sample_class
    from .text import lab_names

    build_all()
    shutil.rmtree(options.out, ignore_errors=True)
    write_sample_class(options.out / "submitted", lab_names())
    with Progress() as progress:
        results = grade_class(
            options.out / "submitted", options.out, jobs=os.cpu_count() or 1, progress=progress.step
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
