"""The kernel's end of grading: run a probe on a case that the harness sends, answer plain data.

The harness puts a request in a user expression and reads the answer from its text; nothing that
knows a right answer is on this side.
"""

import base64
import contextlib
import importlib
import sys
from typing import Any

from .attempts import attempt_text
from .errors import AttemptError
from .kitinfo import kit
from .outcomes import outcome_to_plain
from .plain import pack, unpack
from .probes import Case, Outcome, find_probe, run_case
from .slots import LABS, load_lab, slots

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""What one probe may return: the harness reads no longer message."""


def warm_up() -> None:
    """Import the labs of this kit and whatever their checks take long to import or to start.

    A process that forks kernels calls it once; a lab's `checks` may define a `warm_up`, which must
    not leave a thread behind.
    """
    for name in kit().get("labs", []):
        number = int(name.partition("_")[0].removeprefix("lab"))
        load_lab(number)
        checks = sys.modules.get(f"aisys.{LABS[number]}.checks")
        getattr(checks, "warm_up", lambda: None)()


def answer(request: str) -> str:
    """Run what a request asks for; both ways base64 of packed plain data.

    A request is a dict with `do`: `"run"` (with `module`, `probe`, the address of a `witness` or
    `""`, and `cases`, each with `name`, `inputs` and `seed`) answers a list of outcomes, which
    ends after `most_lost` that ran out of time; `"attempts"` (with `lab`) answers
    the text of every attempt by key; `"lend"` (with `imports` and `sources`) puts lent references
    into their exercises' places; `"texts"` (with `texts` by key) puts texts into theirs, where no
    cell has run.
    """
    asked = unpack(base64.b64decode(request))
    work = {"run": _run, "attempts": _attempts, "lend": _lend, "texts": _texts}
    reply: Any = work[asked["do"]](asked)
    return base64.b64encode(pack(reply)).decode()


def _run(asked: dict[str, Any]) -> list[Any]:
    importlib.import_module(asked["module"])
    outcomes: list[Any] = []
    left = asked["most_lost"]
    for each in asked["cases"]:
        case = Case(each["name"], each["inputs"], each["seed"])
        outcome = run_case(find_probe(asked["probe"]), case, asked["witness"])
        if not isinstance(outcome, Outcome):
            raise TypeError("a probe's run gives an Outcome")
        size = len(pack(outcome.value))
        if size > MAX_ANSWER_BYTES:
            message = f"the result has {size:,} bytes; at most {MAX_ANSWER_BYTES:,} may be."
            outcome = Outcome("raised", error="PlainDataError", message=message)
        outcomes.append(outcome_to_plain(outcome))
        left -= outcome.status == "timeout"
        if left == 0:
            break
    return outcomes


def _lend(asked: dict[str, Any]) -> bool:
    """Only in a fork that ends right after, and from which no value but pass or fail comes back."""
    namespace: dict[str, Any] = {"__name__": "lent"}
    exec(asked["imports"], namespace)
    for key, source in asked["sources"].items():
        if source.startswith("%%attempt"):
            attempt_text(key, source.partition("\n")[2])
        else:
            exec(compile(source, f"<lent {key}>", "exec"), namespace)
    return True


def _texts(asked: dict[str, Any]) -> bool:
    """A text that does not fit leaves its exercise's hole in place."""
    for key, text in asked["texts"].items():
        with contextlib.suppress(AttemptError):
            attempt_text(key, text)
    return True


def _attempts(asked: dict[str, Any]) -> dict[str, str]:
    load_lab(asked["lab"])
    return {slot.key: slot.source or "" for slot in slots() if slot.attempt is not None}
