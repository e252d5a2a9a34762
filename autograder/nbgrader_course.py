"""Stock nbgrader with the course's judge: what `nbgrader_config.py` of a course calls."""

import atexit
import functools
import json
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import preprocessors
from traitlets import Unicode

from .bench import Bench, set_up
from .clear import ClearSolutions
from .course import COURSE_FILE, load_course
from .gradebook import save_lateness
from .isolation import method, server_for
from .policies import Policies
from .results import SubmissionResult
from .settle import adjust
from .submission import as_submission


class Judge(preprocessors.Execute):
    """Runs a submission as `autograder grade` does; the outside verdict is every cell's score."""

    course = Unicode("", help="The course's folder.").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: ResourcesDict, km: Any = None
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Judge one notebook; called by `nbgrader autograde` in place of `Execute`."""
        bench = _bench(self.course, resources["nbgrader"]["assignment"])
        prepared, stages, _ = bench.judge(as_submission(json.loads(nbformat.writes(nb))))
        for flag in prepared.flags:
            self.log.warning("%s", flag)
        about, executed = resources["nbgrader"], json.loads(nbformat.writes(prepared.notebook))
        result = SubmissionResult(
            about["student"], about["assignment"], "graded", "", tuple(stages), notebook=executed
        )
        result = adjust(_policies(self.course).of(result.lab), result)
        for stage in result.stages:
            self.log.info("%s: %s of %s", stage.stage, stage.points, stage.max_points)
        return nbformat.reads(json.dumps(result.notebook), as_version=4), resources


class LatePenalties(preprocessors.NbGraderPreprocessor):
    """Enters what lateness costs by the course's policies, in place of `AssignLatePenalties`."""

    course = Unicode("", help="The course's folder.").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: ResourcesDict
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Look at the student's submissions; called after a notebook's scores are saved."""
        student = resources["nbgrader"]["student"]
        save_lateness(Path(self.course), _policies(self.course), {student})
        return nb, resources


def configure(c: Any, config_file: str) -> None:
    """Set up nbgrader's configuration object for the course whose config file this is."""
    folder = Path(config_file).resolve().parent
    c.CourseDirectory.root = str(folder)
    c.Judge.course = c.LatePenalties.course = str(folder)
    # A second wall, should a notebook have come into autograded/ by another way than the judge's.
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {
        "clean_html": "autograder.rendering.clean_html",
        "strip_files_prefix": "autograder.harmless.shown",
    }
    c.GenerateAssignment.preprocessors = [
        preprocessors.IncludeHeaderFooter,
        preprocessors.LockCells,
        ClearSolutions,
        preprocessors.ClearOutput,
        preprocessors.CheckCellMetadata,
        preprocessors.ComputeChecksums,
        preprocessors.SaveCells,
        preprocessors.ComputeChecksums,
        preprocessors.CheckCellMetadata,
    ]
    # The judge restores locked cells itself, and outputs of experiments stay for hand grading.
    c.Autograde.sanitize_preprocessors = [preprocessors.OverwriteKernelspec]
    c.Autograde.autograde_preprocessors = [
        Judge,
        preprocessors.LimitOutput,
        preprocessors.SaveAutoGrades,
        LatePenalties,
        preprocessors.CheckCellMetadata,
    ]


@functools.cache
def _bench(folder: str, lab: str) -> Bench:
    """The bench of a lab, made once a process; the kit's folder goes with the process."""
    scratch = _kept.enter_context(tempfile.TemporaryDirectory(prefix="aisys-kits-"))
    secret = load_course(Path(folder)).secret if _has_course(folder) else secrets.token_hex(32)
    bench = set_up(lab, secret, Path(scratch), choice=_policies(folder).of(lab).choice)
    server = server_for(bench.spec.kit, method(), (Path(folder),))
    return bench.started_by(_kept.enter_context(server))


def _has_course(folder: str) -> bool:
    return (Path(folder) / COURSE_FILE).exists()


def _policies(folder: str) -> Policies:
    return load_course(Path(folder)).policies if _has_course(folder) else Policies()


_kept = ExitStack()
atexit.register(_kept.close)
