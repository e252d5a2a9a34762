"""A small class made by hand: every way that a submission can end, and a hostile one."""

import base64
import functools
import io
from typing import Any

from matplotlib.figure import Figure

from autograder.results import CaseResult, ExerciseResult, StageResult, SubmissionResult

LAB = "lab1_autodiff"
HINT = "The border is missing: pad both sides by `padding` before the windows are taken."
HOSTILE = (
    "<script>alert('owned')</script><img src=x onerror=alert(1)>"
    "<a href='javascript:alert(2)' onclick='alert(3)'>link</a>"
    "<iframe src='https://evil.example/frame'></iframe>"
    "<img src='https://evil.example/pixel.png'><svg onload=alert(4)><script>alert(5)</script></svg>"
    "<style>body{display:none}@import url(https://evil.example/a.css)</style>"
    "<form action='https://evil.example'><input name=q></form>"
    "<link rel=stylesheet href='https://evil.example/b.css'><base href='https://evil.example/'>"
    "<div style='position:fixed;inset:0;background:url(https://evil.example/c)'>cover</div>"
    "{{ 7 * 191 }}{% raw %}"
)
HOSTILE_NAME = '../../etc/<b onmouseover="alert(1)">mallory</b>'


def case(
    name: str, kind: str = "", message: str = "", hint: str = "", detail: str = ""
) -> CaseResult:
    """One hidden case; it passed if there is no kind of difference."""
    return CaseResult("probe", name, not kind, kind, message, hint, 1.0, detail)


def exercise(
    key: str,
    points: float,
    most: float,
    status: str,
    message: str = "",
    *cases: CaseResult,
    mistake: str = "",
) -> ExerciseResult:
    """One exercise with its cases."""
    return ExerciseResult(key, points, most, status, message, cases, mistake)


def stage(
    name: str, title: str, status: str, *exercises: ExerciseResult, flags: tuple[str, ...] = ()
) -> StageResult:
    """A stage with the sums of its exercises."""
    message = " ".join(e.message for e in exercises if e.message)
    points, most = sum(e.points for e in exercises), sum(e.max_points for e in exercises)
    return StageResult(name, title, points, most, status, message, exercises, flags)


def answer(status: str = "manual", points: float = 0.0) -> StageResult:
    """The written answer of stage 1.3."""
    message = {"manual": "Graded by hand.", "missing": "No answer was written."}[status]
    return StageResult("1.3-written", "Written answer 1.3-written", points, 2.0, status, message)


def good(number: str) -> StageResult:
    """A stage with full points."""
    if number == "1.3":
        cases = [
            case("one channel"),
            case("stride 2"),
            case("padding 1"),
            case("a batch of digits"),
        ]
        return stage(
            "1.3",
            "Convolution, twice",
            "passed",
            exercise("1.3 conv2d_loops", 1, 1, "passed", "", *cases),
            exercise("1.3 im2col", 2, 2, "passed", "", *cases),
        )
    if number == "1.4":
        cases = [case("x * y + z"), case("a diamond"), case("a cycle")]
        return stage(
            "1.4",
            "A data-flow graph",
            "passed",
            exercise("1.4 Node.__add__", 0.5, 0.5, "passed", "", *cases[:1]),
            exercise("1.4 run", 2.5, 2.5, "passed", "", *cases),
        )
    cases = [case("broadcast over rows"), case("second derivative"), case("relu at zero")]
    return stage(
        "1.5",
        "Gradients as more graph",
        "passed",
        exercise("1.5 gradients", 4, 4, "passed", "", *cases),
    )


def all_missing(status: str, message: str) -> tuple[StageResult, ...]:
    """Zero for every graded cell, for one reason."""
    return tuple(
        StageResult(name, title, 0.0, most, status, message)
        for name, title, most in (
            ("1.3", "Convolution, twice", 3.0),
            ("1.3-written", "Written answer 1.3-written", 2.0),
            ("1.4", "A data-flow graph", 3.0),
            ("1.5", "Gradients as more graph", 4.0),
        )
    )


