"""How checks look: an HTML table in a notebook, plain text in a terminal."""

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .failed_cells import error_after_attempt
from .shell import current_shell
from .values import Entry, beginning, brief, differing, is_long

if TYPE_CHECKING:
    from .checking import CaseReport, ExerciseReport

# JupyterLab's own rules for tables and code are more specific, hence `!important`.
STYLE = """
<style>
.aisys{--ok:#1a7f37;--no:#b42318;--wait:#8a6100;--dim:#666;
font:14px/1.45 system-ui,sans-serif;max-width:62rem}
[data-jp-theme-light=false] .aisys,.vscode-dark .aisys,[theme=dark] .aisys{
--ok:#56d364;--no:#ff8a80;--wait:#e3b341;--dim:#a8a8a8}
.aisys table{table-layout:auto!important;border-collapse:collapse;width:100%;font:inherit;
margin:.3rem 0 .6rem!important}
.aisys tr{background:none!important}
.aisys td,.aisys th{text-align:left!important;vertical-align:baseline!important;
line-height:1.45!important;padding:.22rem .9rem .22rem 0!important;
border:0!important;border-top:1px solid #8884!important}
.aisys td:first-child,.aisys th:first-child{width:1rem;white-space:nowrap}
.aisys td:nth-child(2){white-space:nowrap;width:1rem}
.aisys td:last-child{white-space:normal;width:auto}
.aisys .more td{border:0!important;padding-top:0!important}
.aisys .apart{width:auto!important;margin:0!important}
.aisys .apart th{font-weight:400;color:var(--dim);padding-top:0!important;border:0!important}
.aisys .apart td,.aisys .apart th{width:auto!important;white-space:normal!important}
.aisys summary{cursor:pointer}
.aisys th{font-weight:600}
.aisys code,.aisys pre{font:12.5px/1.45 ui-monospace,monospace!important;margin:0!important;
padding:0!important;color:inherit!important;background:none!important;
word-break:normal!important;overflow-wrap:anywhere}
.aisys pre{white-space:pre-wrap!important}.aisys code{white-space:inherit!important}
.aisys .ok{color:var(--ok)}.aisys .no{color:var(--no);font-weight:600}
.aisys .wait{color:var(--wait)}.aisys .why{color:var(--dim)}
.aisys .hint{border-left:3px solid #b58900;padding-left:.6rem;margin:.2rem 0 .5rem}
</style>
""".replace("\n", "")


FOLDED = ("input", "got", "expected")
"""The lines whose text may be long."""
WHOLE = "the result"
OF_AN_OLDER_VERSION = ", but of an older version"
"""Added to what passes where the latest cell did not run."""


class Page:
    """Something with an HTML and a plain form; IPython chooses between them."""

    def __init__(self, rich: str, plain: str) -> None:
        self.rich, self.plain = rich, plain

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {
            "text/html": f'<div class="aisys">{STYLE}{self.rich}</div>',
            "text/plain": self.plain,
        }

    def __repr__(self) -> str:
        return self.plain


def show_page(page: Page) -> None:
    """Display a page in a notebook, or print its plain form elsewhere."""
    if current_shell() is None:
        print(page.plain)
        return
    from IPython.display import display

    display(page)


def show(stage: str, reports: list["ExerciseReport"]) -> None:
    """Show the table of a check."""
    passed = sum(report.passed for report in reports)
    all_pass = passed == len(reports)
    is_older = any(report.failed_cell for report in reports)
    title = (
        f"Stage {stage}: all visible cases pass{OF_AN_OLDER_VERSION if is_older else ''}"
        if all_pass
        else f"Stage {stage}: {passed} of {len(reports)} exercises pass their visible cases"
    )
    rows = "".join(_rich_row(report) for report in reports)
    rich = f"<b>{title}</b><table>{rows}</table>"
    plain = "\n".join([title, *(_plain_row(report) for report in reports)])
    show_page(Page(rich, plain))


def _state(report: "ExerciseReport") -> tuple[str, str, str]:
    """Class, sign and words for an exercise."""
    total = len(report.cases)
    good = sum(case.difference is None for case in report.cases)
    if not report.attempted:
        if report.failed_cell:
            return "wait", "–", f"not attempted: its cell did not run ({report.failed_cell})"
        return "wait", "–", "not attempted in this kernel: run its cell"
    if not report.written:
        return "wait", "–", "not written yet"
    if report.blocked_by:
        return "wait", "…", f"blocked by {report.blocked_by}: mend that first"
    if report.passed:
        return "ok", "✓", f"{total} of {total} cases"
    return "no", "✗", f"{good} of {total} cases"


def _of_its_cell(report: "ExerciseReport") -> str:
    """A sentence where the latest cell did not run, or ended with an error after the attempt."""
    if report.attempted and report.failed_cell:
        return (
            f"Its latest cell did not run ({report.failed_cell}); "
            "what was tested is the last version that did."
        )
    after = error_after_attempt(report.slot) if report.attempted else ""
    return f"Its cell ended with {after}, after the attempt was taken." if after else ""


