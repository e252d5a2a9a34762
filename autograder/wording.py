"""Results in words and signs: the same in the terminal, the report and the feedback."""

import functools
import re
import unicodedata
from collections.abc import Sequence

from .results import CaseResult, ExerciseResult, StageResult, SubmissionResult
from .text import lab_names, read_lab

SIGNS = {
    "passed": "✓",
    "partial": "◐",
    "failed": "✗",
    "error": "!",
    "timeout": "◷",
    "missing": "–",
    "manual": "✎",
    "ungraded": "?",
}
"""A sign for every status; each has a width of one column and survives black-and-white print."""

WORDS = {
    "passed": "passed",
    "partial": "partial",
    "failed": "failed",
    "error": "error",
    "timeout": "timeout",
    "missing": "missing",
    "manual": "graded by hand",
    "ungraded": "not graded",
}

UNANSWERED = "unanswered"
"""Said of the written answers of these stages, which `not written` is not said of."""

KINDS = {
    "type": "another type",
    "shape": "another shape",
    "dtype": "another dtype",
    "length": "another length",
    "keys": "other keys",
    "value": "another value",
    "error": "exception",
    "timeout": "time limit",
    "hole": "not written",
}
"""The kinds of difference that `compare` and the kernel know; a verdict may have its own words."""

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_FRAME = re.compile(r"(raised [^\s(]+) \((.+)\)", re.DOTALL)


def number(points: float) -> str:
    """Points without needless digits: `2`, `1.5`, `0.33`."""
    return f"{round(points, 2):g}"


def one_line(text: str, most: int = 0) -> str:
    """A text on one line, without control characters, cut after `most` characters (0: not cut)."""
    line = " ".join("".join(" " if _unsafe(c) else c for c in text).split())
    return line if not most or len(line) <= most else line[: most - 1].rstrip() + "…"


def visible(name: str) -> str:
    """A student's or lab's name with control and direction characters spelled out."""
    return "".join(f"\\u{ord(c):04x}" if _unsafe(c) else c for c in name)


def lab_title(results: Sequence[SubmissionResult], lab: str) -> str:
    """The lab's title from a graded notebook, from its text, or made of its name."""
    for result in results:
        if result.lab == lab and result.notebook is not None:
            metadata = result.notebook.get("metadata")
            about = metadata.get("aisys") if isinstance(metadata, dict) else None
            title = about.get("title") if isinstance(about, dict) else None
            if isinstance(title, str):
                return one_line(title)
    return _title(lab)


@functools.cache
def _title(lab: str) -> str:
    if lab in lab_names():
        return one_line(read_lab(lab).title)
    match = re.fullmatch(r"lab(\d+)_(\w+)", lab)
    return f"Lab {match[1]}: {match[2].replace('_', ' ')}" if match else visible(lab)


def is_written(stage: StageResult) -> bool:
    """Whether a graded cell is a written answer; stages go by numbers such as 1.3."""
    return not re.fullmatch(r"\d+(\.\d+)*", stage.stage)


def status_words(stage: StageResult) -> str:
    """How a stage ended, in words."""
    return "to be graded by hand" if stage.waiting else WORDS.get(stage.status, stage.status)


def is_tampering(flag: str) -> bool:
    """Whether a flag is a sign of tampering, as `suspicion` words them, and not just unusual."""
    return flag.startswith("Cell ") or "signs of tampering" in flag


def was_submitted(result: SubmissionResult) -> bool:
    """Whether there was a file at all."""
    return result.status != "unreadable" or any(s.status != "missing" for s in result.stages)


def counts(result: SubmissionResult) -> bool:
    """Whether a result belongs into means: something was submitted, and the grader did its work."""
    return result.status != "ungraded" and was_submitted(result)


def went_wrong(result: SubmissionResult) -> list[str]:
    """What went wrong in a submission, a few words each: `["1.3 padding forgotten", …]`."""
    if not was_submitted(result):
        return ["not submitted"]
    if result.status != "graded":
        return [one_line(result.message, 120) or result.status]
    stages: dict[str, list[str]] = {}
    for stage in result.stages:
        for words in stage_words(stage):
            name = stage.stage.partition("-")[0] if words == UNANSWERED else stage.stage
            stages.setdefault(words, []).append(name)
    late = [f"late: {number(result.penalty)} points off"] if result.penalty else []
    return [*late, *(f"{', '.join(names)} {words}" for words, names in stages.items())]


def stage_words(stage: StageResult, titles: bool = True) -> list[str]:
    """What went wrong in a stage, a few words for each exercise, without repetition.

    Args:
        stage: The stage or written answer.
        titles: Whether recognised mistakes are named by their titles, which are for instructors.
    """
    if stage.status in ("passed", "manual"):
        return []
    wrong = [e for e in stage.exercises if e.status != "passed"]
    if stage.status == "ungraded" or not wrong:
        if stage.status == "missing":
            return [UNANSWERED if is_written(stage) else "not written"]
        return [one_line(stage.message, 80) or WORDS.get(stage.status, stage.status)]
    return list(dict.fromkeys(exercise_words(exercise, titles) for exercise in wrong))


def exercise_words(exercise: ExerciseResult, titles: bool = True) -> str:
    """What went wrong in an exercise, in a few words; `titles` as in `stage_words`."""
    if titles and exercise.mistake:
        return one_line(exercise.mistake, 80)
    if exercise.status == "missing":
        return "not written"
    if exercise.status == "timeout":
        return "no result in time"
    failing = [case for case in exercise.cases if not case.passed]
    kinds = {case.kind for case in failing}
    if not failing or (kinds == {"hole"} and exercise.status == "error"):
        text = exercise.message.split("`: ", 1)[-1].rstrip(".")
        return one_line(text, 80) or WORDS.get(exercise.status, exercise.status)
    first = failing[0]
    if first.kind in ("error", "hole"):
        return one_line(split_frame(first.message)[0], 80)
    return f"{kind_words(first.kind)} in {len(failing)} of {len(exercise.cases)} cases"


def kind_words(kind: str) -> str:
    """A kind of difference in words."""
    return KINDS.get(kind, one_line(kind, 40))


def case_words(case: CaseResult) -> tuple[str, str]:
    """What is said of a failing case: a sentence, and the student's own lines or `""`."""
    sentence, frame = split_frame(case.message)
    sentence = one_line(sentence)
    repeated = f"the {case.kind} differs"
    if sentence.startswith(repeated):
        return kind_words(case.kind) + sentence.removeprefix(repeated), frame
    if sentence and case.kind in ("error", "timeout", "hole"):
        return sentence, frame
    return ": ".join(filter(None, [kind_words(case.kind), sentence])), frame


def split_frame(message: str) -> tuple[str, str]:
    """A case's message as a sentence and the student's own lines, which may be `""`."""
    sentence, _, lines = message.partition("\n")
    match = _FRAME.fullmatch(sentence.rstrip("."))
    if match:
        return match[1], "\n".join(filter(None, [match[2], lines]))
    return sentence, lines


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _BIDI
