"""What references and mistakes make of the visible cases, recorded for `check` to read."""

import contextlib
import os
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from aisys.course.compiling import NoCompiler, has_compiler
from aisys.course.outcomes import Recorded, case_key, write_outcomes
from aisys.course.probes import judge, probes_of
from aisys.course.slots import find

from .answers import check_catalogue, fault_of, judged, sources_digest
from .cache import digest
from .catalogue import Catalogue, CatalogueError
from .text import REPOSITORY, LabText


def visible_recorded(lab: LabText, catalogue: Catalogue) -> Path:
    """The record of a lab's visible cases, made again only where a source has changed."""
    path = _visible_path(lab)
    stamp = path.with_suffix(".stamp")
    with contextlib.suppress(OSError):
        if stamp.read_text(encoding="utf-8") == _stamp(lab, path):
            return path
    record_visible(lab, catalogue)
    unfinished = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    unfinished.write_text(_stamp(lab, path), encoding="utf-8")
    unfinished.replace(stamp)
    return path


def record_visible(lab: LabText, catalogue: Catalogue, left_out: Container[str] = ()) -> Path:
    """Record what references and mistakes make of the visible cases; the file that `check` reads.

    Args:
        lab: The lab's text.
        catalogue: Its catalogue.
        left_out: Exercises that cannot be recorded here.

    Raises:
        CatalogueError: A mistake passes every visible case, or an alternative fails one.
        NoCompiler: An exercise that is not left out needs one.
    """
    check_catalogue(lab, catalogue)
    if any(key not in left_out for key in lacking_compiler(lab)):
        raise NoCompiler
    records: dict[str, Recorded] = {}
    keys = [key for key in lab.keys() if key not in left_out]
    for key in keys:
        pairs = [(probe, case) for probe in probes_of(key) for case in probe.cases]
        made = judged(lab, catalogue, key, pairs)
        fault = fault_of(lab, catalogue, key, made)
        if fault:
            raise CatalogueError(f"{fault} On the visible cases; change them or the catalogue.")
        for entry in made:
            mistakes = tuple(
                # A traceback quotes lines of the reference, which no kit may hold.
                (known.mistake.hint, replace(known.outcome, frames=()))
                for known in entry.mistakes
                if judge(entry.probe, known.outcome, entry.expected) is not None
            )
            record = Recorded(entry.expected, entry.calls, mistakes)
            records[case_key(entry.probe, entry.case)] = record
    write_outcomes(_visible_path(lab), records, keys)
    return _visible_path(lab)


def lacking_compiler(lab: LabText) -> list[str]:
    """The exercises in C++ or CUDA, where there is no compiler for them."""
    keys = [key for key in lab.keys() if getattr(find(key), "language", "") in ("cpp", "cuda")]
    return [] if not keys or has_compiler() else keys


def _stamp(lab: LabText, record: Path) -> str:
    """A hash of everything that a record depends on, and of the record itself."""
    return digest("visible", lab.keys(), sources_digest(), record.read_bytes())


def _visible_path(lab: LabText) -> Path:
    return REPOSITORY / "build" / "outcomes" / f"{lab.name}.msgpack"