def _first_failure(report: "ExerciseReport") -> "CaseReport | None":
    if not report.written or report.blocked_by:
        return None
    return next((case for case in report.cases if case.difference is not None), None)


@dataclass(frozen=True)
class _Line:
    """One line of what explains a failed case.

    Attributes:
        label: What it is.
        text: The text; of a long one plain text shows the beginning, and HTML folds it.
        entries: Instead of a text, the entries that differ.
        more: How many more entries differ.
    """

    label: str
    text: str = ""
    entries: tuple[Entry, ...] = ()
    more: int = 0


def _details(case: "CaseReport") -> list[_Line]:
    """The lines that explain a failed case."""
    assert case.difference is not None
    lines = [_Line("case", case.case.name)]
    if case.case.inputs:
        lines.append(_Line("input", brief(case.case.inputs)))
    lines += _values(case, case.difference.where)
    label = "difference" if case.got.status == "returned" else "error"
    lines.append(_Line(label, case.difference.message))
    if case.got.frames:
        lines.append(_Line("in your code", "\n".join(case.got.frames)))
    return lines


def _values(case: "CaseReport", where: str) -> list[_Line]:
    """What came back and what was expected; before them, if they are long, what differs."""
    named = {"got": case.got, "expected": case.expected}
    lines = [
        _Line(label, brief(outcome.value))
        for label, outcome in named.items()
        if outcome.status == "returned"
    ]
    in_part = any(is_long(line.text) or line.text.endswith(" …") for line in lines)
    if len(lines) == len(named) and in_part:
        entries, more = differing(case.got.value, case.expected.value, where)
        if entries:
            return [_Line("what differs", "", tuple(entries), more), *lines]
    return lines


def _rich_row(report: "ExerciseReport") -> str:
    css, sign, words = _state(report)
    row = (
        f'<tr><td class="{css}">{sign}</td><td><code>{html.escape(report.slot.name)}</code></td>'
        f'<td class="{css}">{html.escape(words)}</td></tr>'
    )
    said = _of_its_cell(report)
    if said:
        row += (
            f'<tr class="more"><td></td><td class="wait" colspan="2">{html.escape(said)}</td></tr>'
        )
    case = _first_failure(report)
    if case is None:
        return row
    inner = "".join(
        f'<tr><td class="why">{line.label}</td><td>{_rich_line(line)}</td></tr>'
        for line in _details(case)
    )
    hint = f'<div class="hint">{_with_code(case.hint)}</div>' if case.hint else ""
    details = f'<td colspan="2">{hint}<table>{inner}</table></td>'
    return f'{row}<tr class="more"><td></td>{details}</tr>'


def _rich_line(line: _Line) -> str:
    if line.entries:
        head = "<tr><th>where</th><th>got</th><th>expected</th></tr>"
        rows = "".join(_rich_entry(entry) for entry in line.entries)
        more = f'<div class="why">{_more(line.more)}</div>' if line.more else ""
        return f'<table class="apart">{head}{rows}</table>{more}'
    text = f"<pre>{html.escape(line.text)}</pre>"
    if not is_long(line.text) or line.label not in FOLDED:
        return text
    first = html.escape(line.text.splitlines()[0][:60])
    return f"<details><summary><code>{first} …</code></summary>{text}</details>"


def _rich_entry(entry: Entry) -> str:
    remark = f'<div class="why">{html.escape(entry.remark)}</div>' if entry.remark else ""
    cells = (entry.where or WHOLE, entry.got, entry.expected)
    where, got, expected = (f"<code>{html.escape(cell)}</code>" for cell in cells)
    return f"<tr><td>{where}{remark}</td><td>{got}</td><td>{expected}</td></tr>"


def _more(number: int) -> str:
    return f"{number} more differ" if number > 1 else "1 more differs"


def _with_code(text: str) -> str:
    """A sentence as HTML, what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _plain_row(report: "ExerciseReport") -> str:
    _, sign, words = _state(report)
    lines = [f"  {sign} {report.slot.name}: {words}"]
    if said := _of_its_cell(report):
        lines.append(f"      {said}")
    case = _first_failure(report)
    if case is not None:
        if case.hint:
            lines.append(f"      hint: {case.hint}")
        details = _details(case)
        are_apart = any(line.entries for line in details)
        for line in details:
            if not (are_apart and line.label in ("got", "expected")):
                lines += _plain_line(line)
    return "\n".join(lines)


def _plain_line(line: _Line) -> list[str]:
    if not line.entries:
        text = beginning(line.text) if line.label in FOLDED else line.text
        return [f"      {line.label}: " + text.replace("\n", "\n        ")]
    lines = [f"      {line.label}:"]
    for entry in line.entries:
        remark = f" ({entry.remark})" if entry.remark else ""
        where = entry.where or WHOLE
        lines.append(f"        {where}: got {entry.got}, expected {entry.expected}{remark}")
    return [*lines, f"        {_more(line.more)}"] if line.more else lines
