"""The answer key: hidden cases drawn from the course's secret, and the outcomes that judge them.

References, alternatives and mistakes are our own code and run here, in the grader's process; the
student's code never does. A draw that judges one of them wrongly is thrown away and drawn again.
"""

import base64
import functools
import hashlib
import hmac
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from aisys.course import Case, Difference
from aisys.course.attempts import attempt_text, clear_attempts
from aisys.course.outcomes import (
    outcome_from_plain,
    outcome_to_plain,
)
from aisys.course.plain import pack, unpack
from aisys.course.probes import (
    Outcome,
    Probe,
    find_probe,
    judge,
    probes_of,
    run_case,
    safe_verdict,
)
from aisys.course.slots import find, recording

from .cache import Cache, digest, folder_digest
from .catalogue import Alternative, Catalogue, CatalogueError, Mistake
from .sources import cell_source, import_lines, plain_source, without_markers
from .text import REPOSITORY, LabText

DRAWS = 20


@dataclass(frozen=True)
class KnownMistake:
    """A mistake and what it makes of one case."""

    mistake: Mistake
    outcome: Outcome


@dataclass(frozen=True)
class KeyCase:
    """One hidden case with everything that judging it needs."""

    probe: Probe
    case: Case
    expected: Outcome
    calls: tuple[str, ...]
    mistakes: tuple[KnownMistake, ...]


@dataclass(frozen=True)
class AnswerKey:
    """The hidden cases of a lab by exercise."""

    lab: str
    catalogue: Catalogue
    cases: dict[str, tuple[KeyCase, ...]]

    def content(self) -> str:
        """Everything in the key as text, for hashing and keeping."""
        return _cases_to(self.cases)

    def verdict(self, case: KeyCase, got: Outcome) -> Difference | None:
        """Judge an outcome; the catalogue's own verdict goes before the probe's."""
        own = self.catalogue.verdicts.get(case.probe.name)
        if own is not None and got.status == case.expected.status == "returned":
            return safe_verdict(own, got.value, case.expected.value)
        return judge(case.probe, got, case.expected)


def answer_key(
    lab: LabText, catalogue: Catalogue, secret: str, kept: Cache | None = None
) -> AnswerKey:
    """Draw a lab's hidden cases; raises CatalogueError where no draw judges them rightly.

    Args:
        lab: The lab's text.
        catalogue: Its catalogue.
        secret: The course's secret.
        kept: Where keys of earlier runs are kept; they hold as long as no source changes.
    """
    check_catalogue(lab, catalogue)
    name = digest("key", lab.name, lab.keys(), secret, sources_digest())
    entry = kept.get(name) if kept is not None else None
    if entry is not None:
        return AnswerKey(lab.name, catalogue, _cases_from(entry, catalogue))
    cases = {key: _draw(lab, catalogue, key, secret) for key in lab.keys()}
    if kept is not None:
        kept.put(name, _cases_to(cases))
    return AnswerKey(lab.name, catalogue, cases)


@functools.cache
def sources_digest() -> str:
    """A hash of every source that judging depends on: both packages, as they are here."""
    return digest([folder_digest(REPOSITORY / name) for name in ("src/aisys", "autograder")])


def _cases_to(cases: dict[str, tuple[KeyCase, ...]]) -> str:
    """The cases of a key as text that can be kept."""
    plain = {
        key: [
            {
                "probe": entry.probe.name,
                "case": [entry.case.name, entry.case.inputs, entry.case.seed, entry.case.weight],
                "expected": outcome_to_plain(entry.expected),
                "calls": list(entry.calls),
                "mistakes": [outcome_to_plain(known.outcome) for known in entry.mistakes],
            }
            for entry in entries
        ]
        for key, entries in cases.items()
    }
    return base64.b64encode(pack(plain)).decode()


def _cases_from(kept: str, catalogue: Catalogue) -> dict[str, tuple[KeyCase, ...]]:
    """The cases of a key that was kept."""
    cases = {}
    for key, entries in unpack(base64.b64decode(kept)).items():
        mistakes = catalogue.mistakes_of(key)
        cases[key] = tuple(
            KeyCase(
                find_probe(entry["probe"]),
                Case(*entry["case"]),
                outcome_from_plain(entry["expected"]),
                tuple(entry["calls"]),
                tuple(
                    KnownMistake(mistake, outcome_from_plain(outcome))
                    for mistake, outcome in zip(mistakes, entry["mistakes"], strict=True)
                ),
            )
            for entry in entries
        )
    return cases


def key_of(content: str, lab: str, catalogue: Catalogue) -> AnswerKey:
    """The answer key that a text of `AnswerKey.content` was made from, with a lab's catalogue."""
    return AnswerKey(lab, catalogue, _cases_from(content, catalogue))


def check_catalogue(lab: LabText, catalogue: Catalogue) -> None:
    """Raise CatalogueError unless every exercise has probes, cases, mistakes and an alternative."""
    keys = lab.keys()
    for key in keys:
        probes = probes_of(key)
        if not probes:
            raise CatalogueError(f"{key} has no probe in its lab's checks.py.")
        for probe in probes:
            if probe.name not in catalogue.cases:
                raise CatalogueError(f"{key}: the probe {probe.name} has no hidden cases.")
            if not probe.cases:
                raise CatalogueError(f"{key}: the probe {probe.name} has no visible case.")
        if len(catalogue.mistakes_of(key)) < 2 or not catalogue.alternatives_of(key):
            raise CatalogueError(f"{key} needs at least two mistakes and an alternative.")
    entries: list[Mistake | Alternative] = [*catalogue.mistakes, *catalogue.alternatives]
    unknown = sorted({entry.key for entry in entries if entry.key not in keys})
    if unknown:
        raise CatalogueError(f"The catalogue names {', '.join(unknown)}, which no exercise is.")