@functools.cache
def a_plot() -> str:
    """A PNG in base64."""
    figure = Figure(figsize=(4.5, 2.2))
    axes = figure.subplots()
    axes.plot([1, 8, 64], [3, 5, 21], marker="o")
    axes.set_title("im2col is 40 times as fast")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return base64.b64encode(png.getvalue()).decode()


def notebook(*more: dict[str, Any]) -> dict[str, Any]:
    """An executed notebook as grading leaves it, with further cells at its end."""

    def cell(
        kind: str, identity: str, role: str, source: str, *outputs: dict[str, Any]
    ) -> dict[str, Any]:
        made: dict[str, Any] = {
            "cell_type": kind,
            "id": identity,
            "metadata": {"aisys": {"role": role}},
            "source": source,
        }
        if kind == "code":
            made |= {"execution_count": None, "outputs": list(outputs)}
        return made

    text = (
        "## 1.3 Convolution, twice\n\n*Core · about 45 minutes · 3 points*\n\nA convolution sums "
        "$w_{ij} x_{i+a, j+b}$ over a window. `im2col` lays every window into a row, so that\n\n"
        "$$\ny = X_{\\mathrm{col}} w\n$$\n\nis one matrix product.\n\n"
        "| loops | im2col |\n|---|---|\n| 812 ms | 20 ms |\n\nSee [the lecture](https://course.example/notes/03.html)."
    )
    source = (
        '@attempt("1.3")\ndef im2col(x: np.ndarray, kernel: int, stride: int = 1) -> np.ndarray:\n'
        '    """Lay every window into a row.\n\n    Args:\n'
        '        x: `[batch, channels, height, width]`.\n    """\n'
        "    # every window is a view\n"
        "    windows = sliding_window_view(x, (kernel, kernel), axis=(2, 3))\n"
        "    return windows[:, :, ::stride, ::stride].reshape(len(x), -1, kernel**2)"
    )
    verdict = {
        "output_type": "execute_result",
        "execution_count": 1,
        "metadata": {},
        "data": {
            "text/plain": "1.5",
            "text/html": "<table><tr><td><code>1.3 im2col</code></td><td>0.5 / 2</td>"
            "<td>1 of 4 cases</td></tr></table>",
        },
    }
    plot = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": a_plot(), "text/plain": "<Figure>"},
    }
    stream = {"output_type": "stream", "name": "stdout", "text": "\x1b[32m10%\r100%\x1b[0m done\n"}
    error = {
        "output_type": "error",
        "ename": "NameError",
        "evalue": "name 'grap' is not defined",
        "traceback": [
            "\x1b[0;31m---------------------------------\x1b[0m",
            "\x1b[0;31mNameError\x1b[0m: name 'grap' is not defined",
        ],
    }
    added = {
        "cell_type": "code",
        "id": "added-7",
        "metadata": {},
        "source": "grap.draw()",
        "execution_count": None,
        "outputs": [error],
    }
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"aisys": {"lab": LAB, "title": "Lab 1: an end-to-end example"}},
        "cells": [
            cell("markdown", "1_3-text-1", "text", text),
            cell("code", "1_3-im2col", "exercise", source, stream),
            cell("code", "1_3-check", "check", 'check("1.3")', verdict),
            cell("code", "1_3-experiment-1", "experiment", "plot_speed()", plot),
            cell("markdown", "1_3-written", "answer", "The loops read every pixel **nine** times."),
            added,
            *more,
        ],
    }


def perfect() -> SubmissionResult:
    """Everything right."""
    stages = (good("1.3"), answer(), good("1.4"), good("1.5"))
    return SubmissionResult("ada", LAB, "graded", "", stages, (), 6.2, notebook())


