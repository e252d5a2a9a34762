"""`progress` and `whole_system`: how far the student is, and whose code ran."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

from .checking import report
from .display import OF_AN_OLDER_VERSION, Page, show_page
from .errors import CourseError
from .kitinfo import is_open
from .outcomes import place_in_notebook
from .slots import find, load_lab, recording, slots


def progress(lab: int | None = None) -> None:
    """Show, stage by stage, what is attempted and what passes its visible cases.

    Args:
        lab: The lab's number; by default every lab that is loaded in this kernel.
    """
    labs = [lab] if lab is not None else sorted({slot.order[0] for slot in slots()})
    for number in labs:
        load_lab(number)
    here = [slot for slot in slots() if slot.order[0] in labs]
    yours = [slot for slot in here if slot.attempt is not None or not is_open(slot.key)]
    stages = list(dict.fromkeys(slot.stage for slot in yours))
    if not stages:
        raise CourseError(
            "No lab is loaded in this kernel: name one, as in progress(1)."
            if lab is None
            else f"Lab {lab} has no exercise of yours here."
        )
    rich, plain = [], []
    for stage in stages:
        entries = report(stage)
        done = sum(entry.passed for entry in entries)
        tried = sum(entry.written for entry in entries)
        points = sum(entry.slot.points for entry in entries)
        state = "ok" if done == len(entries) else "wait"
        is_older = any(entry.passed and entry.failed_cell for entry in entries)
        older = OF_AN_OLDER_VERSION if is_older else ""
        words = f"{done} of {len(entries)} pass{older}, {tried} attempted, {points:g} points"
        names = ", ".join(entry.slot.name for entry in entries if not entry.passed)
        left = f" – to do: {names}" if names else ""
        rich.append(
            f'<tr><td><b>{stage}</b></td><td class="{state}">{words}</td>'
            f"<td><code>{html.escape(names)}</code></td></tr>"
        )
        plain.append(f"  {stage}: {words}{left}")
    head = "<tr><th>stage</th><th>visible cases</th><th>to do</th></tr>"
    show_page(Page(f"<table>{head}{''.join(rich)}</table>", "\n".join(["Progress", *plain])))


@contextmanager
def whole_system(title: str) -> Iterator[dict[str, bool]]:
    """Run a whole system and say afterwards which parts of it were the student's code.

    Args:
        title: What is run, in a few words.

    Yields:
        A dict that fills while the block runs: exercise key to whether an attempt ran.
    """
    with recording() as calls:
        try:
            yield calls
        finally:
            _show_whose(title, calls)


def _show_whose(title: str, calls: dict[str, bool]) -> None:
    keys = sorted(calls, key=lambda key: place_in_notebook(find(key)))
    yours = [key for key in keys if calls[key]]
    ours = [key for key in keys if not calls[key]]
    lines = [f"{title[:1].upper()}{title[1:]} ran on"]
    if yours:
        lines.append(f"  your code: {', '.join(yours)}")
    if ours:
        lines.append(f"  the reference: {', '.join(ours)}")
    if not keys:
        lines.append("  no exercise of this course")
    rich = "<br>".join(html.escape(line).replace("  ", "&emsp;") for line in lines)
    show_page(Page(rich, "\n".join(lines)))
