"""How checks look: an HTML table in a notebook, plain text in a terminal."""

import html
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .plain import Plain
from .shell import current_shell

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
    title = (
        f"Stage {stage}: all visible cases pass"
        if all_pass
        else f"Stage {stage}: {passed} of {len(reports)} exercises pass their visible cases"
    )
    rows = "".join(_rich_row(report) for report in reports)
    rich = f"<b>{title}</b><table>{rows}</table>"
    plain = "\n".join([title, *(_plain_row(report) for report in reports)])
    show_page(Page(rich, plain))


def brief(value: Plain) -> str:
    """A value as a student wants to see it: whole if it is small, with its shape if it is not."""
    if isinstance(value, np.ndarray):
        edges = 2 if value.ndim < 3 else 1
        text = np.array2string(
            value, precision=5, threshold=24, edgeitems=edges, suppress_small=True
        )
        return text if value.size == 1 else f"array of shape {list(value.shape)}\n{text}"
    if isinstance(value, dict):
        items = [f"{key}: {brief(item)}" for key, item in value.items()]
        text = "\n".join(items) if any("\n" in item for item in items) else ", ".join(items)
        return text if len(text) < 1200 else text[:1200] + " …"
    if isinstance(value, list) and any(isinstance(item, (np.ndarray, dict)) for item in value):
        text = "\n".join(f"[{i}] {brief(item)}" for i, item in enumerate(value[:6]))
        return text if len(text) < 1200 and len(value) <= 6 else text[:1200] + " …"
    if isinstance(value, float):
        return f"{value:.8g}"
    text = repr(value)
    return text if len(text) < 600 else text[:600] + " …"


def _state(report: "ExerciseReport") -> tuple[str, str, str]:
    """Class, sign and words for an exercise."""
    total = len(report.cases)
    good = sum(case.difference is None for case in report.cases)
    if not report.attempted:
        return "wait", "–", "not attempted in this kernel: run its cell"
    if not report.written:
        return "wait", "–", "not written yet"
    if report.blocked_by:
        return "wait", "…", f"blocked by {report.blocked_by}: mend that first"
    if report.passed:
        return "ok", "✓", f"{total} of {total} cases"
    return "no", "✗", f"{good} of {total} cases"


def _first_failure(report: "ExerciseReport") -> "CaseReport | None":
    if not report.written or report.blocked_by:
        return None
    return next((case for case in report.cases if case.difference is not None), None)


def _details(case: "CaseReport") -> list[tuple[str, str]]:
    """The lines that explain a failed case, as label and text."""
    assert case.difference is not None
    lines = [("case", case.case.name)]
    if case.case.inputs:
        lines.append(("input", brief(case.case.inputs)))
    if case.got.status == "returned":
        lines.append(("got", brief(case.got.value)))
    if case.expected.status == "returned":
        lines.append(("expected", brief(case.expected.value)))
    lines.append(
        ("difference" if case.got.status == "returned" else "error", case.difference.message)
    )
    if case.got.frames:
        lines.append(("in your code", "\n".join(case.got.frames)))
    return lines


def _rich_row(report: "ExerciseReport") -> str:
    css, sign, words = _state(report)
    row = (
        f'<tr><td class="{css}">{sign}</td><td><code>{html.escape(report.slot.name)}</code></td>'
        f'<td class="{css}">{html.escape(words)}</td></tr>'
    )
    case = _first_failure(report)
    if case is None:
        return row
    inner = "".join(
        f'<tr><td class="why">{label}</td><td><pre>{html.escape(text)}</pre></td></tr>'
        for label, text in _details(case)
    )
    hint = f'<div class="hint">{_with_code(case.hint)}</div>' if case.hint else ""
    details = f'<td colspan="2">{hint}<table>{inner}</table></td>'
    return f'{row}<tr class="more"><td></td>{details}</tr>'


def _with_code(text: str) -> str:
    """A sentence as HTML, what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _plain_row(report: "ExerciseReport") -> str:
    _, sign, words = _state(report)
    lines = [f"  {sign} {report.slot.name}: {words}"]
    case = _first_failure(report)
    if case is not None:
        if case.hint:
            lines.append(f"      hint: {case.hint}")
        for label, text in _details(case):
            lines.append(f"      {label}: " + text.replace("\n", "\n        "))
    return "\n".join(lines)