def partial() -> SubmissionResult:
    """A recognised mistake, an exception, and an edited check."""
    failing = [
        case(
            "stride 2", "shape", "the shape differs", HINT, "shape [2, 9, 4], expected [2, 16, 4]."
        ),
        case(
            "padding 1",
            "value",
            "the value differs at [0, 3]",
            HINT,
            "0.0 at [0, 3], expected 13.7731.",
        ),
        case(
            "a batch of digits",
            "value",
            "the value differs",
            HINT,
            "3.25 at [1, 1], expected 13.7731.",
        ),
    ]
    frame = "Cell In[9], line 12, in run: value = values[node.inputs[0]]"
    raised = case("a cycle", "error", f"raised KeyError ({frame})", "", "KeyError: 'n13.7731'")
    message = f"`im2col`: 1 of 4 cases; “stride 2” the shape differs. {HINT}"
    stages = (
        stage(
            "1.3",
            "Convolution, twice",
            "partial",
            good("1.3").exercises[0],
            exercise(
                "1.3 im2col",
                0.5,
                2,
                "partial",
                message,
                case("one channel"),
                *failing,
                mistake="padding forgotten",
            ),
            flags=("The locked cell 1_3-check had been edited; it was restored.",),
        ),
        answer(),
        stage(
            "1.4",
            "A data-flow graph",
            "partial",
            good("1.4").exercises[0],
            exercise(
                "1.4 run",
                1.67,
                2.5,
                "partial",
                f"`run`: 2 of 3 cases; “a cycle” {raised.message}.",
                case("x * y + z"),
                case("a diamond"),
                raised,
            ),
        ),
        stage("1.5", "Gradients as more graph", "missing", _missing("1.5 gradients", 4)),
    )
    flags = ("The notebook is of version 0.1 of the course; it was graded as 0.2.",)
    return SubmissionResult("grace", LAB, "graded", "", stages, flags, 7.0, notebook())


def _missing(key: str, most: float) -> ExerciseResult:
    holes = [
        case(name, "hole", f"{key} is not written")
        for name in ("broadcast over rows", "relu at zero")
    ]
    return exercise(key, 0, most, "missing", f"`{key.split()[1]}` is not written.", *holes)


def same_mistake(student: str) -> SubmissionResult:
    """Another student with the recognised mistake and nothing else wrong."""
    stages = (partial().stages[0], answer("missing"), good("1.4"), good("1.5"))
    return SubmissionResult(student, LAB, "graded", "", stages, (), 6.1, notebook())


def hung() -> SubmissionResult:
    """A loop without end in stage 1.4."""
    loop = "Nothing came back within the time limit: look for a loop that does not end."
    cases = [
        case(n, "timeout", "took too long", loop) for n in ("x * y + z", "a diamond", "a cycle")
    ]
    stages = (
        good("1.3"),
        answer("missing"),
        stage(
            "1.4",
            "A data-flow graph",
            "partial",
            good("1.4").exercises[0],
            exercise("1.4 run", 0, 2.5, "timeout", "`run`: “x * y + z” took too long.", *cases),
        ),
        stage(
            "1.5",
            "Gradients as more graph",
            "timeout",
            exercise(
                "1.5 gradients",
                0,
                4,
                "timeout",
                "`gradients`: “relu at zero” took too long.",
                *cases,
            ),
        ),
    )
    return SubmissionResult("kurt", LAB, "graded", "", stages, (), 61.0, notebook())


def crashed() -> SubmissionResult:
    """An attempt cell that raises, so that nothing of its stage is there."""
    holes = [case(n, "hole", "1.3 im2col is not written") for n in ("stride 2", "padding 1")]
    message = "`im2col`: its cell raised NameError: name 'npp' is not defined."
    stages = (
        stage(
            "1.3",
            "Convolution, twice",
            "error",
            exercise("1.3 im2col", 0, 3, "error", message, *holes),
        ),
        answer("missing"),
        stage(
            "1.4",
            "A data-flow graph",
            "error",
            exercise(
                "1.4 run",
                0,
                3,
                "error",
                "`run`: “a cycle” raised KernelDied.",
                case("a cycle", "error", "raised KernelDied"),
            ),
        ),
        good("1.5"),
    )
    flags = ("The cell 1_4-run was given up: the kernel died while a cell ran.",)
    return SubmissionResult("edsger", LAB, "graded", "", stages, flags, 9.0, notebook())


