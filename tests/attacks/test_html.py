"""Attacks on whoever opens feedback, formgrader or the report; see also tests/browser."""

from html.parser import HTMLParser

import nbformat
from nbconvert.exporters import HTMLExporter

from autograder.pages import feedback_path
from tests.attacks.arena import LAB, Aftermath, Arena
from tests.support.hostile_html import html, poisoned

BEACON = "http://beacon.example"
TYPES = {"text/plain", "text/html", "text/markdown", "image/png", "image/jpeg"}
EXPERIMENT = "1_3-experiment-1"
ADDRESSES = {"href", "src", "action", "data", "srcset", "background", "formaction", "xlink:href"}


class Active(HTMLParser):
    """Everything in a page that could act, as texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("iframe", "object", "embed", "form", "base", "svg", "math", "video", "button"):
            self.found.append(tag)
        if tag in ("script", "style", "link", "meta"):
            self.found.append(f"{tag} {attributes}")
        for name, value in attributes:
            active = (value or "").strip().lower().startswith(("javascript:", "data:text", "vb"))
            # A link to a website is only followed by whoever clicks it.
            loads = BEACON in (value or "") and (tag, name) != ("a", "href")
            if name.startswith("on") or (name in ADDRESSES and (active or loads)):
                self.found.append(f"{tag} {name}={value}")
            if name == "style" and any(word in (value or "") for word in ("position", "url")):
                self.found.append(f"{tag} {name}={value}")


def page_of(after: Aftermath, name: str) -> str:
    """The feedback page of a student whose name is no name of a folder."""
    return (after.out / "feedback" / feedback_path(name, LAB)).read_text(encoding="utf-8")


def exported(notebook: nbformat.NotebookNode, template: str) -> list[str]:
    """What could act in a page that nbconvert makes of a notebook, without any sanitising."""
    exporter = HTMLExporter(template_name=template, sanitize_html=False, embed_images=True)
    return Active(exporter.from_notebook_node(notebook)[0]).found


def test_an_autograded_notebook_is_harmless_whatever_shows_it(arena: Arena) -> None:
    """It wants a script, a form or a cover in the page of whoever grades it by hand."""
    hostile = poisoned(arena.notebook(), BEACON, "", EXPERIMENT)
    before = {template: exported(hostile, template) for template in ("classic", "lab")}
    after = arena.grade_all({"hostile": hostile, "harmless": arena.notebook()})
    made, plain = after["hostile"].notebook, after["harmless"].notebook
    for template, active in before.items():
        ours = exported(plain, template)
        assert len(active) > len(ours) + 50
        assert exported(made, template) == ours
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    assert {mime for output in outputs for mime in output.get("data", {})} <= TYPES
    assert all(not output.get("metadata") for output in outputs)
    assert {cell.cell_type for cell in made.cells} == {"code", "markdown"}
    assert made.metadata == plain.metadata
    assert after["hostile"].points == arena.most
    assert any("holds active HTML, which was left out" in flag for flag in after["hostile"].flags)


def test_feedback_and_report_are_harmless(arena: Arena) -> None:
    """It wants to act in the pages that the grader writes, by its name and by its errors."""
    name = "<img src=x onerror=alert(1)>"
    cell = (
        f"raise type({html(BEACON)['script']!r}, (Exception,), {{}})({html(BEACON)['onerror']!r})"
    )
    notebook = poisoned(arena.notebook(own=cell), BEACON, "", EXPERIMENT)
    notebook.metadata["aisys"] = {"lab": html(BEACON)["script"], "version": html(BEACON)["svg"]}
    after = arena.grade_all({name: notebook, "harmless": arena.notebook()})
    report = (after[name].out / "report.html").read_text(encoding="utf-8")
    assert name not in report and "&lt;img src=x" in report
    page = page_of(after[name], name)
    assert "onerror" in page
    assert Active(page).found == Active(after["harmless"].feedback).found
    scripts = [entry for entry in Active(report).found if BEACON in entry or entry == "iframe"]
    assert scripts == []
    assert [entry for entry in Active(report).found if " on" in entry.partition("=")[0]] == []


def test_signs_that_turn_text_around_are_made_visible(arena: Arena) -> None:
    """It wants a page to say something else than its text."""
    turned = "\u202eevil\u2066\u200b\x1b]0;title\x07\x1b[2J\x00"
    own = f"print({turned!r})\nraise ValueError({turned!r})"
    after = arena.grade_all({"turned\u202egnp": arena.notebook(own=own), "other": arena.notebook()})
    page = page_of(after["turned\u202egnp"], "turned\u202egnp")
    report = (after["other"].out / "report.html").read_text(encoding="utf-8")
    scores = (after["other"].out / "scores.csv").read_text(encoding="utf-8")
    assert "\u202e" not in report and "\u202e" not in scores
    assert "ValueError" in page and "\x1b" not in page and "\x00" not in page
    assert LAB in scores
