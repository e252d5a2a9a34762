"""The judged results of a class, kept beside its scores: what `autograder report` is made from.

One file a lab, one result a line, with the lab's policies applied and without points by hand and
lateness, which stand in the gradebook and may change. Notebooks lie in `autograded/`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from .pages import write_atomically
from .results import SubmissionResult, from_json

GRADED = "graded"
"""The folder, among what makes a grading go on where it stopped, that they are kept in."""


def keep_results(folder: Path, results: Iterable[SubmissionResult]) -> None:
    """Keep a grading's results; those of labs that it did not grade stay.

    Args:
        folder: Where they are kept.
        results: Everything that was judged of some labs.
    """
    labs: dict[str, list[str]] = defaultdict(list)
    for result in results:
        labs[result.lab].append(_line(result))
    for lab, lines in labs.items():
        write_atomically(folder / f"{lab}.jsonl", "\n".join(lines) + "\n")


def kept_results(folder: Path) -> list[SubmissionResult]:
    """The results that are kept in a folder, by lab.

    Raises:
        ValueError, TypeError, KeyError: A file holds something else.
    """
    return [
        from_json(json.loads(line))
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def _line(result: SubmissionResult) -> str:
    notebook = result.notebook
    if isinstance(notebook, Mapping):
        notebook = {"metadata": notebook.get("metadata"), "cells": []}
    return json.dumps(replace(result, notebook=notebook), default=vars)