def untouched() -> SubmissionResult:
    """The skeleton as it was released."""
    stages = (
        stage("1.3", "Convolution, twice", "missing", _missing("1.3 im2col", 3)),
        answer("missing"),
        stage("1.4", "A data-flow graph", "missing", _missing("1.4 run", 3)),
        stage("1.5", "Gradients as more graph", "missing", _missing("1.5 gradients", 4)),
    )
    return SubmissionResult("hedy", LAB, "graded", "", stages, (), 4.0, notebook())


def unreadable() -> SubmissionResult:
    """A file that is no notebook."""
    message = "expected a notebook; the file is not JSON."
    return SubmissionResult("john", LAB, "unreadable", message, all_missing("error", message))


def absent() -> SubmissionResult:
    """Nothing was handed in."""
    message = f"expected {LAB}.ipynb, which was not submitted."
    return SubmissionResult("tim", LAB, "unreadable", message, all_missing("missing", message))


def ungraded() -> SubmissionResult:
    """The grader failed."""
    message = "The grader failed: OSError: [Errno 28] No space left on device"
    return SubmissionResult("barbara", LAB, "ungraded", message, all_missing("ungraded", message))


def hostile() -> SubmissionResult:
    """Every text that a submission can put into its result tries to become markup."""
    html = {"output_type": "display_data", "metadata": {}, "data": {"text/html": HOSTILE}}
    svg = {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": HOSTILE}}
    broken = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": '"><script>x</script>'},
    }
    javascript = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"application/javascript": "x()"},
    }
    stream = {"output_type": "stream", "name": "stdout", "text": HOSTILE + "\x1b]0;title\x07\x00"}
    error = {"output_type": "error", "ename": HOSTILE, "evalue": HOSTILE, "traceback": [HOSTILE]}
    table = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/html": "<table class='dataframe'><tr><td>kept</td></tr></table>"},
    }
    markdown = (
        HOSTILE + "\n\n[click](javascript:alert(1)) ![p](https://evil.example/p.png) "
        "![q](data:image/svg+xml;base64,PHN2Zz4=) [d](data:text/html,x) <https://evil.example/auto>\n\n"
        "```<script>\nx\n```\n"
    )
    cells = [
        {"cell_type": "markdown", "id": '"><script>', "metadata": {}, "source": markdown},
        {"cell_type": "raw", "id": "raw", "metadata": {}, "source": HOSTILE},
        {
            "cell_type": "code",
            "id": "h",
            "metadata": {},
            "source": HOSTILE,
            "execution_count": 1,
            "outputs": [html, svg, broken, javascript, stream, error, table],
        },
        {
            "cell_type": "code",
            "id": 7,
            "metadata": None,
            "source": 7,
            "outputs": [None, 3, {"data": []}],
        },
        "no cell",
    ]
    failing = case("stride 2", "error", f"raised E ({HOSTILE})\n{HOSTILE}", "", HOSTILE)
    stages = (
        stage(
            "1.3",
            "Convolution, twice",
            "failed",
            exercise("1.3 im2col", 0, 3, "failed", f"`{HOSTILE}`: {HOSTILE}", failing),
            flags=(HOSTILE,),
        ),
        answer(),
        good("1.4"),
        good("1.5"),
    )
    return SubmissionResult(
        HOSTILE_NAME, LAB, "graded", "", stages, (HOSTILE, "\u202eevil"), 3.0, notebook(*cells)
    )


def sample_class() -> list[SubmissionResult]:
    """Everybody, in no order."""
    return [
        hung(),
        perfect(),
        hostile(),
        partial(),
        same_mistake("alan"),
        same_mistake("donald"),
        crashed(),
        untouched(),
        unreadable(),
        absent(),
        ungraded(),
    ]