def mistake_source(mistake: Mistake) -> str:
    """A mistake as the text of its attempt cell."""
    if mistake.source:
        return as_attempt(mistake.key, mistake.source)
    return plain_source(mistake.key, mistake.replace)


def as_attempt(key: str, source: str) -> str:
    """The text of an attempt cell for a source that may lack its first line."""
    slot = find(key)
    first = f"%%attempt {key}" if slot.kind == "text" else f'@attempt("{slot.stage}")'
    source = source.strip("\n")
    if first in source:
        return source + "\n"
    if slot.kind == "text":
        return f"{first}\n{source}\n"
    lines = source.splitlines()
    name = slot.name.partition(".")[0]
    starts = (f"def {name}(", f"class {name}(", f"class {name}:")
    place = next((i for i, line in enumerate(lines) if line.startswith(starts)), None)
    if place is None:
        raise CatalogueError(f"{key}: a catalogued source does not define {name}.")
    return "\n".join([*lines[:place], first, *lines[place:]]) + "\n"


def reference_source(key: str) -> str:
    """The reference as the text of an attempt cell."""
    return without_markers(cell_source([key]))


@contextmanager
def attempted(keys: list[str], *sources: str) -> Iterator[None]:
    """Put catalogued attempts in place in this process, and take them out again.

    Args:
        keys: The exercises whose import cell the sources rely on.
        sources: Texts of attempt cells.
    """
    namespace: dict[str, object] = {"__name__": "__catalogue__"}
    exec(import_cell(tuple(keys)), namespace)
    try:
        for source in sources:
            if source.startswith("%%attempt"):
                line, _, text = source.partition("\n")
                attempt_text(line.removeprefix("%%attempt").strip(), text)
                continue
            name = f"<catalogue {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)
            exec(compile(source, name, "exec"), namespace)
        yield
    finally:
        clear_attempts()


@functools.cache
def import_cell(keys: tuple[str, ...]) -> str:
    """The import statements that attempts of these exercises rely on."""
    return "\n".join([*import_lines(list(keys)), "from aisys.course import attempt"])


def _draw(lab: LabText, catalogue: Catalogue, key: str, secret: str) -> tuple[KeyCase, ...]:
    fault = ""
    for draw in range(DRAWS):
        pairs = []
        for probe in probes_of(key):
            rng = _generator(secret, f"{lab.name}/{probe.name}/{draw}")
            pairs += [(probe, case) for case in catalogue.cases[probe.name](rng)]
        made = judged(lab, catalogue, key, pairs)
        fault = fault_of(lab, catalogue, key, made)
        if not fault:
            return tuple(made)
    raise CatalogueError(f"{fault} No draw of {DRAWS} judges it rightly.")


def judged(
    lab: LabText, catalogue: Catalogue, key: str, pairs: list[tuple[Probe, Case]]
) -> list[KeyCase]:
    """Run reference and mistakes on the cases."""
    expected: list[tuple[Outcome, tuple[str, ...]]] = []
    for probe, case in pairs:
        with recording() as calls:
            outcome = run_case(probe, case)
        expected.append((outcome, tuple(calls)))
    known: list[list[KnownMistake]] = [[] for _ in pairs]
    for mistake in catalogue.mistakes_of(key):
        with attempted(lab.import_keys(), mistake_source(mistake)):
            for entry, (probe, case) in zip(known, pairs, strict=True):
                entry.append(KnownMistake(mistake, run_case(probe, case)))
    return [
        KeyCase(probe, case, outcome, calls, tuple(mistakes))
        for (probe, case), (outcome, calls), mistakes in zip(pairs, expected, known, strict=True)
    ]


def fault_of(lab: LabText, catalogue: Catalogue, key: str, made: list[KeyCase]) -> str:
    """What is judged wrongly, or `""`."""
    verdicts = AnswerKey(catalogue.lab, catalogue, {})
    for entry in made:
        where = f"{key}, case {entry.case.name!r}"
        if entry.expected.status == "raised":
            return (
                f"{where}: the reference raises {entry.expected.error}: {entry.expected.message}."
            )
        again = run_case(entry.probe, entry.case)
        difference = verdicts.verdict(entry, again)
        if difference is not None:
            return f"{where}: the reference fails its own case: {difference.message}"
    for number, mistake in enumerate(catalogue.mistakes_of(key)):
        outcomes = [(entry, entry.mistakes[number].outcome) for entry in made]
        if all(verdicts.verdict(entry, outcome) is None for entry, outcome in outcomes):
            return f"{key}: the mistake {mistake.title!r} passes."
        if all(outcome.status == "timeout" for _, outcome in outcomes):
            return f"{key}: the mistake {mistake.title!r} only times out; it needs an outcome."
    for alternative in catalogue.alternatives_of(key):
        with attempted(lab.import_keys(), as_attempt(key, alternative.source)):
            for entry in made:
                difference = verdicts.verdict(entry, run_case(entry.probe, entry.case))
                if difference is not None:
                    return (
                        f"{key}: the alternative {alternative.title!r} fails "
                        f"{entry.case.name!r}: {difference.message}"
                    )
    return ""


def _generator(secret: str, purpose: str) -> np.random.Generator:
    digest = hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
