"""Stock nbgrader with the course's judge: what `nbgrader_config.py` of a course calls."""

import atexit
import functools
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import preprocessors
from traitlets import Unicode

from .bench import Bench, set_up
from .clear import ClearSolutions
from .course import COURSE_FILE, load_course
from .isolation import method, server_for


class Judge(preprocessors.Execute):
    """Runs a submission as `autograder grade` does; the outside verdict is every cell's score."""

    course = Unicode("", help="The course's folder.").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: ResourcesDict, km: Any = None
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Judge one notebook; called by `nbgrader autograde` in place of `Execute`."""
        bench = _bench(self.course, resources["nbgrader"]["assignment"])
        prepared, stages, _ = bench.judge(nb)
        for flag in prepared.flags:
            self.log.warning("%s", flag)
        for stage in stages:
            self.log.info("%s: %s of %s", stage.stage, stage.points, stage.max_points)
        return prepared.notebook, resources


def configure(c: Any, config_file: str) -> None:
    """Set up nbgrader's configuration object for the course whose config file this is."""
    folder = Path(config_file).resolve().parent
    c.CourseDirectory.root = str(folder)
    c.Judge.course = str(folder)
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
        preprocessors.AssignLatePenalties,
        preprocessors.CheckCellMetadata,
    ]


@functools.cache
def _bench(folder: str, lab: str) -> Bench:
    """The bench of a lab, made once a process; the kit's folder goes with the process."""
    scratch = _kept.enter_context(tempfile.TemporaryDirectory(prefix="aisys-kits-"))
    has_course = (Path(folder) / COURSE_FILE).exists()
    secret = load_course(Path(folder)).secret if has_course else secrets.token_hex(32)
    bench = set_up(lab, secret, Path(scratch))
    return bench.started_by(_kept.enter_context(server_for(bench.spec.kit, method())))


_kept = ExitStack()
atexit.register(_kept.close)
