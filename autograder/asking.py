"""Questions to a submission: a probe, on one hidden case or on all of its cases at once."""

import itertools
from collections.abc import Sequence
from typing import Any

from aisys.course.errors import CourseError
from aisys.course.outcomes import outcome_from_plain
from aisys.course.plain import Plain
from aisys.course.probes import Outcome
from aisys.course.witness import WitnessLost

from .answers import KeyCase
from .kernel import KernelLost
from .running import Run, start_again

DIED = "KernelDied"
MOST_LOST = 2
"""After so many cases that hang or end the kernel, an exercise's other cases are not run."""


def ask_cases(run: Run, cases: Sequence[KeyCase]) -> list[Outcome]:
    """Run an exercise's probes on its hidden cases.

    A question costs more than most cases do, so all cases of a probe are asked at once. Where that
    fails they are asked one by one, and it is known which of them it was.
    """
    outcomes: list[Outcome] = []
    for _, group in itertools.groupby(cases, key=lambda case: case.probe.name):
        of_probe = list(group)
        room = MOST_LOST - len(_lost(outcomes))
        together = _together(run, of_probe, room) if room > 0 and not run.out_of_time else []
        outcomes += together
        for case in of_probe[len(together) :]:
            lost = _lost(outcomes)
            if len(lost) >= MOST_LOST:
                outcomes.append(lost[-1])
            elif run.out_of_time:
                outcomes.append(Outcome("timeout", message="the notebook's time was used up"))
            else:
                outcomes.append(ask_case(run, case))
    return outcomes


def ask_case(run: Run, case: KeyCase, once: bool = False) -> Outcome:
    """Run a probe on a hidden case.

    Args:
        run: The submission's run.
        case: The case.
        once: Whether a lost kernel ends the run (KernelLost) instead of being started again.
    """
    try:
        (answer,) = _answers(run, [case], 1, case.probe.seconds)
        return outcome_from_plain(answer)
    except WitnessLost:
        raise
    except KernelLost as lost:
        if once:
            raise
        if lost.reason in ("flood", "forged"):
            run.note(f"{case.probe.key}: {lost}.")
        start_again(run)
        status = "timeout" if lost.reason == "timeout" else "raised"
        return Outcome(status, error=DIED, message=str(lost))
    except CourseError as error:
        run.note(f"{case.probe.key}: {error}.")
        return Outcome("raised", error="NoAnswer", message=str(error))


def _together(run: Run, cases: list[KeyCase], most_lost: int) -> list[Outcome]:
    """The outcomes of the first cases of one probe, asked at once; none where that fails.

    They end where `most_lost` cases have run out of time.
    """
    if len(cases) == 1 or cases[0].probe.witness:
        return []
    seconds = cases[0].probe.seconds * min(len(cases), most_lost + 1)
    try:
        return [outcome_from_plain(each) for each in _answers(run, cases, most_lost, seconds)]
    except KernelLost:
        start_again(run)
    except CourseError:
        pass
    return []


def _answers(run: Run, cases: list[KeyCase], most_lost: int, seconds: float) -> list[Plain]:
    """What the kernel answers to cases of one probe; raises CourseError for no such list."""
    probe = cases[0].probe
    request: dict[str, Any] = {
        "do": "run",
        "module": probe.function.__module__,
        "probe": probe.name,
        "witness": probe.witness,
        "most_lost": most_lost,
        "cases": [
            {"name": each.case.name, "inputs": each.case.inputs, "seed": each.case.seed}
            for each in cases
        ],
    }
    answers = run.session.ask(request, seconds + 1)
    if not isinstance(answers, list) or not 1 <= len(answers) <= len(cases):
        raise CourseError("the kernel's answer is no list of outcomes")
    return answers


def _lost(outcomes: list[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.status == "timeout" or each.error == DIED]
